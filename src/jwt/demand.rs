//! Asking for an issuer's keys when a token names one that we do not have.
//!
//! The key may be new, so the set is fetched again; the token may be forged, so that is done only once per cooldown,
//! however many such tokens come and whether or not the fetch succeeds. Between two such fetches an unknown key is
//! refused at once. Who asks while a fetch is under way waits for that one: there is never more than one.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// Joins those who need keys with the one who fetches them.
#[derive(Debug)]
pub struct KeyDemand {
    cooldown: Duration,
    patience: Duration,
    state: Mutex<State>,
    asked: Notify,
    finished: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    /// A fetch has been asked for or is under way.
    running: bool,
    /// When a fetch was last asked for. Those that happen by themselves do not count: keys that are replaced just
    /// after one of them would otherwise be unknown for a whole cooldown.
    last_asked: Option<Instant>,
}

/// The number of the fetch that must have finished.
pub(super) type Attempt = u64;

impl KeyDemand {
    /// Fetches are asked for once per `cooldown`; a check waits for one no longer than `patience`.
    pub fn new(cooldown: Duration, patience: Duration) -> Self {
        Self {
            cooldown,
            patience,
            state: Mutex::default(),
            asked: Notify::new(),
            finished: watch::Sender::new(0),
        }
    }

    /// Asks for a fetch or joins the one under way. `None` within the cooldown: there is nothing to wait for.
    pub(super) fn ask(&self) -> Option<Attempt> {
        let mut state = self.state();
        if !state.running {
            let now = Instant::now();
            let cooling = |last: Instant| now.duration_since(last) < self.cooldown;
            if state.last_asked.is_some_and(cooling) {
                return None;
            }
            state.running = true;
            state.last_asked = Some(now);
            self.asked.notify_one();
        }
        // The counter moves under the same lock.
        Some(*self.finished.borrow() + 1)
    }

    /// Waits until that fetch has finished. False if it takes too long.
    pub(super) async fn finished(&self, attempt: Attempt) -> bool {
        let mut finished = self.finished.subscribe();
        let reached = finished.wait_for(|f| *f >= attempt);
        matches!(
            tokio::time::timeout(self.patience, reached).await,
            Ok(Ok(_))
        )
    }

    /// For the one who fetches: resolves when somebody asks.
    pub async fn asked(&self) {
        self.asked.notified().await;
    }

    /// For the one who fetches: a fetch begins. It ends when the guard is dropped.
    pub fn begin(&self) -> Fetching<'_> {
        self.state().running = true;
        Fetching(self)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Two plain fields: there is no half-done change that a panic could leave behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A fetch under way.
pub struct Fetching<'d>(&'d KeyDemand);

impl Drop for Fetching<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.running = false;
        self.0.finished.send_modify(|f| *f += 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand() -> KeyDemand {
        KeyDemand::new(Duration::from_secs(10), Duration::from_millis(150))
    }

    #[tokio::test(start_paused = true)]
    async fn ten_thousand_unknown_keys_ask_for_one_fetch_per_cooldown() {
        let demand = demand();
        let mut fetches = 0;
        for _ in 0..10_000 {
            if demand.ask().is_some() {
                demand.asked().await;
                drop(demand.begin());
                fetches += 1;
            }
            tokio::time::advance(Duration::from_millis(3)).await;
        }
        // 30 seconds.
        assert_eq!(fetches, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_while_a_fetch_is_under_way_waits_for_that_one() {
        let demand = demand();
        let fetching = demand.begin();
        let (first, second) = (demand.ask().unwrap(), demand.ask().unwrap());
        assert_eq!(first, second);
        assert!(!demand.finished(first).await);
        drop(fetching);
        assert!(demand.finished(first).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_fetch_that_nobody_asked_for_starts_no_cooldown() {
        let demand = demand();
        drop(demand.begin());
        assert!(demand.ask().is_some());
    }
}
