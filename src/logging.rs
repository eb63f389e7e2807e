//! Logging: one event per line on standard output, as JSON or as text. `RUST_LOG` sets the level (default
//! `info`).
//!
//! A thread of its own writes the lines. If whoever reads standard output stalls, lines are dropped and counted:
//! nobody who logs waits, least of all a check.

use std::io::IsTerminal as _;
use std::sync::OnceLock;

use clap::ValueEnum;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// The level without `RUST_LOG`.
const DEFAULT: &str = "info";
/// The top-level names of all modules that log. A directive without a level that names none of these is taken
/// for a misspelt level.
const TARGETS: [&str; 12] = [
    "revoxy",
    "revoxy_core",
    "revoxy_stores",
    "h2",
    "hyper_util",
    "sqlx",
    "sqlx_core",
    "sqlx_mysql",
    "sqlx_postgres",
    "sqlx_sqlite",
    "tonic",
    "tower",
];

/// The maximum number of lines that wait to be written: a few MiB.
const MOST_WAITING: usize = 10_000;

/// Counts the lines that were dropped.
static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

/// Keeps the log running. Dropping it writes what is still waiting, for a second at most.
#[must_use = "the log ends when this is dropped"]
pub struct Logging(#[expect(dead_code, reason = "its destructor flushes the log")] WorkerGuard);

/// Returns how many lines were dropped because nobody read them in time.
pub fn dropped_lines() -> u64 {
    let dropped = DROPPED.get().map_or(0, ErrorCounter::dropped_lines);
    u64::try_from(dropped).unwrap_or(u64::MAX)
}

/// The format of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object per line.
    #[default]
    Json,
    /// For people.
    Text,
}

/// Starts logging, once per process. A part of `RUST_LOG` that cannot be used is left out, with a warning.
pub fn init(format: LogFormat) -> Logging {
    let wanted = std::env::var_os(EnvFilter::DEFAULT_ENV).unwrap_or_default();
    let Choice { used, left_out } = Choice::of(&wanted.to_string_lossy());
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(MOST_WAITING)
        .thread_name("revoxy-log")
        .finish(std::io::stdout());
    let _ = DROPPED.set(writer.error_counter());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(&used))
        .with_writer(writer);
    // A second call finds the first one's subscriber installed, which is fine.
    let _ = match format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => builder
            .with_ansi(std::io::stdout().is_terminal())
            .try_init(),
    };
    if !left_out.is_empty() {
        tracing::warn!(
            left_out,
            used,
            "a part of RUST_LOG cannot be used: write levels (error, warn, info, debug, trace, off), alone or for a module, as in \
             `info,revoxy::ext_authz=debug`"
        );
    }
    Logging(guard)
}

/// The directives that are used, and those that are not, in the syntax of `RUST_LOG`.
#[derive(Debug, PartialEq, Eq)]
struct Choice {
    used: String,
    left_out: String,
}

impl Choice {
    fn of(wanted: &str) -> Self {
        let directives = wanted.split(',').map(str::trim).filter(|d| !d.is_empty());
        let (mut used, left_out): (Vec<_>, Vec<_>) = directives.partition(|d| is_usable(d));
        // A directive that was left out may have been the level for everything that is not named. Without
        // such a level, everything else would be silent, including the warning.
        let lacks_level = !left_out.is_empty() && !used.iter().any(|d| is_level(d));
        if used.is_empty() || lacks_level {
            used.push(DEFAULT);
        }
        Self {
            used: used.join(","),
            left_out: left_out.join(","),
        }
    }
}

fn is_level(directive: &str) -> bool {
    directive.parse::<LevelFilter>().is_ok()
}

/// Returns whether a directive has its intended meaning. `debgu` is a valid directive, too: it selects
/// everything that a module named `debgu` logs.
fn is_usable(directive: &str) -> bool {
    let is_name_alone = !directive.contains(['=', '[']);
    let module = directive.split("::").next().unwrap_or_default();
    match is_name_alone {
        true => is_level(directive) || TARGETS.contains(&module),
        false => EnvFilter::try_new(directive).is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_used_is_left_out_and_everything_else_is_used() {
        for (wanted, used, left_out) in [
            ("", "info", ""),
            (" , ", "info", ""),
            ("debug", "debug", ""),
            ("WARN", "WARN", ""),
            ("revoxy::ext_authz", "revoxy::ext_authz", ""),
            ("sqlx=off,info", "sqlx=off,info", ""),
            ("other_app=debug, info", "other_app=debug,info", ""),
            ("[request]=trace", "[request]=trace", ""),
            ("debgu", "info", "debgu"),
            ("warning", "info", "warning"),
            ("info\u{fffd}", "info", "info\u{fffd}"),
            ("revoxy=inf", "info", "revoxy=inf"),
            ("revoxy=debug,inf", "revoxy=debug,info", "inf"),
            ("error,revoxy=loud,loud", "error", "revoxy=loud,loud"),
            ("off,revoxy=inf", "off", "revoxy=inf"),
            ("[", "info", "["),
        ] {
            let expected = Choice {
                used: used.to_owned(),
                left_out: left_out.to_owned(),
            };
            assert_eq!(Choice::of(wanted), expected, "{wanted}");
        }
    }

    #[test]
    fn every_package_that_logs_is_known() {
        let packages = include_str!("../Cargo.lock").split("[[package]]");
        let logging = packages.filter(|package| package.contains("\n \"tracing\","));
        let names = logging.filter_map(|package| package.split('"').nth(1));
        for name in names.filter(|name| *name != "tracing-subscriber") {
            let module = name.replace('-', "_");
            assert!(TARGETS.contains(&&*module), "{name}");
        }
    }
}
