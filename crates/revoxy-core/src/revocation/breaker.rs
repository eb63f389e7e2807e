//! A circuit breaker: after repeated failures, no call is made to a store for a short time, so that no check
//! waits for a store that does not answer. Then one call at a time is permitted as a trial.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The number of failures in a row that opens the breaker.
const FAILURES_TO_OPEN: u32 = 5;
/// How long the breaker stays open. Short, because a store that has recovered should be in use again within a
/// second.
const OPEN_FOR: Duration = Duration::from_millis(250);

/// Counts failures in a row and decides whether a call may be made.
#[derive(Debug, Default)]
pub struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    /// If set and in the future, no call may be made. If set and in the past, the next caller makes a trial
    /// call, alone.
    open_until: Option<Instant>,
}

/// Permission for one call. A call that is dropped before its outcome is known does not count, because its
/// caller may have disconnected.
#[derive(Debug)]
pub struct Attempt<'b> {
    breaker: &'b Breaker,
}

impl Breaker {
    /// Requests permission for a call. Returns `None` while the breaker is open.
    pub fn attempt(&self) -> Option<Attempt<'_>> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(until) = state.open_until {
            let now = Instant::now();
            if now < until {
                return None;
            }
            // This caller makes the trial call; other callers get no permission until the trial has finished
            // or has taken too long.
            state.open_until = Some(now + OPEN_FOR);
        }
        Some(Attempt { breaker: self })
    }

    fn report(&self, success: bool) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if success {
            *state = State::default();
            return;
        }
        state.failures = state.failures.saturating_add(1);
        if state.failures >= FAILURES_TO_OPEN {
            state.open_until = Some(Instant::now() + OPEN_FOR);
        }
    }
}

impl Attempt<'_> {
    /// Reports whether the call succeeded.
    pub fn finish(self, success: bool) {
        self.breaker.report(success);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(breaker: &Breaker, times: u32) {
        for _ in 0..times {
            breaker.attempt().unwrap().finish(false);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn repeated_failures_open_it_and_one_success_closes_it() {
        let breaker = Breaker::default();
        fail(&breaker, FAILURES_TO_OPEN - 1);
        breaker.attempt().unwrap().finish(true);
        fail(&breaker, FAILURES_TO_OPEN);
        assert!(breaker.attempt().is_none());
        tokio::time::advance(OPEN_FOR).await;
        breaker.attempt().unwrap().finish(true);
        assert!(breaker.attempt().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn callers_that_hang_up_do_not_open_it() {
        let breaker = Breaker::default();
        for _ in 0..2 * FAILURES_TO_OPEN {
            assert!(breaker.attempt().is_some());
        }
        assert!(breaker.attempt().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn only_one_caller_at_a_time_tries_whether_the_store_is_back() {
        let breaker = Breaker::default();
        fail(&breaker, FAILURES_TO_OPEN);
        tokio::time::advance(OPEN_FOR).await;
        let _trial = breaker.attempt().unwrap();
        assert!(breaker.attempt().is_none());
        tokio::time::advance(OPEN_FOR).await;
        assert!(breaker.attempt().is_some());
    }
}
