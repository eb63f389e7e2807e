//! The state of a feed, waiting for it to become complete, and the backoff between its attempts. All stores
//! with a feed share this.

use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Moment;

use super::StoreError;

/// The backoff between attempts: the first and the longest pause, each shortened at random by up to half
/// (jitter).
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(400);

/// The state of a feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FeedState {
    /// There is no complete view yet. The text says what went wrong in the last attempt.
    Starting(String),
    /// The server cannot be followed at all. The text says why, and what to do.
    Refused(String),
    /// The view has been complete at least once.
    Complete,
}

impl FeedState {
    /// Waits until the view is complete. Returns an error with the reason if the server cannot be followed,
    /// or if there is no connection after `patience`. Reading a large list may take longer than `patience`.
    pub(super) async fn complete(
        mut states: watch::Receiver<Self>,
        patience: Duration,
    ) -> Result<(), StoreError> {
        let settled = |s: &Self| !matches!(s, Self::Starting(_));
        loop {
            let waited = tokio::time::timeout(patience, states.wait_for(settled))
                .await
                .map(drop);
            match (states.borrow().clone(), waited) {
                (Self::Complete, _) => return Ok(()),
                (Self::Refused(why), _) => return Err(StoreError::Failed(why)),
                // An attempt without an error so far is still reading a large list.
                (Self::Starting(why), Err(_)) if why.is_empty() => {}
                (Self::Starting(why), _) => return Err(StoreError::Unavailable(why)),
            }
        }
    }
}

/// The backoff of a feed between its attempts.
pub(super) struct Pauses {
    next: Duration,
    /// Why the last attempt ended, so that the same reason is not logged again and again.
    last: String,
}

impl Pauses {
    pub(super) fn new() -> Self {
        Self {
            next: FIRST_PAUSE,
            last: String::new(),
        }
    }

    /// Logs why the attempt that began at `started` has ended, and waits until the next attempt is due.
    pub(super) async fn after(&mut self, why: String, started: Moment) {
        let lasted = started.elapsed() > LONGEST_PAUSE;
        if why != self.last || lasted {
            tracing::warn!(
                why,
                "the revocation feed is interrupted; the view ages until it is back"
            );
            self.last = why;
        }
        if lasted {
            self.next = FIRST_PAUSE;
        }
        tokio::time::sleep(jittered(self.next)).await;
        self.next = (self.next * 2).min(LONGEST_PAUSE);
    }
}

/// Shortens a pause at random by up to half.
pub(super) fn jittered(pause: Duration) -> Duration {
    let share = u32::try_from(random(1000)).unwrap_or_default();
    pause / 2 + pause / 2 * share / 1000
}

/// Returns a random number below `bound`. The standard library seeds it anew for each call, which is random
/// enough to spread replicas out.
fn random(bound: u64) -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _};
    #[cfg(feature = "simulation")]
    if let Some(number) = crate::simulation::random(bound) {
        return number;
    }
    std::hash::RandomState::new().build_hasher().finish() % bound
}
