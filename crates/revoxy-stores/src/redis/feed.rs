//! The feed: keeps a view identical to the Redis server, and records as of which moment it is identical.
//!
//! # Why "fresh as of *t*" is true
//!
//! 1. The connection is tracking (`CLIENT TRACKING ON BCAST`) *before* the keys are first read. From then on,
//!    every change to one of our keys makes the server queue a push to this connection, and it does so before
//!    it answers the client that made the change.
//! 2. Then all keys are read (`SCAN` returns every key that is present throughout the scan). A change during
//!    the scan is pushed.
//! 3. A push names keys, not values: the keys are read again on the same connection, so the answer is at least
//!    as new as the push.
//! 4. A heartbeat is sent at time *t*. The server answers the commands of a connection in order, after the pushes
//!    that it has queued on that connection. Once the answer has arrived and every push before it has been acted
//!    upon, the view contains every change that was acknowledged before *t*.
//!
//! Assumptions: the server is the primary (the heartbeat is `HELLO`, whose answer names the role; the feed leaves a
//! replica at once); it is the same process (another process means another connection); and the clock that measures
//! ages does not stop ([`Moment`] keeps running while the machine is suspended). Expiry needs no message: each
//! process judges it by its own wall clock, which NTP is expected to keep within a minute of all others.
//!
//! Tracking does not report `SWAPDB`. A slow comparison of all keys finds the differences, corrects them, and
//! counts them.
//!
//! # When the server loses data
//!
//! A server that restarts as another process, or a replica that was promoted, may lack revocations that the view
//! holds, or hold weaker ones: an older cutoff, an earlier expiry. The feed writes back what the view holds.
//! Evictions are pushed like deletions; the server's own eviction counter distinguishes evictions from deletions.
//! An un-revocation through the API is stored in the revocation's own key. Of the revocation and the un-revocation,
//! the later statement counts, and an un-revocation that was lost is written back, too.
//!
//! Other Revoxy replicas may hold revocations that this replica does not hold. So after the server has changed, and
//! at the start if the server was promoted, was started a moment ago or does not allow `INFO`, the view does not
//! count as fresh until the other replicas have had time to write back, too: [`FeedSettings::max_staleness`], but
//! at least one second.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::clock::{Clock, Moment, jittered};
use crate::metrics::FeedMetrics;

use super::super::feed::state::{FeedState, JITTER};
use super::super::feed::supervise::{self, Ended};
use super::super::options::FeedSettings;
use super::super::version::VersionClock;
use super::super::view::View;
use super::connector::Connector;
use super::feed_end::FeedEnd;
use super::link::Link;
use super::prefixes::Prefixes;
use super::progress::Progress;
use super::pushes::Pushes;
use super::reconcile::{FollowedServers, Reconciliation};
use super::rights;
use super::sentinel::PrimaryConfirmation;
use super::server::{Identity, Servers};
use super::session::Session;
use super::suspect::Suspects;
use super::trusted_servers::TrustedServers;

/// The pause between two steps of the slow comparison, which must not put a noticeable load on the server.
const COMPARISON_PACE: Duration = Duration::from_millis(10);
/// How soon the slow comparison starts after slots have moved.
const COMPARE_AFTER_MOVES: Duration = Duration::from_secs(5);
/// The shortest interval between two heartbeats.
const SHORTEST_BEAT: Duration = Duration::from_millis(10);
/// The longest interval between two heartbeats in a cluster.
const LONGEST_BEAT: Duration = Duration::from_millis(250);
/// The minimum time that other replicas get to write back what a server has lost.
const LEAST_SETTLING: Duration = Duration::from_secs(1);

/// What the feed reports to the rest of the store.
pub(super) struct FeedHandles {
    pub states: watch::Receiver<FeedState>,
    pub trusted: TrustedServers,
    pub progress: Progress,
}

/// The servers that the view was last complete with, or was first read from.
struct Known {
    identities: Vec<Identity>,
    /// How many keys these servers had evicted.
    evictions: u64,
    /// A fingerprint of which server owned which slots.
    slots: u64,
}

/// The feed's task.
pub(super) struct Feed {
    connector: Connector,
    connect_timeout: Duration,
    view: Arc<View>,
    clock: Arc<dyn Clock>,
    settings: FeedSettings,
    metrics: Arc<dyn FeedMetrics>,
    state: watch::Sender<FeedState>,
    trusted: TrustedServers,
    versions: Arc<VersionClock>,
    progress: Progress,
    /// The servers that the view was last complete with.
    known: Option<Known>,
    /// Until the view is complete for the first time: the servers that its first entries were read from.
    first_read: Option<Known>,
    /// Whether the view may hold entries that the servers in `known` or `first_read` lack: another server has been
    /// read since, a write-back is still outstanding, or slots have moved and missing entries have not been judged
    /// yet. Missing entries then count as lost, not as deleted.
    another_met: bool,
    /// Whether it was already logged that the view is complete with this server.
    is_complete: bool,
    suspects: Suspects,
}

impl supervise::Feed for Feed {
    async fn follow(&mut self) -> Result<Infallible, Ended> {
        self.follow_server().await.map_err(|end| {
            if matches!(
                end,
                FeedEnd::NotPrimary | FeedEnd::OtherHistory | FeedEnd::Superseded
            ) {
                // After a re-promotion, or with another history, its data may be another server's: drop the trust.
                self.trusted.clear();
            }
            end.into()
        })
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
        connector: Connector,
        settings: FeedSettings,
        view: Arc<View>,
        clock: Arc<dyn Clock>,
        versions: Arc<VersionClock>,
        metrics: Arc<dyn FeedMetrics>,
    ) -> (Self, FeedHandles) {
        let (state, states) = watch::channel(FeedState::Starting(String::new()));
        let suspects = Suspects::new(settings.issuers.clone(), metrics.clone());
        let trusted = TrustedServers::default();
        let progress = Progress::default();
        let handles = FeedHandles {
            states,
            trusted: trusted.clone(),
            progress: progress.clone(),
        };
        let feed = Self {
            connect_timeout: connector.connect_timeout(),
            connector,
            view,
            clock,
            settings,
            metrics,
            state,
            trusted,
            versions,
            progress,
            known: None,
            first_read: None,
            another_met: false,
            is_complete: false,
            suspects,
        };
        (feed, handles)
    }

    /// Connects, brings the view up to date, and keeps it current until something breaks.
    async fn follow_server(&mut self) -> Result<Infallible, FeedEnd> {
        let pushes = Pushes::default();
        let patience = self.connect_timeout;
        let late = |_| FeedEnd::Broken("no answer in time".to_owned());
        let prefixes = Prefixes::of(&self.settings.lookups);
        let mut link = Link::open(&self.connector, patience, &pushes, &prefixes).await?;
        let servers = timeout(patience, link.servers()).await.map_err(late)??;
        if !servers.are_primaries() {
            return Err(FeedEnd::NotPrimary);
        }
        let may_read = rights::check(&mut link, &self.settings.lookups);
        timeout(patience, may_read).await.map_err(late)??;
        if *self.state.borrow() != FeedState::Complete {
            self.state.send_replace(FeedState::Starting(String::new()));
        }
        let now = Known {
            identities: servers.identities(),
            evictions: servers.evicted_keys(),
            slots: link.slots(),
        };
        let (changed, evictions) = self.compare_with_known(now, &servers);
        self.another_met = changed;
        self.is_complete &= !changed;
        let settling = self.settling(&servers, changed);
        let mut confirmation = match link.at() {
            Some(at) => self.connector.confirmation(at),
            None => PrimaryConfirmation::always_confirmed(),
        };
        let every = match link.is_cluster() {
            // In a cluster, a heartbeat proves freshness only as of the previous heartbeat, so a write waits for
            // two heartbeats.
            true => (self.settings.max_staleness / 8).min(LONGEST_BEAT),
            false => self.settings.max_staleness / 4,
        };
        let every = every.max(SHORTEST_BEAT);
        let mut session = Session {
            reconciliation: Reconciliation::new(
                Arc::clone(&self.view),
                Arc::clone(&self.clock),
                Arc::clone(&self.versions),
                self.metrics.clone(),
                &self.settings,
                self.suspects.clone(),
                FollowedServers {
                    identities: servers.identities(),
                    evictions,
                    changed,
                },
            ),
            link,
            pushes,
            patience: self.settings.max_staleness.max(LEAST_SETTLING),
            proven: None,
        };
        // While a cluster is down, it rejects the write-back of what one of its primaries has lost. It resumes
        // service at the same moment for all Revoxy replicas, so a replica that read before that moment would
        // write back too late, or leave the others no time to write back.
        while !session.accepts_writes().await? {
            self.report_starting(&session);
            tokio::time::sleep(every).await;
        }
        session.read_all().await?;
        if !settling.is_zero() {
            tracing::info!(
                ?settling,
                "this Redis may have lost revocations; waiting for other replicas to restore them"
            );
        }
        let settled = Moment::now() + settling;
        let mut beats = interval(every);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut comparisons = interval(COMPARISON_PACE);
        comparisons.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut compare_at = Moment::now() + jittered(self.settings.compare_every, JITTER);
        let mut proved = None;
        loop {
            tokio::select! {
                biased;
                superseded = confirmation.changed() => {
                    if superseded {
                        return Err(FeedEnd::Superseded);
                    }
                    self.advance_freshness(proved, &confirmation, settled, &servers, &session);
                }
                // Polled before heartbeats, which writers demand, and pushes: neither may ever cease. Steps are paced.
                _ = comparisons.tick(), if Moment::now() >= compare_at => {
                    if session.compare_step().await? {
                        compare_at = Moment::now() + jittered(self.settings.compare_every, JITTER);
                    }
                    session.act_on_pushes().await?;
                }
                () = self.progress.time_to_beat(&mut beats, session.link.is_cluster()) => {
                    confirmation.ask();
                    if self.trusted.take_met_untrusted() {
                        session.query_identity().await?;
                    }
                    proved = session.heartbeat().await?;
                    self.report_starting(&session);
                    if session.reconciliation.slot_moves.has_moved() {
                        // Until the comparison has finished, a key that is deleted by hand counts as lost.
                        compare_at = compare_at.min(Moment::now() + COMPARE_AFTER_MOVES);
                    }
                    self.advance_freshness(proved, &confirmation, settled, &servers, &session);
                }
                () = session.pushes.arrived() => session.act_on_pushes().await?,
            }
        }
    }

    /// Reports why the view is not complete yet, unless it has been complete before.
    fn report_starting(&self, session: &Session) {
        if *self.state.borrow() != FeedState::Complete {
            let why = session.link.why().to_owned();
            self.state.send_replace(FeedState::Starting(why));
        }
    }

    /// Compares the servers with those of before. Returns whether they may have lost what the view holds, and
    /// the eviction count to compare with later: the one from when they were last known to have lost nothing.
    fn compare_with_known(&mut self, now: Known, servers: &Servers) -> (bool, u64) {
        let same = |k: &Known| servers.are_surely(&k.identities) && k.slots == now.slots;
        let source = self.known.as_ref().or(self.first_read.as_ref());
        let evictions = now.evictions;
        if !self.has_read() {
            self.first_read = Some(now);
            return (false, evictions);
        }
        match source {
            Some(source) if same(source) && !self.another_met => (false, source.evictions),
            _ => (true, evictions),
        }
    }

    /// Returns whether anything has been read from any server.
    fn has_read(&self) -> bool {
        self.known.is_some() || !self.view.is_empty()
    }

    /// Returns how long to wait, after everything was read, before the view counts as fresh: not zero if the
    /// servers may have lost revocations that other replicas hold.
    fn settling(&self, servers: &Servers, changed: bool) -> Duration {
        let settling = self.settings.max_staleness.max(LEAST_SETTLING);
        let just_started = servers.uptime() <= settling.as_secs() + 1;
        let may_have_lost = self.known.is_none() && (just_started || servers.were_promoted());
        if changed || may_have_lost {
            settling
        } else {
            Duration::ZERO
        }
    }

    /// Marks the view as complete, once the settling time is over: as of the last proven heartbeat, or as of
    /// when this was last known to be the server to follow, whichever is earlier.
    fn advance_freshness(
        &mut self,
        proved: Option<Moment>,
        confirmation: &PrimaryConfirmation,
        settled: Moment,
        servers: &Servers,
        session: &Session,
    ) {
        if let (Some(proved), Some(since)) = (proved, confirmation.since())
            && Moment::now() >= settled
        {
            self.complete(servers, proved.min(since), session);
        }
    }

    fn complete(&mut self, servers: &Servers, as_of: Moment, session: &Session) {
        let done = &session.reconciliation;
        let now = Known {
            identities: done.server.identities.clone(),
            evictions: done.evictions(),
            slots: session.link.slots(),
        };
        self.trusted.set(now.identities.clone(), as_of);
        self.view.set_fresh_as_of(as_of);
        self.progress.reached(as_of);
        // Entries whose write-back this server refused do not count as deleted. That also holds after a
        // reconnection.
        self.another_met = done.has_refused_restores() || done.slot_moves.has_moved();
        self.metrics.following(true);
        self.known = Some(now);
        if std::mem::replace(&mut self.is_complete, true) {
            return;
        }
        tracing::info!(entries = self.view.len(), "the revocation view is complete");
        for warning in servers.warnings() {
            tracing::warn!(warning, "this Redis can lose revocations");
        }
        self.state.send_replace(FeedState::Complete);
    }
}
