//! Decides when to log that the primaries of a cluster are unconfirmed: only if that lasts, because a failover must
//! not fill the log, but an operator who waits for Revoxy to start needs an explanation.

use std::time::Duration;

use crate::clock::Moment;

/// How long the primaries must be unconfirmed before that is logged.
const LASTS: Duration = Duration::from_secs(3);

/// Tracks how long the primaries have been unconfirmed.
#[derive(Debug, Default)]
pub(super) struct TrustLog {
    since: Option<Moment>,
    logged: bool,
}

impl TrustLog {
    /// Records whether the primaries are unconfirmed now (`doubt`). Returns whether to log that: once, until they
    /// are confirmed again.
    pub(super) fn should_log(&mut self, doubt: bool, now: Moment) -> bool {
        if !doubt {
            *self = Self::default();
            return false;
        }
        let since = *self.since.get_or_insert(now);
        let is_due = !self.logged && now.since(since) >= LASTS;
        self.logged |= is_due;
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubt_that_lasts_is_said_once_until_it_is_over() {
        let (start, mut doubt) = (Moment::now(), TrustLog::default());
        let mut at = |ms, is| doubt.should_log(is, start + Duration::from_millis(ms));
        assert!(!at(0, true) && !at(2900, true));
        assert!(!at(2950, false));
        assert!(!at(3000, true) && !at(5900, true));
        assert!(at(6000, true));
        assert!(!at(6100, true) && !at(60_000, true));
        assert!(!at(60_100, false) && !at(60_200, true));
        assert!(at(63_200, true));
    }
}
