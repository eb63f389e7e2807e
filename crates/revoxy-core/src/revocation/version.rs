//! Versions, which order the statements about a key, whichever process made them and whichever server stores
//! them.
//!
//! A server that was restored from an older snapshot, or promoted without the latest writes, contains old
//! statements that would be indistinguishable from new statements without a version. A version is a reading
//! of a hybrid logical clock (Kulkarni et al., "Logical Physical Clocks", 2014): the milliseconds of the
//! process that made the statement, and a counter for statements that the wall clock cannot order. The
//! process that makes a statement gives it a version above every version that the process has seen, and the
//! server raises the version above the one that is stored under the key. So clock skew does no harm, unless a
//! server loses a statement within the time by which the clocks differ.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Timestamp;

/// The number of versions per millisecond.
pub const PER_MILLI: u64 = 1024;
/// The last millisecond that a version can have: a Lua number in Redis holds 53 bits exactly, and there must
/// be room above (the year 2248).
pub const LAST_MILLI: u64 = 8_796_092_000_000;
/// How far a version may be ahead of the wall clock and still advance the [`VersionClock`].
const BELIEVABLE: Duration = Duration::from_secs(24 * 3600);

/// A position in the order of all statements about a key.
///
/// As text: `<milliseconds since 1970>.<0 to 1023>`, or the milliseconds alone, as printed by `date +%s%3N`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u64);

impl Version {
    /// The version of a statement that was never made, or whose time is unknown.
    pub const NONE: Self = Self(0);
    /// The lowest version: for what older versions of Revoxy have written.
    pub const FIRST: Self = Self(1);

    /// Returns the next higher version. After the last one, the result is a version that the scripts in Redis
    /// reject, so that the statement fails.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// Returns the version as an integer that sorts in the same order.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Makes a version from the result of [`Version::bits`].
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Returns the version of a statement that was seen at a moment, in microseconds since 1970.
    pub fn of_micros(micros: u64) -> Self {
        let millis = (micros / 1000).min(LAST_MILLI);
        Self(millis * PER_MILLI + micros % 1000)
    }

    /// Returns the first version of a millisecond.
    pub fn at(now: Timestamp) -> Self {
        let millis = u64::try_from(now.millis()).unwrap_or_default();
        Self(millis.min(LAST_MILLI) * PER_MILLI)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0 / PER_MILLI, self.0 % PER_MILLI)
    }
}

/// Error: the text is not a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAVersion;

impl FromStr for Version {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let (millis, counter) = text.split_once('.').unwrap_or((text, "0"));
        let number = |digits: &str| {
            let all = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            all.then(|| digits.parse::<u64>().ok()).flatten()
        };
        let (Some(millis), Some(counter)) = (number(millis), number(counter)) else {
            return Err(NotAVersion);
        };
        if millis > LAST_MILLI || counter >= PER_MILLI || (millis, counter) == (0, 0) {
            return Err(NotAVersion);
        }
        Ok(Self(millis * PER_MILLI + counter))
    }
}

/// Issues versions, each above all versions that the clock has issued or seen.
#[derive(Debug, Default)]
pub struct VersionClock(AtomicU64);

impl VersionClock {
    /// Issues a version for a statement that is made now.
    pub fn next(&self, now: Timestamp) -> Version {
        let at = Version::at(now).0;
        let above = |last: u64| Some(at.max(last + 1));
        let last = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, above);
        // The update never fails: `above` always returns a number.
        let last = last.unwrap_or_else(|last| last);
        Version(at.max(last + 1))
    }

    /// Advances the clock to a version that another process has issued. A version that is far ahead of the
    /// wall clock is ignored. If such a version is later than a statement of this process, the statement is
    /// made again with the next version after it.
    pub fn see(&self, version: Version, now: Timestamp) {
        if version <= Version::at(now.plus(BELIEVABLE)) {
            self.0.fetch_max(version.0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_reads_back_and_milliseconds_alone_are_one() {
        let version = Version(1_764_500_000_123 * PER_MILLI + 7);
        assert_eq!(version.to_string(), "1764500000123.7");
        assert_eq!("1764500000123.7".parse(), Ok(version));
        assert_eq!("1764500000123".parse::<Version>().unwrap().0 % PER_MILLI, 0);
        assert_eq!(Version::FIRST.to_string().parse(), Ok(Version::FIRST));
    }

    #[test]
    fn a_moment_is_told_from_the_next_microsecond() {
        let version = Version::of_micros(1_764_500_000_123_456);
        assert_eq!(version.to_string(), "1764500000123.456");
        assert!(version < Version::of_micros(1_764_500_000_123_457));
    }

    #[test]
    fn what_is_no_version_is_refused() {
        for text in [
            "",
            "0",
            "0.0",
            ".",
            "1.",
            ".1",
            "1.1024",
            "-1",
            "+1",
            "1e3",
            "1.1.1",
            " 1",
            "8796092000001",
            "x",
            "99999999999999999999",
        ] {
            assert_eq!(text.parse::<Version>(), Err(NotAVersion), "{text}");
        }
    }

    #[test]
    fn the_clock_only_ever_moves_forward() {
        let (clock, now) = (VersionClock::default(), Timestamp::from_secs(100));
        let first = clock.next(now);
        assert_eq!(first, Version::at(now));
        assert_eq!(clock.next(now), first.next());
        assert_eq!(
            clock.next(now.minus(Duration::from_secs(1))),
            first.next().next()
        );
        let later = now.plus(Duration::from_secs(1));
        assert_eq!(clock.next(later), Version::at(later));
    }

    #[test]
    fn the_clock_passes_what_it_has_seen_unless_that_is_absurd() {
        let (clock, now) = (VersionClock::default(), Timestamp::from_secs(100));
        let ahead = Version::at(now.plus(Duration::from_secs(60)));
        clock.see(ahead, now);
        assert_eq!(clock.next(now), ahead.next());
        clock.see(Version(LAST_MILLI * PER_MILLI), now);
        assert_eq!(clock.next(now), ahead.next().next());
    }

    #[test]
    fn a_millisecond_has_its_versions_up_to_the_last() {
        assert_eq!(
            Version::at(Timestamp::from_millis(7)),
            Version(7 * PER_MILLI)
        );
        let last = Version(LAST_MILLI * PER_MILLI);
        assert_eq!("8796092000000".parse(), Ok(last));
        assert_eq!(Version::at(Timestamp::NEVER), last);
    }

    #[test]
    fn a_clock_that_is_ahead_by_a_day_is_believed_and_no_more() {
        let (clock, now) = (VersionClock::default(), Timestamp::from_secs(100));
        let day = Version::at(now.plus(Duration::from_secs(24 * 3600)));
        clock.see(day.next(), now);
        assert_eq!(clock.next(now), Version::at(now));
        clock.see(day, now);
        assert_eq!(clock.next(now), day.next());
    }
}
