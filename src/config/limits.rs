//! Warnings about timeouts that do not fit together. Each is valid by itself, so these are not mistakes.
//!
//! A check's waits must end before its caller gives up. For a proxy that lets requests pass upon errors, a
//! check that takes too long is an error, and a token with an unknown key is enough to make a check wait.

use std::time::Duration;

use crate::keys::KeySource;

use super::problem::Problem;
use super::{Config, StoreConfig};

/// How long a proxy waits for one answer: `max_interval` in `envoy.yaml`.
const ONE_TRY: Duration = Duration::from_millis(100);
/// The part of that time that the network and the processing may take on a busy machine.
const ELSEWHERE: Duration = Duration::from_millis(20);

impl Config {
    /// Returns the timeouts that do not fit, each with its place, both values, and what to change.
    pub fn time_limit_warnings(&self) -> Vec<Problem> {
        let mut time_limit_warnings = Vec::new();
        let room = ONE_TRY.saturating_sub(ELSEWHERE);
        let (lookup, key) = self.lookup();
        if lookup > room {
            let waits = format!("{lookup:?} for the store");
            time_limit_warnings.push(self.document.problem(&key, beyond(&waits, room)));
            // In this case, no other warning is useful.
            return time_limit_warnings;
        }
        let (room, then) = match lookup {
            Duration::ZERO => (room, String::new()),
            lookup => (
                room - lookup,
                format!(" and then {lookup:?} for the store ({key})"),
            ),
        };
        for (index, issuer) in self.issuers.iter().enumerate() {
            if let KeySource::Remote(keys) = &issuer.keys
                && keys.timing.patience > room
            {
                let path = format!("issuers.{index}.keys.wait");
                let waits = format!("{:?} for keys{then}", keys.timing.patience);
                time_limit_warnings.push(self.document.problem(&path, beyond(&waits, room)));
            }
        }
        time_limit_warnings
    }

    /// Returns how long a check waits for the store, and where that is configured. Zero if the store is in
    /// this process.
    fn lookup(&self) -> (Duration, String) {
        let store = match self.revocation.store {
            StoreConfig::Memory | StoreConfig::Sqlite(_) => return (Duration::ZERO, String::new()),
            StoreConfig::Redis(_) => "redis",
            StoreConfig::Postgres(_) => "postgres",
        };
        let key = format!("revocation.store.{store}.timeout");
        (self.revocation.timeout, key)
    }
}

fn beyond(waits: &str, room: Duration) -> String {
    format!(
        "a check waits {waits}, and one try of Envoy lasts {ONE_TRY:?} (`max_interval` in envoy.yaml), {ELSEWHERE:?} of it for the \
         way: say at most {room:?}, or make `max_interval` and `timeout` in Envoy (`timeout` in Istio) as much longer"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the value of the only line that begins with `key`.
    fn seconds(yaml: &str, key: &str) -> Duration {
        let mut lines = yaml
            .lines()
            .filter_map(|line| line.trim().strip_prefix(key));
        let value = lines
            .next()
            .and_then(|value| value.trim().strip_suffix('s'));
        assert_eq!(lines.next(), None, "{key} stands there twice");
        Duration::from_secs_f64(value.unwrap().parse().unwrap())
    }

    #[test]
    fn one_try_is_what_the_files_that_are_shipped_give() {
        let envoy = include_str!("../../envoy.yaml");
        assert_eq!(seconds(envoy, "max_interval:"), ONE_TRY);
        let istio = include_str!("../../deploy/istio/meshconfig.yaml");
        assert!(seconds(istio, "timeout:") >= ONE_TRY);
    }
}
