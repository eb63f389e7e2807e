//! Time limits that do not fit into each other. Each by itself is allowed, and so they are no mistakes.
//!
//! What a check waits for has to be over before its caller gives it up. To a proxy that is told to let requests through upon
//! errors, a check that takes too long is an error, and a key that nobody knows is enough to make one wait.

use std::time::Duration;

use crate::keys::KeySource;

use super::problem::Problem;
use super::{Config, StoreConfig};

/// How long a proxy waits for one answer: `max_interval` in `envoy.yaml`.
const ONE_TRY: Duration = Duration::from_millis(100);
/// What the way there and back, and the work, may take of that on a busy machine.
const ELSEWHERE: Duration = Duration::from_millis(20);

impl Config {
    /// The time limits that do not fit, each with its place, both values, and what to change.
    pub fn time_limit_warnings(&self) -> Vec<Problem> {
        let mut time_limit_warnings = Vec::new();
        let room = ONE_TRY.saturating_sub(ELSEWHERE);
        let (lookup, key) = self.lookup();
        if lookup > room {
            let waits = format!("{lookup:?} for the store");
            time_limit_warnings.push(self.document.problem(&key, beyond(&waits, room)));
            // Nothing else is worth saying.
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

    /// How long a check waits for the store, and where that is configured. Nothing where all is in this process.
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

    /// The value of the one line that begins with this.
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
