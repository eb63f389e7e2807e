//! Asking for an issuer's keys when a token names one that we do not have.
//!
//! The key may be new, so the set is fetched again; the token may be forged, so that is done only a few times in a row and
//! then once per cooldown, however many such tokens come and whether or not the fetch succeeds. When nothing may be fetched
//! an unknown key is refused at once. Who asks while a fetch is under way waits for that one: there is never more than one.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// How many fetches may be asked for in a row: keys that are replaced twice within a cooldown must not be unknown for the
/// rest of it.
const BURST: u32 = 3;
/// The longest pause between two of them. One that was asked for just now has brought what there is to bring.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

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
    /// It is under way.
    begun: bool,
    /// What may be asked for.
    budget: Budget,
}

/// A token bucket: full with [`BURST`] fetches, and one more for each cooldown. Fetches that happen by themselves do not
/// count: keys that are replaced just after one of them would otherwise be unknown for a while.
#[derive(Debug, Default)]
struct Budget {
    last_asked: Option<Instant>,
    /// When the bucket will be full again.
    full_at: Option<Instant>,
}

impl Budget {
    /// Takes one fetch, if there is one left.
    fn take(&mut self, now: Instant, cooldown: Duration) -> bool {
        let pause = (cooldown / 10).min(LONGEST_PAUSE);
        if self.last_asked.is_some_and(|last| now < last + pause) {
            return false;
        }
        let full_at = self.full_at.map_or(now, |at| at.max(now));
        if full_at - now > cooldown * (BURST - 1) {
            return false;
        }
        self.last_asked = Some(now);
        self.full_at = Some(full_at + cooldown);
        true
    }
}

/// The number of the fetch that must have finished.
pub(super) type Attempt = u64;

impl KeyDemand {
    /// Fetches are asked for once per `cooldown`, after a few in a row; a check waits for keys no longer than `patience`, for
    /// all its fetches together.
    pub fn new(cooldown: Duration, patience: Duration) -> Self {
        Self {
            cooldown,
            patience,
            state: Mutex::default(),
            asked: Notify::new(),
            finished: watch::Sender::new(0),
        }
    }

    /// How long a check waits for keys, all its fetches together.
    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// Asks for a fetch or joins the one under way. `None` while nothing may be fetched: there is nothing to wait for.
    pub(super) fn ask(&self) -> Option<Attempt> {
        let mut state = self.state();
        if !state.running {
            if !state.budget.take(Instant::now(), self.cooldown) {
                return None;
            }
            state.running = true;
            self.asked.notify_one();
        }
        // The counter moves under the same lock.
        Some(*self.finished.borrow() + 1)
    }

    /// Asks for a fetch that begins after this, whatever the budget says: for those to whom a fetch costs next to nothing.
    pub(super) fn ask_anew(&self) -> Attempt {
        let mut state = self.state();
        let ahead = if state.begun { 2 } else { 1 };
        if state.begun || !state.running {
            state.running = true;
            self.asked.notify_one();
        }
        *self.finished.borrow() + ahead
    }

    /// Waits until that fetch has finished. False if it has not by then.
    pub(super) async fn finished(&self, attempt: Attempt, by: Instant) -> bool {
        let mut finished = self.finished.subscribe();
        let reached = finished.wait_for(|f| *f >= attempt);
        matches!(tokio::time::timeout_at(by, reached).await, Ok(Ok(_)))
    }

    /// For the one who fetches: resolves when somebody asks.
    pub async fn asked(&self) {
        self.asked.notified().await;
    }

    /// For the one who fetches: a fetch begins. It ends when the guard is dropped.
    pub fn begin(&self) -> Fetching<'_> {
        let mut state = self.state();
        (state.running, state.begun) = (true, true);
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
        (state.running, state.begun) = (false, false);
        self.0.finished.send_modify(|f| *f += 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand() -> KeyDemand {
        KeyDemand::new(Duration::from_secs(10), Duration::from_millis(150))
    }

    /// Asks, and fetches if that may be done.
    async fn asks(demand: &KeyDemand) -> bool {
        let asked = demand.ask().is_some();
        if asked {
            demand.asked().await;
            drop(demand.begin());
        }
        asked
    }

    #[tokio::test(start_paused = true)]
    async fn any_number_of_unknown_keys_asks_for_a_few_fetches_and_then_for_one_per_cooldown() {
        let demand = demand();
        let mut fetches = 0;
        for _ in 0..190_000 {
            fetches += u32::from(asks(&demand).await);
            tokio::time::advance(Duration::from_micros(160)).await;
        }
        // 30.4 seconds: what was there, and three cooldowns.
        assert_eq!(fetches, BURST + 3);
    }

    #[tokio::test(start_paused = true)]
    async fn keys_that_are_replaced_twice_within_a_cooldown_are_fetched_twice() {
        let demand = demand();
        assert!(asks(&demand).await);
        tokio::time::advance(Duration::from_secs(3)).await;
        assert!(asks(&demand).await);
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_anew_is_not_served_by_a_fetch_that_had_begun() {
        let demand = demand();
        let by = Instant::now() + Duration::from_secs(1);
        let under_way = demand.begin();
        let attempt = demand.ask_anew();
        assert_eq!(demand.ask_anew(), attempt);
        drop(under_way);
        assert!(!demand.finished(attempt, by).await);
        demand.asked().await;
        drop(demand.begin());
        assert!(demand.finished(attempt, Instant::now()).await);
        // And of one that was asked for and has not begun.
        let attempt = demand.ask_anew();
        assert_eq!(demand.ask_anew(), attempt);
        drop(demand.begin());
        assert!(demand.finished(attempt, Instant::now()).await);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_fetched_just_now_is_not_fetched_again() {
        let demand = demand();
        assert!(asks(&demand).await);
        tokio::time::advance(LONGEST_PAUSE - Duration::from_millis(1)).await;
        assert!(!asks(&demand).await);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(asks(&demand).await);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_pause_of_several_cooldowns_no_more_than_a_burst_has_gathered() {
        let demand = demand();
        tokio::time::advance(Duration::from_secs(3600)).await;
        let mut fetches = 0;
        for _ in 0..5 {
            fetches += u32::from(asks(&demand).await);
            tokio::time::advance(LONGEST_PAUSE).await;
        }
        assert_eq!(fetches, BURST);
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_while_a_fetch_is_under_way_waits_for_that_one() {
        let demand = demand();
        let fetching = demand.begin();
        let (first, second) = (demand.ask().unwrap(), demand.ask().unwrap());
        assert_eq!(first, second);
        let by = || Instant::now() + demand.patience();
        assert!(!demand.finished(first, by()).await);
        drop(fetching);
        assert!(demand.finished(first, by()).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_fetch_that_nobody_asked_for_starts_no_cooldown() {
        let demand = demand();
        drop(demand.begin());
        assert!(demand.ask().is_some());
    }
}
