//! Requests a fetch of an issuer's keys when a token names a key that we do not have.
//!
//! The key may be new, so the key set is fetched again. The token may also be forged, so fetches are
//! rate-limited: a few in a row, then one per cooldown, however many such tokens arrive and whether or not
//! the fetch succeeds. While no fetch is permitted, an unknown key is refused at once. Checks that need keys
//! while a fetch is in flight wait for that fetch: there is never more than one.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// The number of fetches that may be requested in a row: keys that are replaced twice within a cooldown must
/// not stay unknown until it ends.
const BURST: u32 = 3;
/// The upper limit of the minimum pause between two requested fetches. A fetch that was requested a moment
/// ago has already returned the current keys.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Connects checks that need keys with the task that fetches them.
#[derive(Debug)]
pub struct KeyDemand {
    cooldown: Duration,
    patience: Duration,
    state: Mutex<State>,
    asked: Notify,
    ended: watch::Sender<Ended>,
}

/// The numbers of the last fetch that has ended, and of the last fetch that ended without [`Fetching::fail`].
#[derive(Debug, Default)]
struct Ended {
    last: Attempt,
    counts: Attempt,
}

#[derive(Debug, Default)]
struct State {
    /// Whether a fetch was requested or is in flight.
    running: bool,
    /// Whether it is in flight.
    begun: bool,
    /// How many fetches may still be requested.
    budget: Budget,
}

/// A token bucket: [`BURST`] fetches when full, refilled by one per cooldown. Scheduled fetches take nothing
/// from the bucket: otherwise, keys that are replaced just after a scheduled fetch would be unknown for a
/// while.
#[derive(Debug, Default)]
struct Budget {
    last_asked: Option<Instant>,
    /// When the bucket will be full again.
    full_at: Option<Instant>,
}

impl Budget {
    /// Takes a fetch from the bucket. Returns `false` if there is none left.
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

/// The number of a fetch to wait for.
pub(super) type Attempt = u64;

impl KeyDemand {
    /// Creates a rate limit of one fetch per `cooldown`, after a few in a row. A check waits for keys for at
    /// most `patience`, over all fetches together.
    pub fn new(cooldown: Duration, patience: Duration) -> Self {
        Self {
            cooldown,
            patience,
            state: Mutex::default(),
            asked: Notify::new(),
            ended: watch::Sender::default(),
        }
    }

    /// Returns how long a check waits for keys, over all fetches together.
    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// Requests a fetch, or joins the one in flight. Returns `None` if no fetch is permitted now, so that
    /// there is nothing to wait for.
    pub(super) fn ask(&self) -> Option<Attempt> {
        let mut state = self.state();
        if !state.running {
            if !state.budget.take(Instant::now(), self.cooldown) {
                return None;
            }
            state.running = true;
            self.asked.notify_one();
        }
        // The counter changes under the same lock.
        Some(self.ended.borrow().last + 1)
    }

    /// Requests a fetch that begins after this call, regardless of the rate limit: for fetches of negligible
    /// cost.
    pub(super) fn ask_anew(&self) -> Attempt {
        let mut state = self.state();
        let ahead = if state.begun { 2 } else { 1 };
        if state.begun || !state.running {
            state.running = true;
            self.asked.notify_one();
        }
        self.ended.borrow().last + ahead
    }

    /// Waits until the fetch `attempt` has ended. Returns `false` if it has not ended at the time `by`, or if
    /// it has [failed](Fetching::fail).
    pub(super) async fn finished(&self, attempt: Attempt, by: Instant) -> bool {
        let mut ended = self.ended.subscribe();
        let reached = ended.wait_for(|ended| ended.last >= attempt);
        let reached = tokio::time::timeout_at(by, reached).await;
        matches!(reached, Ok(Ok(ended)) if ended.counts >= attempt)
    }

    /// For the fetching task: waits until a fetch is requested.
    pub async fn asked(&self) {
        self.asked.notified().await;
    }

    /// For the fetching task: begins a fetch, which ends when the guard is dropped.
    pub fn begin(&self) -> Fetching<'_> {
        let mut state = self.state();
        (state.running, state.begun) = (true, true);
        Fetching {
            demand: self,
            failed: false,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is consistent even after a panic: nothing between two related changes can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A fetch in flight.
pub struct Fetching<'d> {
    demand: &'d KeyDemand,
    failed: bool,
}

impl Fetching<'_> {
    /// Ends the fetch as failed: callers that wait for it get an error at once.
    pub fn fail(mut self) {
        self.failed = true;
    }
}

impl Drop for Fetching<'_> {
    fn drop(&mut self) {
        let mut state = self.demand.state();
        (state.running, state.begun) = (false, false);
        self.demand.ended.send_modify(|ended| {
            ended.last += 1;
            if !self.failed {
                ended.counts = ended.last;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand() -> KeyDemand {
        KeyDemand::new(Duration::from_secs(10), Duration::from_millis(150))
    }

    /// Requests a fetch, and fetches if that is permitted.
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
        // After 30.4 seconds: the initial burst, and three cooldowns.
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
        // A fetch that was requested and has not begun is joined, too.
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
    async fn whoever_waits_for_a_fetch_that_fails_hears_so_at_once_and_asks_for_another() {
        let demand = demand();
        let by = Instant::now() + demand.patience();
        let attempt = demand.ask_anew();
        demand.begin().fail();
        assert!(!demand.finished(attempt, by).await);
        assert!(Instant::now() < by);
        let again = demand.ask_anew();
        drop(demand.begin());
        assert!(demand.finished(again, by).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_fetch_that_nobody_asked_for_starts_no_cooldown() {
        let demand = demand();
        drop(demand.begin());
        assert!(demand.ask().is_some());
    }
}
