//! The view of a store, and the task that keeps it current.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::clock::Clock;
use crate::metrics::FeedMetrics;

use super::super::StoreError;
use super::super::feed::state::FeedState;
use super::super::feed::supervise::supervise;
use super::super::options::FeedSettings;
use super::super::version::VersionClock;
use super::super::view::View;
use super::connector::Connector;
use super::feed::Feed;
use super::progress::Progress;
use super::trusted_servers::TrustedServers;

pub(super) struct Following {
    pub view: Arc<View>,
    pub trusted: TrustedServers,
    pub progress: Progress,
    states: watch::Receiver<FeedState>,
    task: AbortHandle,
}

impl Following {
    /// Starts the feed's task.
    pub(super) fn start(
        connector: Connector,
        settings: FeedSettings,
        clock: Arc<dyn Clock>,
        versions: Arc<VersionClock>,
        metrics: Arc<dyn FeedMetrics>,
    ) -> Self {
        let view = Arc::<View>::default();
        let (feed, handles) = Feed::new(
            connector,
            settings,
            Arc::clone(&view),
            clock,
            versions,
            metrics,
        );
        Self {
            view,
            trusted: handles.trusted,
            progress: handles.progress,
            states: handles.states,
            task: tokio::spawn(supervise(feed)).abort_handle(),
        }
    }

    /// Waits until the view is complete. If the server cannot be followed, or after `patience` without a
    /// connection, the error says why. Reading a large list may take longer.
    pub(super) async fn ready(&self, patience: Duration) -> Result<(), StoreError> {
        FeedState::complete(self.states.clone(), patience).await
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.task.abort();
    }
}
