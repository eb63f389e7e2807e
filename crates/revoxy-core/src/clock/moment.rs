//! A point in time on a clock that cannot be set and that keeps running while the machine is suspended.

use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

/// Nanoseconds of `CLOCK_BOOTTIME`.
///
/// [`std::time::Instant`] is `CLOCK_MONOTONIC` on Linux, which stands still while the machine is suspended
/// (`clock_gettime(2)`). After a suspension, a view would look fresh although it has missed every update in
/// the meantime. Neither signals nor a frozen cgroup stop either of the two clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    /// Returns the current moment.
    pub fn now() -> Self {
        #[cfg(feature = "simulation")]
        if let Some(now) = crate::simulation::now() {
            return Self(clamp(now));
        }
        // `CLOCK_BOOTTIME` exists only on Linux. On other systems, the monotonic clock includes the time of a
        // suspension, or there is no better clock.
        #[cfg(target_os = "linux")]
        let clock = rustix::time::ClockId::Boottime;
        #[cfg(not(target_os = "linux"))]
        let clock = rustix::time::ClockId::Monotonic;
        let now = rustix::time::clock_gettime(clock);
        let secs = u64::try_from(now.tv_sec).unwrap_or_default();
        let nanos = u64::try_from(now.tv_nsec).unwrap_or_default();
        Self(secs.saturating_mul(1_000_000_000).saturating_add(nanos))
    }

    /// Makes a moment from the nanoseconds that [`Moment::nanos`] has returned.
    pub(crate) const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    pub(crate) const fn nanos(self) -> u64 {
        self.0
    }

    /// Returns how long ago this moment was.
    pub fn elapsed(self) -> Duration {
        Self::now().since(self)
    }

    /// Returns how much later this moment is than `earlier`; zero if it is not later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

fn clamp(by: Duration) -> u64 {
    u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)
}

impl Add<Duration> for Moment {
    type Output = Self;

    /// Saturates on overflow.
    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(clamp(by)))
    }
}

impl AddAssign<Duration> for Moment {
    fn add_assign(&mut self, by: Duration) {
        *self = *self + by;
    }
}

impl Sub<Duration> for Moment {
    type Output = Self;

    /// Saturates at zero.
    fn sub(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(clamp(by)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_counted_in_nanoseconds_and_saturate() {
        let second = Duration::from_secs(1);
        let (early, late) = (Moment(1_000_000_000), Moment(2_500_000_000));
        assert_eq!(late.since(early), Duration::from_millis(1500));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(early - second - second, Moment(0));
        assert_eq!(early + second, Moment(2_000_000_000));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_clock_is_the_one_that_counts_suspension() {
        // The first field of /proc/uptime is CLOCK_BOOTTIME in seconds.
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let seconds: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        let ours = Duration::from_nanos(Moment::now().0).as_secs_f64();
        assert!((ours - seconds).abs() < 5.0, "{ours} {seconds}");
    }
}
