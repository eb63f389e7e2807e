//! Tracks whether the Sentinels confirm that the server of a connection is still the primary.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use crate::clock::Moment;

use super::super::address::Address;
use super::{Sentinels, Votes};

/// How long to wait for new votes of the Sentinels.
const PATIENCE: Duration = Duration::from_secs(5);

/// The current and future confirmation of one server.
#[derive(Clone)]
pub(crate) struct PrimaryConfirmation(Option<ConfirmedServer>);

#[derive(Clone)]
struct ConfirmedServer {
    at: Address,
    votes: watch::Receiver<Votes>,
    questions: watch::Sender<()>,
    confirmed_within: Duration,
}

impl PrimaryConfirmation {
    /// Creates the confirmation of a server that no Sentinel monitors: the role that the server itself reports is
    /// trusted.
    pub(crate) fn always_confirmed() -> Self {
        Self(None)
    }

    pub(crate) fn watched(at: Address, by: &Sentinels, confirmed_within: Duration) -> Self {
        Self(Some(ConfirmedServer {
            at,
            votes: by.votes(),
            questions: by.questions.clone(),
            confirmed_within,
        }))
    }

    /// Requests a query of the Sentinels now.
    pub(crate) fn ask(&self) {
        if let Some(watched) = &self.0 {
            watched.questions.send_replace(());
        }
    }

    /// Returns the latest moment as of which this server is known to be the server to query.
    pub(crate) fn since(&self) -> Option<Moment> {
        let now = Moment::now();
        match &self.0 {
            None => Some(now),
            Some(watched) => watched.votes.borrow().confirmed(&watched.at, now),
        }
    }

    /// Returns whether the last confirmation is recent enough to query the server.
    pub(crate) fn is_good(&self) -> bool {
        let Some(watched) = &self.0 else { return true };
        self.since()
            .is_some_and(|since| since.elapsed() <= watched.confirmed_within)
    }

    /// Waits until the Sentinels confirm or deny that this was still the server to query after `at`. Returns
    /// whether it was. Without Sentinels, this returns `true`, because there is no other server.
    pub(crate) async fn confirmed_after(mut self, at: Moment) -> bool {
        loop {
            if self.since().is_some_and(|since| since >= at) {
                return true;
            }
            self.ask();
            match timeout(PATIENCE, self.changed()).await {
                Ok(false) => {}
                Ok(true) | Err(_) => return false,
            }
        }
    }

    /// Waits for new votes. Returns whether they name another server.
    pub(crate) async fn changed(&mut self) -> bool {
        let Some(watched) = &mut self.0 else {
            return std::future::pending().await;
        };
        if watched.votes.changed().await.is_err() {
            // The tasks that query the Sentinels have ended: there will be no more confirmations.
            return true;
        }
        watched.votes.borrow_and_update().supersede(&watched.at)
    }

    /// Waits until the Sentinels name another server.
    pub(crate) async fn superseded(mut self) {
        while !self.changed().await {}
    }
}
