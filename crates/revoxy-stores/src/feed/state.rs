//! The state of a feed, and waiting for it to become complete.

use std::time::Duration;

use tokio::sync::watch;

use super::super::StoreError;

/// The maximum random reduction of a feed's waits, in percent.
pub(crate) const JITTER: u32 = 50;

/// The state of a feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FeedState {
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
    pub(crate) async fn complete(
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
