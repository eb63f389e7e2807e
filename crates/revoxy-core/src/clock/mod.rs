//! Time: an injectable wall [`Clock`] with a millisecond [`Timestamp`], the [`Moment`] for measuring ages,
//! and [`OncePerMinute`] for the log.
//!
//! Expiry, `nbf`, `iat` and cutoffs are judged by the clock that a caller passes in, so that a test can set
//! the time instead of waiting for it.

mod backoff;
mod moment;
mod once_per_minute;

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use backoff::{Backoff, jittered};
pub use moment::Moment;
pub use once_per_minute::OncePerMinute;

/// Milliseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The latest possible time, which no entry outlives: the expiry of revocations that do not expire.
    pub const NEVER: Self = Self(i64::MAX);

    /// Makes a timestamp from milliseconds since the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Makes a timestamp from whole seconds since the Unix epoch; out-of-range values saturate.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Returns the milliseconds since the Unix epoch.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Returns the whole seconds since the Unix epoch, rounded down.
    pub const fn secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Returns a later time; saturates.
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(clamp_millis(by)))
    }

    /// Returns an earlier time; saturates.
    pub fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(clamp_millis(by)))
    }

    /// Formats the time in UTC, to the second, as in RFC 3339 §5.6. A time after the year 9999, the last year
    /// of RFC 3339, is shown as `for ever`.
    pub fn rfc3339(self) -> String {
        match u64::try_from(self.secs()) {
            Ok(secs) if secs > LAST_SECOND_OF_9999 => "for ever".to_owned(),
            secs => {
                let since_epoch = Duration::from_secs(secs.unwrap_or(0));
                humantime::format_rfc3339_seconds(UNIX_EPOCH + since_epoch).to_string()
            }
        }
    }

    /// Returns how much later this time is than `earlier`; zero if it is not later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

const LAST_SECOND_OF_9999: u64 = 253_402_300_799;

fn clamp_millis(by: Duration) -> i64 {
    i64::try_from(by.as_millis()).unwrap_or(i64::MAX)
}

/// A source of the wall-clock time.
pub trait Clock: Send + Sync + 'static {
    /// Returns the current time.
    fn now(&self) -> Timestamp;
}

/// The operating system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp(clamp_millis(since_epoch))
    }
}

/// A clock that changes only when it is set or advanced: for tests, and for judging a token at a given time.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// Makes a clock that is set to `now`.
    pub fn at(now: Timestamp) -> Self {
        Self(AtomicI64::new(now.0))
    }

    /// Sets the clock to `now`.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.0, Ordering::SeqCst);
    }

    /// Advances the clock.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(clamp_millis(by), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}
