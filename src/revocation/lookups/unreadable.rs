//! What applications write and nobody here can read: it revokes, and somebody should hear of it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::metrics::FeedMetrics;

use super::KeyRule;

/// One line of the log in this time is enough: the metric counts.
const SAY_EVERY: Duration = Duration::from_secs(60);

static SAID: Mutex<Option<Instant>> = Mutex::new(None);

/// Counts a value that cannot be read, and says so, but not all the time. Neither the key nor the value is told: they may
/// identify a token or a person.
pub(in super::super) fn notice(metrics: Option<&FeedMetrics>, rule: &KeyRule) {
    if let Some(metrics) = metrics {
        metrics.unreadable.inc();
    }
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if is_due(*said, Instant::now()) {
        *said = Some(Instant::now());
        tracing::warn!(
            template = rule.key.as_str(),
            "a value under a key of revocation.lookups cannot be read: every token that has this key is refused; \
             revoxy_revocation_lookup_unreadable_total counts such values"
        );
    }
}

fn is_due(said: Option<Instant>, now: Instant) -> bool {
    said.is_none_or(|at| now.saturating_duration_since(at) >= SAY_EVERY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_again_after_a_minute_and_not_before() {
        let now = Instant::now();
        assert!(is_due(None, now));
        assert!(!is_due(Some(now), now + Duration::from_secs(59)));
        assert!(is_due(Some(now), now + Duration::from_secs(60)));
    }
}
