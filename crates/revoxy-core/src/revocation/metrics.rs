//! Traits through which checks and feeds report metrics. An implementation decides where the numbers go; `()`
//! discards them.

use std::time::Duration;

/// What checks report about lookups in the store.
pub trait StoreMetrics: Send + Sync {
    /// The store answered, after this time.
    fn answered(&self, after: Duration);

    /// The store did not answer; `error` is one of [`StoreError::LABELS`](super::StoreError::LABELS).
    fn failed(&self, error: &'static str);

    /// The store answered that it cannot read the value under a key.
    fn unreadable(&self, error: &'static str);
}

/// What the feed of a view reports.
pub trait FeedMetrics: Send + Sync {
    /// The connection to the store was lost, or could not be established.
    fn reconnecting(&self);

    /// The store has pushed this number of changes.
    fn pushed(&self, changes: u64);

    /// This number of revocations was written back to a store that had lost them.
    fn restored(&self, revocations: u64);

    /// A comparison has found this number of differences that no push had reported.
    fn healed(&self, differences: u64);

    /// The value under an application's key could not be read, and therefore revokes.
    fn unreadable(&self);

    /// A key must be a mistake; `problem` is one of [`SUSPECT_LABELS`].
    fn suspect(&self, problem: &'static str);

    /// A revocation was applied this time after it was written.
    fn propagated(&self, after: Duration);

    /// The feed follows the store from now on, or no longer does.
    fn following(&self, is_following: bool);

    /// The store's clock is this number of seconds ahead of this process' clock. Returns the number that was
    /// reported before.
    fn clock_offset(&self, seconds: f64) -> f64;
}

impl StoreMetrics for () {
    fn answered(&self, _: Duration) {}
    fn failed(&self, _: &'static str) {}
    fn unreadable(&self, _: &'static str) {}
}

impl FeedMetrics for () {
    fn reconnecting(&self) {}
    fn pushed(&self, _: u64) {}
    fn restored(&self, _: u64) {}
    fn healed(&self, _: u64) {}
    fn unreadable(&self) {}
    fn suspect(&self, _: &'static str) {}
    fn propagated(&self, _: Duration) {}
    fn following(&self, _: bool) {}

    fn clock_offset(&self, _: f64) -> f64 {
        0.0
    }
}

/// The mistakes in a key that [`FeedMetrics::suspect`] counts.
pub const SUSPECT_LABELS: [&str; 4] = [
    "unknown_kind",
    "unknown_issuer",
    "unreadable_value",
    "future_cutoff",
];
