//! How far a feed has come, whoever waits for it, and how it tries again: the same for every store that is followed.

use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Moment;

use super::StoreError;

/// Pauses between attempts: from the first to the longest, each shortened at random by up to half.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(400);

/// How far a feed has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FeedState {
    /// No complete view yet; what the last attempt met.
    Starting(String),
    /// The server cannot be followed at all; why, and what to do.
    Refused(String),
    /// The view has been complete once.
    Complete,
}

impl FeedState {
    /// Waits until the view is complete. When the server cannot be followed, or after `patience` without a connection,
    /// the error says why; reading a large list may take longer.
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
                // An attempt that has met nothing wrong yet is reading a large list.
                (Self::Starting(why), Err(_)) if why.is_empty() => {}
                (Self::Starting(why), _) => return Err(StoreError::Unavailable(why)),
            }
        }
    }
}

/// The pauses of a feed between its attempts.
pub(super) struct Pauses {
    next: Duration,
    /// Why the last attempt ended, so that the same is not said over and over.
    last: String,
}

impl Pauses {
    pub(super) fn new() -> Self {
        Self {
            next: FIRST_PAUSE,
            last: String::new(),
        }
    }

    /// Says why the attempt that began at `started` has ended, and waits until it is time for another.
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

/// Shortened at random by up to half.
pub(super) fn jittered(pause: Duration) -> Duration {
    let share = u32::try_from(random(1000)).unwrap_or_default();
    pause / 2 + pause / 2 * share / 1000
}

/// A number below `bound`. Seeded anew each time by the standard library: all that spreading replicas out needs.
fn random(bound: u64) -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _};
    #[cfg(feature = "simulation")]
    if let Some(number) = crate::simulation::random(bound) {
        return number;
    }
    std::hash::RandomState::new().build_hasher().finish() % bound
}
