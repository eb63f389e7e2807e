//! The progress of the view, for a writer that waits until the view contains its write.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Interval, timeout};

use crate::clock::Moment;

use super::super::StoreError;

/// How long a write waits until the view must contain it.
const PATIENCE: Duration = Duration::from_secs(5);

/// As of when the view is known to be complete.
#[derive(Clone)]
pub(super) struct Progress {
    reached: watch::Sender<Option<Moment>>,
    wanted: Arc<Notify>,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            reached: watch::Sender::new(None),
            wanted: Arc::default(),
        }
    }
}

impl Progress {
    /// Records that the view is complete as of `at`.
    pub(super) fn reached(&self, at: Moment) {
        self.reached.send_replace(Some(at));
    }

    /// Waits until the next heartbeat is due: at regular intervals, and when a writer waits for one. In a
    /// cluster only at regular intervals, because the time between two heartbeats is part of the proof.
    pub(super) async fn time_to_beat(&self, beats: &mut Interval, in_cluster: bool) {
        tokio::select! {
            biased;
            _ = beats.tick() => {}
            () = self.wanted.notified(), if !in_cluster => {}
        }
    }

    /// Waits until the view is complete as of `at` or later: the authoritative server has answered a heartbeat
    /// that was sent after `at`.
    pub(super) async fn reaches(&self, at: Moment) -> Result<(), StoreError> {
        let mut reached = self.reached.subscribe();
        self.wanted.notify_one();
        let there = reached.wait_for(|reached| reached.is_some_and(|reached| reached >= at));
        match timeout(PATIENCE, there).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(StoreError::Unavailable("shutting down".to_owned())),
            Err(_) => Err(StoreError::Timeout),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_write_waits_for_a_heartbeat_that_began_after_it() {
        let progress = Progress::default();
        let written = Moment::now();
        progress.reached(written - Duration::from_millis(1));
        let waits = progress.clone();
        let waits = tokio::spawn(async move { waits.reaches(written).await });
        let mut beats = tokio::time::interval(Duration::from_secs(3600));
        beats.tick().await;
        progress.time_to_beat(&mut beats, false).await;
        assert!(!waits.is_finished());
        progress.reached(written);
        assert_eq!(waits.await.unwrap(), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_is_never_confirmed_ends_in_an_error() {
        let waited = Progress::default().reaches(Moment::now()).await;
        assert_eq!(waited, Err(StoreError::Timeout));
    }
}
