//! Detects that our clock and the store's clock differ by more than revocations tolerate.
//!
//! Each process judges expiry by its own clock, and cutoffs and versions are times by the clock of their writer. A
//! revocation through the API outlives its token by a minute, to allow for clock differences of up to a minute. Two
//! replicas whose clocks are each half a minute away from the store's clock already use up that whole minute.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::metrics::FeedMetrics;

/// The tolerated difference between our clock and the store's.
const BEARABLE: Duration = Duration::from_secs(30);

/// Returns a warning that says what to do about clocks that differ; `None` if they differ by no more than
/// [`BEARABLE`].
pub(crate) fn warning(store: Timestamp, ours: Timestamp) -> Option<String> {
    let apart = store.since(ours).max(ours.since(store));
    (apart > BEARABLE).then(|| {
        let way = if store > ours { "ahead of" } else { "behind" };
        format!(
            "the clock of the store is {} s {way} ours: revocations may end before their tokens do, and cutoffs may spare \
             tokens; set both by NTP",
            apart.as_secs()
        )
    })
}

/// Compares the clocks, sets the metric to the difference, and logs a warning when the difference becomes too
/// large.
pub(crate) fn notice(metrics: &dyn FeedMetrics, store: Timestamp, ours: Timestamp) {
    let before = metrics.clock_offset(offset(store, ours)).abs();
    if let Some(warning) = warning(store, ours)
        && before <= BEARABLE.as_secs_f64()
    {
        tracing::warn!("{warning}");
    }
}

/// Returns how many seconds the clock of the store is ahead of ours; negative where it is behind.
fn offset(store: Timestamp, ours: Timestamp) -> f64 {
    store.since(ours).as_secs_f64() - ours.since(store).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1000);

    #[test]
    fn clocks_that_differ_by_more_than_half_a_minute_are_named() {
        assert_eq!(warning(NOW, NOW.plus(BEARABLE)), None);
        let ahead = warning(Timestamp::from_secs(1031), NOW).unwrap();
        assert!(ahead.contains("31 s ahead of ours"), "{ahead}");
        let behind = warning(Timestamp::from_secs(900), NOW).unwrap();
        assert!(behind.contains("100 s behind ours"), "{behind}");
    }

    #[test]
    fn the_difference_is_counted_with_its_sign() {
        assert!((offset(Timestamp::from_secs(990), NOW) + 10.0).abs() < 0.001);
        assert!((offset(Timestamp::from_secs(1010), NOW) - 10.0).abs() < 0.001);
    }
}
