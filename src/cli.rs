//! The command line.

use std::fmt;
use std::io::Read;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::app::{self, StartError};
use crate::authz::Outcome;
use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::config::{Config, ENV_PREFIX, Problem, Problems};
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
        /// The format of the log on standard output.
        #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t)]
        log_format: LogFormat,
    },
    /// Report every mistake in a configuration. The exit status is 2 if there is one.
    CheckConfig {
        #[command(flatten)]
        config: ConfigFile,
        /// Also open the revocation store and fetch keys, and report what was reached.
        #[arg(long)]
        connect: bool,
    },
    /// Check whether revocations are safe in the configured revocation store. The exit status is 1 if they
    /// are not.
    Doctor {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Read a token, or an `Authorization` header line, from standard input, and show every step of the
    /// verdict on it. Contacts no server, unless an option says so. The exit status is 0 for allow, 3 for
    /// deny, 4 for error.
    Explain(Explain),
}

#[derive(Args, Debug)]
struct Explain {
    #[command(flatten)]
    config: ConfigFile,
    /// The time to judge the token at: RFC 3339 (`2026-11-23T22:00:00Z`) or seconds since 1970. The default
    /// is now.
    #[arg(long, value_parser = instant)]
    at: Option<Timestamp>,
    /// The policy to judge the token under.
    #[arg(long)]
    policy: Option<String>,
    /// Fetch the keys of issuers that have a URL.
    #[arg(long)]
    fetch: bool,
    /// Fetch keys, and look up in the revocation store whether the token is revoked: by what, why, by
    /// whom and until when.
    #[arg(long)]
    connect: bool,
}

#[derive(Args, Debug)]
struct ConfigFile {
    /// The configuration file. Environment variables REVOXY__SECTION__KEY override its values.
    #[arg(long, short, env = "REVOXY_CONFIG", default_value = "revoxy.yaml")]
    config: PathBuf,
}

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// The configuration is wrong.
    Config(Problems),
    /// Any other error.
    Other(anyhow::Error),
    /// The verdict on the token is deny.
    Denied,
    /// The verdict on the token is error: it could not be decided.
    Undecided,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(problems) => problems.fmt(f),
            Self::Other(error) => write!(f, "revoxy: {error:#}"),
            Self::Denied => f.write_str("revoxy: the token would be refused"),
            Self::Undecided => f.write_str("revoxy: no verdict on the token"),
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
    /// Runs the command until it has finished.
    pub fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::Serve { config, log_format } => {
                let _logging = logging::init(log_format);
                let config = config.load()?;
                runtime()?
                    .block_on(app::serve(config))
                    .map_err(Failure::from)
            }
            Command::CheckConfig { config, connect } => {
                let path = config.config.clone();
                let config = config.load()?;
                print_variable_warnings(&config);
                let runtime = runtime()?;
                let opened = runtime.block_on(app::check(&config, connect))?;
                let found = match connect {
                    true => runtime.block_on(app::diagnose(&config))?,
                    false => Diagnosis::default(),
                };
                #[expect(clippy::print_stdout, reason = "the command's result")]
                {
                    for warning in config.time_limit_warnings() {
                        println!("{}", warning.as_warning());
                    }
                    let reached = found.notes.into_iter().chain(opened);
                    let notes = reached.chain(app::notes(&config));
                    for note in notes.chain(app::relaxations(&config)) {
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
                print_variable_warnings(&config);
                let found = runtime()?.block_on(app::diagnose(&config))?;
                let Diagnosis {
                    warnings,
                    notes,
                    mistaken_keys,
                } = found;
                #[expect(clippy::print_stdout, reason = "the command's result")]
                {
                    let unopened = app::unopened(&config);
                    for note in app::notes(&config).into_iter().chain(unopened).chain(notes) {
                        println!("note: {note}");
                    }
                    for key in mistaken_keys {
                        println!("key: {key}");
                    }
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
        let (header, token) = token_from(std::io::stdin().lock()).map_err(Failure::Other)?;
        let now = self.at.unwrap_or_else(|| SystemClock.now());
        let runtime = runtime()?;
        let fetch = self.fetch || self.connect;
        let (verifier, unfetched) = runtime.block_on(app::verifier(&config, fetch))?;
        if !unfetched.is_empty() {
            #[expect(clippy::print_stderr, reason = "beside the command's result")]
            {
                eprintln!("{unfetched}");
            }
        }
        let terms = Terms {
            policies: config.policies.clone(),
            policy: self.policy.as_deref(),
            keys: config.revocation.key_rules(),
        };
        let mut explanation = match token {
            Some(token) => Explanation::of(&token, verifier, terms, now),
            None => Explanation::without_token(header, verifier, &terms, now),
        };
        if self.connect {
            runtime.block_on(app::look_up(config, &mut explanation))?;
        }
        #[expect(clippy::print_stdout, reason = "the command's result")]
        {
            println!("{explanation}");
        }
        match explanation.outcome() {
            Outcome::Allow(_) => Ok(()),
            Outcome::Deny(_) => Err(Failure::Denied),
            Outcome::Error(_) => Err(Failure::Undecided),
        }
    }
}

/// Parses the value of the `Authorization` header, and the token in it, if there is one. The input is the
/// token alone, the value of the header, or the whole line. At most twice the maximum size of a token is
/// read, which is enough to refuse a longer input.
fn token_from(input: impl Read) -> anyhow::Result<(String, Option<String>)> {
    let mut text = String::new();
    input
        .take(2 * MAX_TOKEN_BYTES as u64)
        .read_to_string(&mut text)?;
    let text = text.trim();
    anyhow::ensure!(!text.is_empty(), "no token on standard input");
    anyhow::ensure!(
        !text.contains('\n'),
        "more than one line on standard input: give one token, or one `Authorization` line"
    );
    let (is_line, value) = match text.split_once(':') {
        Some((name, value)) if name.trim().eq_ignore_ascii_case("authorization") => {
            (true, value.trim())
        }
        _ => (false, text),
    };
    let token = match value.split_once([' ', '\t']) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Some(token.trim_start()),
        _ if is_line => None,
        _ => Some(value),
    };
    Ok((value.to_owned(), token.map(str::to_owned)))
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
        let (mut variables, mut problems) = (Vec::new(), Problems::default());
        for (name, value) in std::env::vars_os() {
            // A name that is not Unicode is not the name of a key.
            let Ok(name) = name.into_string() else {
                continue;
            };
            match value.into_string() {
                Ok(value) => variables.push((name, value)),
                Err(_) if name.starts_with(ENV_PREFIX) => problems.push(Problem {
                    place: name,
                    path: String::new(),
                    message: "the value is not Unicode".to_owned(),
                }),
                Err(_) => {}
            }
        }
        match problems.is_empty() {
            true => Config::load(&self.config, variables).map_err(Failure::Config),
            false => Err(Failure::Config(problems)),
        }
    }
}

/// Printed before anything is opened: such a variable may be the reason for a failure.
fn print_variable_warnings(config: &Config) {
    #[expect(clippy::print_stdout, reason = "the command's result")]
    for warning in config.variable_warnings() {
        println!("{}", warning.as_warning());
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::Other(e.into()))
}
