//! This process as a replica of Revoxy: the time, the latest version, and the view.

use std::sync::Arc;

use crate::clock::{Clock, Moment, Timestamp};

use super::super::StoreError;
use super::super::version::{Version, VersionClock};
use super::super::view::View;
use super::following::Following;
use super::trusted_servers::TrustedServers;

/// What a store of this process has besides its connections.
pub(super) struct LocalReplica {
    pub clock: Arc<dyn Clock>,
    pub versions: Arc<VersionClock>,
    /// The view and the task that keeps it current, if there is a view.
    pub following: Option<Following>,
}

impl LocalReplica {
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Returns a version for a statement made now.
    pub(super) fn next_version(&self) -> Version {
        self.versions.next(self.now())
    }

    /// Advances the version clock past a version that was read.
    pub(super) fn observe(&self, version: Version) {
        self.versions.see(version, self.now());
    }

    pub(super) fn view(&self) -> Option<&View> {
        self.following.as_ref().map(|following| &*following.view)
    }

    /// Returns the servers that direct reads trust: the servers that the view was last complete with. `None`
    /// without a view: then every server is trusted.
    pub(super) fn trusted(&self) -> Option<&TrustedServers> {
        self.following.as_ref().map(|following| &following.trusted)
    }

    /// Waits until the view contains everything that was acknowledged before `at`. Returns `None` if there is no view.
    pub(super) async fn view_as_of(&self, at: Moment) -> Result<Option<&View>, StoreError> {
        let Some(following) = &self.following else {
            return Ok(None);
        };
        following.progress.reaches(at).await?;
        Ok(Some(&following.view))
    }
}
