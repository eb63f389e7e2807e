//! The feed: keeps a view identical to the table in PostgreSQL, and records as of which moment it is identical.
//!
//! # Why "fresh as of *t*" is true
//!
//! 1. A connection listens (`LISTEN`) *before* the rows are first read. From then on, every change to a row
//!    makes the trigger notify, in the transaction of the change itself, and the notification contains
//!    everything that a view needs.
//! 2. PostgreSQL puts the notifications of a transaction into one queue before it commits, and so before it
//!    acknowledges: "if a NOTIFY is executed inside a transaction, the notify events are not delivered until
//!    and unless the transaction is committed", and "NOTIFY guarantees that messages from the same transaction
//!    get delivered in the order in which they were sent. It is also guaranteed that messages from different
//!    transactions are delivered in the order in which the transactions committed" (PostgreSQL's documentation
//!    of NOTIFY). That order is the commit order, because a transaction that notifies holds a lock on the queue
//!    from before its commit until it ends.
//! 3. Then all rows are read, in batches. A change during the read is notified, and acted upon after the read.
//! 4. A heartbeat is a notification to ourselves, sent at time *t*. Whatever was acknowledged before *t* is
//!    ahead of it in the queue, and is delivered before it. Once the heartbeat has arrived and every message
//!    before it has been acted upon, the view contains every revocation that was acknowledged before *t*.
//!
//! The statement that sends a heartbeat also queries two things, because whatever was committed before *t* is visible
//! to it: whether the server is in recovery, as a standby is (a server that becomes one restarts, too); and whether
//! the triggers are unchanged: enabled, and not replaced, down to the version of their rows in the catalogue. So a
//! trigger that was disabled for a moment between two heartbeats is noticed, and everything is read again.
//!
//! Assumptions: the trigger's function is ours, and no user who may bypass triggers does so; a primary that has
//! been replaced is stopped, which failover managers ensure; and the clock that measures ages does not stop
//! ([`Moment`] keeps running while the machine is suspended). Expiry needs no message: each process judges it by
//! its own wall clock, which NTP is expected to keep within a minute of all others. If an assumption is violated, a
//! slow comparison of everything finds the differences, corrects them, and counts them.
//!
//! A message that would weaken the view is not applied until the row has been read again (see `mirror.rs`), because
//! anybody in the database may notify.
//!
//! # Durability
//!
//! An acknowledged statement is as durable as `synchronous_commit` says: our own writes raise it if it is lower
//! (see `mod.rs`), other writers are trusted. PostgreSQL does not lose acknowledged data, so what is missing
//! when the feed reconnects was deleted.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::clock::{Clock, Moment, jittered};
use crate::metrics::FeedMetrics;

use super::super::FeedSettings;
use super::super::feed::state::{FeedState, JITTER};
use super::super::feed::supervise::{self, Ended};
use super::super::options::PostgresOptions;
use super::super::view::View;
use super::feed_end::FeedEnd;
use super::mirror::Mirror;
use super::session::Session;

/// The pause between two steps of the slow comparison, which must not put a noticeable load on the server.
const COMPARISON_PACE: Duration = Duration::from_millis(50);
/// The minimum time that an answer may take.
const LEAST_PATIENCE: Duration = Duration::from_secs(1);

/// The feed's task.
pub(super) struct Feed {
    options: PostgresOptions,
    view: Arc<View>,
    clock: Arc<dyn Clock>,
    settings: FeedSettings,
    metrics: Arc<dyn FeedMetrics>,
    state: watch::Sender<FeedState>,
}

impl supervise::Feed for Feed {
    async fn follow(&mut self) -> Result<Infallible, Ended> {
        self.follow_server().await.map_err(Ended::from)
    }

    fn state(&self) -> &watch::Sender<FeedState> {
        &self.state
    }

    fn metrics(&self) -> &dyn FeedMetrics {
        &*self.metrics
    }
}

impl Feed {
    pub(super) fn new(
        options: &PostgresOptions,
        settings: FeedSettings,
        view: Arc<View>,
        clock: Arc<dyn Clock>,
        metrics: Arc<dyn FeedMetrics>,
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

    /// Connects, brings the view up to date, and keeps it current until something breaks.
    async fn follow_server(&self) -> Result<Infallible, FeedEnd> {
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
        let mut compare_at = Moment::now() + jittered(self.settings.compare_every, JITTER);
        loop {
            tokio::select! {
                biased;
                _ = beats.tick() => {
                    let as_of = session.heartbeat().await?;
                    // After the table was emptied, the view still holds everything until it has been read again.
                    if !session.is_catching_up() {
                        self.complete(as_of);
                    }
                }
                // Polled before the notifications, which may never cease. Steps are paced.
                _ = comparisons.tick(), if Moment::now() >= compare_at => {
                    if session.compare_step().await? {
                        compare_at = Moment::now() + jittered(self.settings.compare_every, JITTER);
                    }
                }
                notified = session.notified() => session.act_now(&notified?).await?,
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
