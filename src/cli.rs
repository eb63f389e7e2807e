//! The command line.

use std::fmt;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::app::{self, StartError};
use crate::config::{Config, Problems};
use crate::logging::{self, LogFormat};

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
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(problems) => problems.fmt(f),
            Self::Other(error) => write!(f, "revoxy: {error:#}"),
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
                runtime()?.block_on(app::check(&config, connect))?;
                #[expect(clippy::print_stdout, reason = "the command's result")]
                {
                    println!("{}: no mistakes found", path.display());
                }
                Ok(())
            }
        }
    }
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
