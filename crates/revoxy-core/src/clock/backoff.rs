//! Pauses between attempts, each twice as long as the one before, up to a limit.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

/// The pauses of one series of attempts.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// Makes a series from its first and its longest pause.
    #[must_use]
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            next: first,
        }
    }

    /// Returns the pause before the next attempt.
    pub fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.longest);
        pause
    }

    /// Starts again with the first pause, after a success.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

/// Shortens a pause at random by up to this percentage, so that replicas that failed or were started together do
/// not try again together.
#[must_use]
pub fn jittered(pause: Duration, percent: u32) -> Duration {
    let share = u32::try_from(random(1000)).unwrap_or_default();
    let variable = pause * percent / 100;
    pause - variable + variable * share / 1000
}

/// Returns a random number below `bound`. The standard library seeds it anew for each call, which is random
/// enough to spread replicas out.
fn random(bound: u64) -> u64 {
    #[cfg(feature = "simulation")]
    if let Some(number) = crate::simulation::random(bound) {
        return number;
    }
    RandomState::new().build_hasher().finish() % bound
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_again_after_a_success() {
        let second = Duration::from_secs(1);
        let mut backoff = Backoff::new(second, 60 * second);
        let seconds: Vec<_> = (0..8).map(|_| backoff.pause().as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60]);
        backoff.reset();
        assert_eq!(backoff.pause(), second);
    }

    #[test]
    fn jitter_takes_no_more_than_its_share() {
        for _ in 0..100 {
            let waited = jittered(Duration::from_secs(100), 10);
            assert!((90..=100).contains(&waited.as_secs()), "{waited:?}");
        }
    }
}
