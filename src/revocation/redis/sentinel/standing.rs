//! Whether the server of a connection is still the one to be asked.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use crate::clock::Moment;

use super::super::connector::Address;
use super::{Sentinels, Votes};

/// How long the Sentinels may say nothing new.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is known of one server, now and from now on.
#[derive(Clone)]
pub(crate) struct Standing(Option<Watched>);

#[derive(Clone)]
struct Watched {
    at: Address,
    votes: watch::Receiver<Votes>,
    questions: watch::Sender<()>,
    confirmed_within: Duration,
}

impl Standing {
    /// Of a server that nobody watches: it is what it says.
    pub(crate) fn undoubted() -> Self {
        Self(None)
    }

    pub(crate) fn watched(at: Address, by: &Sentinels, confirmed_within: Duration) -> Self {
        Self(Some(Watched {
            at,
            votes: by.votes(),
            questions: by.questions.clone(),
            confirmed_within,
        }))
    }

    /// Has the Sentinels asked now.
    pub(crate) fn ask(&self) {
        if let Some(watched) = &self.0 {
            watched.questions.send_replace(());
        }
    }

    /// As of when it is known that this is the server.
    pub(crate) fn since(&self) -> Option<Moment> {
        let now = Moment::now();
        match &self.0 {
            None => Some(now),
            Some(watched) => watched.votes.borrow().confirmed(&watched.at, now),
        }
    }

    /// Whether it was known lately enough to be asked.
    pub(crate) fn is_good(&self) -> bool {
        let Some(watched) = &self.0 else { return true };
        self.since()
            .is_some_and(|since| since.elapsed() <= watched.confirmed_within)
    }

    /// Waits until it is known that this was the server after `at`. Tells whether it was; nobody else can be meant where nobody
    /// watches.
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

    /// Waits until something more is known. Tells whether it is another server that is to be asked.
    pub(crate) async fn changed(&mut self) -> bool {
        let Some(watched) = &mut self.0 else {
            return std::future::pending().await;
        };
        if watched.votes.changed().await.is_err() {
            // Nobody asks any more: nothing is ever known again.
            return true;
        }
        watched.votes.borrow_and_update().supersede(&watched.at)
    }

    /// Waits until another server is to be asked.
    pub(crate) async fn superseded(mut self) {
        while !self.changed().await {}
    }
}
