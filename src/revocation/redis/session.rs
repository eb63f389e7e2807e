//! One connection of the feed, from the first reading to its end.
//!
//! Every wait has a bound. Where one is exceeded, or anything fails, the session is over: what it had taken in and not
//! acted upon is read again with the next.

use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::feed::FeedEnd;
use super::link::Link;
use super::pushes::Pushes;
use super::reconcile::Reconciliation;

/// One connection's life.
pub(super) struct Session {
    pub reconciliation: Reconciliation,
    pub link: Link,
    pub pushes: Pushes,
    pub patience: Duration,
}

impl Session {
    /// Reads every key, and judges what the view has beyond them.
    pub(super) async fn read_all(&mut self) -> Result<(), FeedEnd> {
        self.reconciliation.begin();
        while !self.scan_step().await? {
            self.act_on_pushes().await?;
        }
        self.act_on_pushes().await
    }

    /// One step of the slow comparison. Tells whether it is through.
    pub(super) async fn compare_step(&mut self) -> Result<bool, FeedEnd> {
        if !self.reconciliation.is_under_way() {
            self.reconciliation.begin_comparison();
        }
        self.scan_step().await
    }

    async fn scan_step(&mut self) -> Result<bool, FeedEnd> {
        let step = self.reconciliation.step(&mut self.link, &self.pushes);
        match timeout(self.patience * 10, step).await {
            Ok(done) => Ok(done?),
            Err(_) => Err(FeedEnd::Broken("no answer in time".to_owned())),
        }
    }

    /// Acts on everything that has been pushed.
    pub(super) async fn act_on_pushes(&mut self) -> Result<(), FeedEnd> {
        let pending = self.pushes.take();
        if pending.closed {
            return Err(FeedEnd::Broken("connection closed".to_owned()));
        }
        let act = self.reconciliation.apply(&mut self.link, pending);
        match timeout(self.patience * 10, act).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => {
                // Flushed, or more has changed than was kept: read everything again, from the start.
                self.reconciliation.begin();
                while !self.scan_step().await? {}
            }
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => return Err(FeedEnd::Broken("no answer in time".to_owned())),
        }
        if self.reconciliation.has_another_history() {
            return Err(FeedEnd::NotPrimary);
        }
        Ok(())
    }

    /// Proves that everything that was acknowledged before now is in the view, and tells when that was asked.
    pub(super) async fn heartbeat(&mut self) -> Result<Instant, FeedEnd> {
        let asked = Instant::now();
        match timeout(self.patience, self.link.heartbeat()).await {
            Ok(answer) => answer?,
            Err(_) => return Err(FeedEnd::Broken("no answer to a heartbeat".to_owned())),
        }
        self.act_on_pushes().await?;
        Ok(asked)
    }
}
