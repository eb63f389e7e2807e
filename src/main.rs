//! The program: parses the command line, runs the command, and is the only place that ends the process.

use std::process::ExitCode;

use clap::Parser as _;
use revoxy::cli::{Cli, Failure};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            #[expect(clippy::print_stderr, reason = "the log may not have been started")]
            {
                eprintln!("{failure}");
            }
            match failure {
                Failure::Config(_) => ExitCode::from(2),
                Failure::Other(_) => ExitCode::FAILURE,
                Failure::Denied => ExitCode::from(3),
                Failure::Undecided => ExitCode::from(4),
            }
        }
    }
}
