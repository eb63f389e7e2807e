//! The feed: keeps a view exactly as the table in PostgreSQL is, and says as of when.
//!
//! # Why "fresh as of *t*" is true
//!
//! 1. A connection listens (`LISTEN`) *before* the rows are first read. From then on every change to a row makes the
//!    trigger notify, in the transaction of the change itself, and the notification says all that a view needs.
//! 2. PostgreSQL puts the notifications of a transaction into one queue before it commits, and so before it
//!    acknowledges: "if a NOTIFY is executed inside a transaction, the notify events are not delivered until and unless
//!    the transaction is committed", and "NOTIFY guarantees that messages from the same transaction get delivered in
//!    the order in which they were sent. It is also guaranteed that messages from different transactions are delivered
//!    in the order in which the transactions committed" (PostgreSQL's documentation of NOTIFY). That order is the order
//!    of commit because a transaction that notifies holds a lock on the queue from before its commit to its end.
//! 3. Then all rows are read, in batches. A change during the reading is told, and acted upon after it.
//! 4. A heartbeat is a notification to oneself, sent at time *t*. What was acknowledged before *t* stands in the queue
//!    before it, and is delivered before it. When the heartbeat is here and every message before it has been acted upon,
//!    the view contains every revocation that was acknowledged before *t*.
//!
//! The statement that sends a heartbeat also asks two things, for what was committed before *t* shows there: whether the
//! server is in recovery, which a standby is (one that becomes so restarts, too); and whether the triggers are those
//! that they were, enabled and not replaced, down to the version of their rows in the catalogue. So a trigger that was
//! switched off for a moment between two heartbeats is noticed, and everything is read again.
//!
//! What that assumes: that the trigger's function is ours, and that whoever can bypass triggers does not; that a primary
//! which has been replaced is stopped, as failover managers see to; and that this process' monotonic clock does not
//! stand still. Expiry needs no message: it is judged locally, by the wall clock, which NTP is expected to keep within a
//! minute of everybody else's. A slow comparison of everything finds what breaks this, heals, and counts.
//!
//! What a message would weaken is read again first (see `mirror.rs`), for anybody in the database may notify.
//!
//! # Durable
//!
//! What is acknowledged is as durable as `synchronous_commit` says: our own writes raise it where it is lower (see
//! `mod.rs`), others are trusted. PostgreSQL does not forget, so what is missing when the feed comes back was deleted.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::clock::{Clock, Moment};
use crate::metrics::FeedMetrics;

use super::super::feed_state::{FeedState, Pauses, jittered};
use super::super::view::View;
use super::super::{FeedSettings, StoreError};
use super::PostgresOptions;
use super::mirror::Mirror;
use super::session::Session;

/// Between two steps of the slow comparison: it must not be felt on the server.
const COMPARISON_PACE: Duration = Duration::from_millis(50);
/// The least that an answer may take.
const LEAST_PATIENCE: Duration = Duration::from_secs(1);

/// Why following a server ended.
#[derive(Debug)]
pub(super) enum FeedEnd {
    /// It cannot be followed at all.
    Refused(String),
    /// A heartbeat was sent and not heard.
    Silent,
    /// The connection broke, or the server answered wrongly.
    Broken(String),
}

impl From<StoreError> for FeedEnd {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(why) | StoreError::Failed(why) => Self::Broken(why),
            other => Self::Broken(other.to_string()),
        }
    }
}

/// The task.
pub(super) struct Feed {
    options: PostgresOptions,
    view: Arc<View>,
    clock: Arc<dyn Clock>,
    settings: FeedSettings,
    metrics: FeedMetrics,
    state: watch::Sender<FeedState>,
}

impl Drop for Feed {
    /// The task ends with the process, or by a defect; then at least it says so.
    fn drop(&mut self) {
        self.metrics.following(false);
        if std::thread::panicking() {
            tracing::error!(
                "the revocation feed has panicked: every check asks the store from now on"
            );
        }
    }
}

impl Feed {
    pub(super) fn new(
        options: &PostgresOptions,
        settings: FeedSettings,
        view: Arc<View>,
        clock: Arc<dyn Clock>,
        metrics: FeedMetrics,
    ) -> (Self, watch::Receiver<FeedState>) {
        let (state, states) = watch::channel(FeedState::Starting(String::new()));
        let feed = Self {
            options: options.clone(),
            view,
            clock,
            settings,
            metrics,
            state,
        };
        (feed, states)
    }

    pub(super) async fn run(self) {
        let mut pauses = Pauses::new();
        loop {
            let started = Moment::now();
            let end = match self.follow().await {
                Ok(never) => match never {},
                Err(end) => end,
            };
            self.metrics.following(false);
            self.metrics.reconnects.inc();
            let (why, state) = match end {
                FeedEnd::Refused(why) => (why.clone(), FeedState::Refused(why)),
                FeedEnd::Broken(why) => (why.clone(), FeedState::Starting(why)),
                FeedEnd::Silent => {
                    let why = "a heartbeat was sent and not heard".to_owned();
                    (why.clone(), FeedState::Starting(why))
                }
            };
            if *self.state.borrow() != FeedState::Complete {
                self.state.send_replace(state);
            }
            pauses.after(why, started).await;
        }
    }

    /// Connects, brings the view up to date, and keeps it so, until something breaks.
    async fn follow(&self) -> Result<Infallible, FeedEnd> {
        let mirror = Mirror::new(
            Arc::clone(&self.view),
            Arc::clone(&self.clock),
            self.metrics.clone(),
        );
        let patience = self.settings.max_staleness.max(LEAST_PATIENCE);
        let mut session = Session::open(&self.options, mirror, patience).await?;
        if *self.state.borrow() != FeedState::Complete {
            self.state.send_replace(FeedState::Starting(String::new()));
        }
        session.read_all().await?;
        let mut beats = interval((self.settings.max_staleness / 4).max(Duration::from_millis(10)));
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut comparisons = interval(COMPARISON_PACE);
        comparisons.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut compare_at = Moment::now() + jittered(self.settings.compare_every);
        loop {
            tokio::select! {
                biased;
                _ = beats.tick() => {
                    let as_of = session.heartbeat().await?;
                    // Of a table that was emptied the view still holds everything.
                    if !session.is_catching_up() {
                        self.complete(as_of);
                    }
                }
                heard = session.heard() => session.act_now(&heard?).await?,
                _ = comparisons.tick(), if Moment::now() >= compare_at => {
                    if session.compare_step().await? {
                        compare_at = Moment::now() + jittered(self.settings.compare_every);
                    }
                }
            }
            if session.is_catching_up() {
                session.read_on().await?;
            }
        }
    }

    fn complete(&self, as_of: Moment) {
        self.view.set_fresh_as_of(as_of);
        self.metrics.following(true);
        if *self.state.borrow() != FeedState::Complete {
            tracing::info!(entries = self.view.len(), "the revocation view is complete");
            self.state.send_replace(FeedState::Complete);
        }
    }
}
