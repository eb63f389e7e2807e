//! The command line.

use std::fmt;
use std::io::Read;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::app::{self, StartError};
use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::config::{Config, Mode, Problems};
use crate::explain::{Explanation, Terms};
use crate::jwt::MAX_TOKEN_BYTES;
use crate::logging::{self, LogFormat};
use crate::revocation::Diagnosis;

/// Envoy external authorization that verifies JWTs and refuses the revoked ones.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer Envoy's checks until SIGTERM.
    Serve {
        #[command(flatten)]
        config: ConfigFile,
        /// The form of the log on standard output.
        #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t)]
        log_format: LogFormat,
    },
    /// Report every mistake in a configuration. Exit status 2 if there is one.
    CheckConfig {
        #[command(flatten)]
        config: ConfigFile,
        /// Also try to open the revocation store and to fetch keys.
        #[arg(long)]
        connect: bool,
    },
    /// Ask the revocation store whether revocations are safe with it. Exit status 1 if they are not.
    Doctor {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Read a token from standard input and show every step of the verdict on it, offline. Exit status 1 if it would
    /// be refused.
    Explain(Explain),
}

#[derive(Args, Debug)]
struct Explain {
    #[command(flatten)]
    config: ConfigFile,
    /// When: RFC 3339 (`2026-11-23T22:00:00Z`) or seconds since 1970. Now, if not given.
    #[arg(long, value_parser = instant)]
    at: Option<Timestamp>,
    /// The policy to judge under.
    #[arg(long)]
    policy: Option<String>,
    /// Fetch the keys of issuers that have a URL.
    #[arg(long)]
    fetch: bool,
}

#[derive(Args, Debug)]
struct ConfigFile {
    /// The configuration file. Environment variables REVOXY__SECTION__KEY override what it says.
    #[arg(long, short, env = "REVOXY_CONFIG", default_value = "revoxy.yaml")]
    config: PathBuf,
}

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// The configuration is wrong.
    Config(Problems),
    /// Something else.
    Other(anyhow::Error),
    /// The token would be refused.
    Refused,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(problems) => problems.fmt(f),
            Self::Other(error) => write!(f, "revoxy: {error:#}"),
            Self::Refused => f.write_str("revoxy: the token would be refused"),
        }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Config(problems) => Self::Config(problems),
            StartError::Other(error) => Self::Other(error),
        }
    }
}

impl Cli {
    /// Runs the command to its end.
    pub fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::Serve { config, log_format } => {
                logging::init(log_format);
                let config = config.load()?;
                runtime()?
                    .block_on(app::serve(config))
                    .map_err(Failure::from)
            }
            Command::CheckConfig { config, connect } => {
                let path = config.config.clone();
                let config = config.load()?;
                let runtime = runtime()?;
                runtime.block_on(app::check(&config, connect))?;
                let found = match connect {
                    true => runtime.block_on(app::diagnose(&config))?,
                    false => Diagnosis::default(),
                };
                #[expect(clippy::print_stdout, reason = "the command's result")]
                {
                    for warning in config.time_limit_warnings() {
                        println!("{}", warning.as_warning());
                    }
                    let relaxed = app::relaxations(&config);
                    let notes = app::notes(&config).into_iter().chain(relaxed);
                    for note in notes.chain(found.notes) {
                        println!("{}: note: {note}", path.display());
                    }
                    for warning in found.warnings {
                        println!("{}: warning: {warning}", path.display());
                    }
                    println!("{}: no mistakes found", path.display());
                }
                Ok(())
            }
            Command::Doctor { config } => {
                let config = config.load()?;
                let Diagnosis { warnings, notes } = runtime()?.block_on(app::diagnose(&config))?;
                #[expect(clippy::print_stdout, reason = "the command's result")]
                for note in app::notes(&config).into_iter().chain(notes) {
                    println!("note: {note}");
                }
                if warnings.is_empty() {
                    #[expect(clippy::print_stdout, reason = "the command's result")]
                    {
                        println!("nothing found that could lose revocations");
                    }
                    return Ok(());
                }
                Err(Failure::Other(anyhow::anyhow!(warnings.join("\n"))))
            }
            Command::Explain(explain) => explain.run(),
        }
    }
}

impl Explain {
    fn run(self) -> Result<(), Failure> {
        let config = self.config.load()?;
        let token = token_from(std::io::stdin().lock()).map_err(Failure::Other)?;
        let now = self.at.unwrap_or_else(|| SystemClock.now());
        let verifier = runtime()?.block_on(app::verifier(&config, self.fetch))?;
        let terms = Terms {
            policies: config.policies,
            policy: self.policy.as_deref(),
            types: config.revocation.types,
            lookups: &config.revocation.lookups,
            allow_list: config.revocation.mode == Mode::AllowList,
        };
        let explanation = Explanation::of(&token, verifier, terms, now);
        #[expect(clippy::print_stdout, reason = "the command's result")]
        {
            println!("{explanation}");
        }
        if explanation.allows() {
            Ok(())
        } else {
            Err(Failure::Refused)
        }
    }
}

/// The token, alone or behind `Bearer`. Of what is too long for one, enough is read to be refused.
fn token_from(input: impl Read) -> anyhow::Result<String> {
    let mut text = String::new();
    input
        .take(2 * MAX_TOKEN_BYTES as u64)
        .read_to_string(&mut text)?;
    let text = text.trim();
    let token = match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim_start(),
        _ => text,
    };
    anyhow::ensure!(!token.is_empty(), "no token on standard input");
    Ok(token.to_owned())
}

fn instant(text: &str) -> Result<Timestamp, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(Timestamp::from_secs(seconds));
    }
    let time = humantime::parse_rfc3339_weak(text).map_err(|e| e.to_string())?;
    let since = time
        .duration_since(std::time::UNIX_EPOCH)
        .map_err(|_| "before 1970")?;
    Ok(Timestamp::from_secs(0).plus(since))
}

impl ConfigFile {
    fn load(&self) -> Result<Config, Failure> {
        // What is not Unicode cannot name a key of ours.
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        Config::load(&self.config, variables).map_err(Failure::Config)
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::Other(e.into()))
}
