//! The moment as of which a view is known to be complete, readable without a lock.

use std::time::Duration;

use crate::clock::Moment;

use super::sync::atomic::{AtomicU64, Ordering};

/// The view has never been complete.
const NEVER: u64 = 0;
/// The view is complete at every moment.
const ALWAYS: u64 = u64::MAX;

/// The nanoseconds of a [`Moment`], or one of the two constants above.
#[derive(Debug)]
pub(super) struct Freshness(AtomicU64);

impl Freshness {
    pub(super) fn never() -> Self {
        Self(AtomicU64::new(NEVER))
    }

    pub(super) fn always() -> Self {
        Self(AtomicU64::new(ALWAYS))
    }

    pub(super) fn is_always(&self) -> bool {
        self.0.load(Ordering::Acquire) == ALWAYS
    }

    /// Sets the moment as of which the view is complete. It only ever moves forward.
    pub(super) fn set(&self, at: Moment) {
        // Release: a reader that sees this moment also sees the entries that were added before it was set.
        self.0.fetch_max(nanos(at), Ordering::Release);
    }

    pub(super) fn age(&self, now: Moment) -> Option<Duration> {
        match self.0.load(Ordering::Acquire) {
            NEVER => None,
            ALWAYS => Some(Duration::ZERO),
            at => Some(now.since(Moment::from_nanos(at))),
        }
    }
}

fn nanos(at: Moment) -> u64 {
    at.nanos().clamp(NEVER + 1, ALWAYS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_is_counted_from_the_latest_instant_that_was_set() {
        let (freshness, now) = (Freshness::never(), Moment::now());
        assert_eq!(freshness.age(now), None);
        freshness.set(now);
        freshness.set(now - Duration::from_secs(5));
        assert_eq!(
            freshness.age(now + Duration::from_secs(1)),
            Some(Duration::from_secs(1))
        );
        assert!(!freshness.is_always());
        assert_eq!(Freshness::always().age(now), Some(Duration::ZERO));
        assert!(Freshness::always().is_always());
    }

    #[test]
    fn no_instant_means_never_or_always() {
        for nanos in [0, u64::MAX] {
            let (freshness, instant) = (Freshness::never(), Moment::from_nanos(nanos));
            freshness.set(instant);
            assert!(freshness.age(instant).is_some());
            assert!(!freshness.is_always());
        }
    }
}
