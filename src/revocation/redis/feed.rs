//! The feed: keeps a view exactly as the Redis server is, and says as of when.
//!
//! # Why "fresh as of *t*" is true
//!
//! 1. The connection is tracking (`CLIENT TRACKING ON BCAST`) *before* the keys are first read. From then on, every
//!    change to a key of ours makes the server queue a push to this connection, and it does so before it answers the
//!    client that made the change.
//! 2. Then all keys are read (`SCAN` returns every key that is there throughout). A change during the scan is pushed.
//! 3. A push names keys, not values: they are read again on the same connection, so the answer is at least as new as
//!    the push.
//! 4. A heartbeat is sent at time *t*. The server answers commands of a connection in order, behind the pushes it has
//!    queued there. When the answer is here and every push before it has been acted upon, the view contains every
//!    change that was acknowledged before *t*.
//!
//! What that assumes: the server is the primary (the heartbeat is `HELLO`, whose answer names the role: a replica is
//! left at once); it is the same process (another one has another connection); and this process' monotonic clock does
//! not stand still (a suspended machine's does). Expiry needs no message: it is judged locally, by the wall clock, which
//! NTP is expected to keep within a minute of everybody else's.
//!
//! What tracking keeps silent about is `SWAPDB`. A slow comparison of everything finds it, heals, and counts.
//!
//! # When the server forgets
//!
//! A server that comes back as another process, or a replica that was promoted, may lack revocations that the view
//! holds, or hold them with less: an older cutoff, an earlier expiry. Those are written back. Evictions are pushed like
//! deletions, and told from them by the server's own count. What was taken back through the API has left a tombstone and
//! is not written back.
//!
//! Other replicas of ours may hold what this one does not. So after the server has changed, and at the start where it has
//! taken another's place, the view counts as fresh only when they too have had [`FeedSettings::max_staleness`] to write
//! back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::RedisError;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::clock::{Clock, Moment};
use crate::metrics::FeedMetrics;

use super::super::feed_state::{FeedState, Pauses, jittered};
use super::super::lookups::Lookups;
use super::super::version::VersionClock;
use super::super::view::View;
use super::Deletions;
use super::connection;
use super::connector::{ConnectError, Connector};
use super::link::{Link, refusal};
use super::prefixes::Prefixes;
use super::progress::Progress;
use super::pushes::Pushes;
use super::reconcile::{Reconciliation, Server};
use super::rights;
use super::sentinel::Standing;
use super::server::{Identity, Servers};
use super::session::Session;
use super::suspect::Suspects;

/// Between two steps of the slow comparison: it must not be felt on the server.
const COMPARISON_PACE: Duration = Duration::from_millis(10);
/// How soon everything is compared when slots have changed hands.
const COMPARE_AFTER_MOVES: Duration = Duration::from_secs(5);
/// The shortest time between two heartbeats.
const SHORTEST_BEAT: Duration = Duration::from_millis(10);
/// The longest time between two heartbeats of a cluster.
const LONGEST_BEAT: Duration = Duration::from_millis(250);
/// The least that other replicas are given to write back what a server has lost.
const LEAST_SETTLING: Duration = Duration::from_secs(1);

/// How the feed is to behave.
#[derive(Clone, Debug)]
pub struct FeedSettings {
    /// How old the view may be before checks ask the server themselves.
    pub max_staleness: Duration,
    /// What a deleted key means.
    pub deletions: Deletions,
    /// How often everything is compared.
    pub compare_every: Duration,
    /// The keys of applications that are followed beside our own.
    pub lookups: Lookups,
    /// The names of the issuers that are configured: keys of others are told to be mistakes.
    pub issuers: Vec<String>,
}

/// The server, or the primaries, that the view was last complete with. Direct reads from another are not believed: it
/// may lack what the view, or that of another replica of ours, holds.
#[derive(Clone, Default)]
pub(super) struct TrustedServers(Arc<Trusted>);

#[derive(Default)]
struct Trusted {
    identities: Mutex<Vec<Identity>>,
    /// Whether another has been met since that was last looked into.
    doubted: AtomicBool,
}

impl TrustedServers {
    fn set(&self, identities: Vec<Identity>) {
        let trusted = self.0.identities.lock();
        *trusted.unwrap_or_else(PoisonError::into_inner) = identities;
    }

    /// Whether another has been met since this was last asked.
    fn are_doubted(&self) -> bool {
        self.0.doubted.swap(false, Ordering::Relaxed)
    }

    /// Whether `identity` is that of a trusted one.
    pub(super) fn include(&self, identity: &Identity) -> bool {
        let trusted = self.0.identities.lock();
        let trusted = trusted.unwrap_or_else(PoisonError::into_inner);
        let include = trusted.contains(identity);
        if !include {
            self.0.doubted.store(true, Ordering::Relaxed);
        }
        include
    }
}

/// What others hear of the feed.
pub(super) struct Heard {
    pub states: watch::Receiver<FeedState>,
    pub trusted: TrustedServers,
    pub progress: Progress,
}

/// The servers that the view was last complete with, or was first read from.
struct Known {
    identities: Vec<Identity>,
    /// How many keys they had evicted.
    evictions: u64,
    /// Which of them had which slots.
    slots: u64,
}

/// The task.
pub(super) struct Feed {
    connector: Connector,
    connect_timeout: Duration,
    view: Arc<View>,
    clock: Arc<dyn Clock>,
    settings: FeedSettings,
    metrics: FeedMetrics,
    state: watch::Sender<FeedState>,
    trusted: TrustedServers,
    versions: Arc<VersionClock>,
    progress: Progress,
    /// The server that the view was last complete with.
    known: Option<Known>,
    /// Until the view was complete: the servers that its first entries come from.
    first_read: Option<Known>,
    /// Whether another server has been read from since then: the view may hold what only that one had.
    another_met: bool,
    /// Whether it has been said that the view is complete with this server.
    is_complete: bool,
    suspects: Suspects,
}

/// Why following a server ended.
#[derive(Debug)]
pub(super) enum FeedEnd {
    /// It cannot be followed at all.
    Refused(String),
    /// It is a replica, from the start or since a moment ago.
    NotPrimary,
    /// Another server has taken its place.
    Superseded,
    /// The primaries of the cluster are others than before, or do something else.
    Topology(String),
    /// The connection broke, or the server answered wrongly.
    Broken(String),
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

impl From<RedisError> for FeedEnd {
    fn from(error: RedisError) -> Self {
        Self::Broken(connection::describe(&error))
    }
}

impl From<ConnectError> for FeedEnd {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Redis(error)
                if error.kind() == redis::ErrorKind::RESP3NotSupported
                    || connection::server_code(&error)
                        .is_some_and(|c| c == "NOPROTO" || c == "ERR") =>
            {
                Self::Refused(refusal("it does not speak RESP3 (Redis 6 and later do)"))
            }
            other => Self::Broken(other.to_string()),
        }
    }
}

impl Feed {
    pub(super) fn new(
        connector: Connector,
        settings: FeedSettings,
        view: Arc<View>,
        clock: Arc<dyn Clock>,
        versions: Arc<VersionClock>,
        metrics: FeedMetrics,
    ) -> (Self, Heard) {
        let (state, states) = watch::channel(FeedState::Starting(String::new()));
        let suspects = Suspects::new(settings.issuers.clone(), metrics.clone());
        let trusted = TrustedServers::default();
        let progress = Progress::default();
        let heard = Heard {
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
        (feed, heard)
    }

    pub(super) async fn run(mut self) {
        let mut pauses = Pauses::new();
        loop {
            let started = Moment::now();
            let end = match self.follow().await {
                Ok(never) => match never {},
                Err(end) => end,
            };
            self.metrics.following(false);
            self.metrics.reconnects.inc();
            if matches!(end, FeedEnd::NotPrimary | FeedEnd::Superseded) {
                // What it holds when it is a primary again is another's.
                self.trusted.set(Vec::new());
            }
            let complete = *self.state.borrow() == FeedState::Complete;
            let (why, state) = match end {
                FeedEnd::Refused(why) => (why.clone(), FeedState::Refused(why)),
                FeedEnd::NotPrimary => {
                    let why = "the server is a replica, not a primary".to_owned();
                    (why.clone(), FeedState::Starting(why))
                }
                FeedEnd::Superseded => {
                    let why = "the Sentinels name another server".to_owned();
                    (why.clone(), FeedState::Starting(why))
                }
                FeedEnd::Topology(why) | FeedEnd::Broken(why) => {
                    (why.clone(), FeedState::Starting(why))
                }
            };
            if !complete {
                self.state.send_replace(state);
            }
            pauses.after(why, started).await;
        }
    }

    /// Connects, brings the view up to date, and keeps it so, until something breaks.
    async fn follow(&mut self) -> Result<std::convert::Infallible, FeedEnd> {
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
        let (changed, evictions) = self.meet(now, &servers);
        self.another_met = changed;
        self.is_complete &= !changed;
        let settling = self.settling(&servers, changed);
        let mut standing = match link.at() {
            Some(at) => self.connector.standing(at),
            None => Standing::undoubted(),
        };
        let every = match link.is_cluster() {
            // A write waits for two of them.
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
                Server {
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
        // A cluster that is down refuses to take back what one of its primaries has lost, and serves again at a moment that is the same for
        // all replicas of ours. Who had read before that would write back too late, or give the others no time.
        while !session.accepts_writes().await? {
            self.report_starting(&session);
            tokio::time::sleep(every).await;
        }
        session.read_all().await?;
        if !settling.is_zero() {
            tracing::info!(
                ?settling,
                "a Redis that may have lost revocations: giving other replicas time to restore"
            );
        }
        let settled = Moment::now() + settling;
        let mut beats = interval(every);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut comparisons = interval(COMPARISON_PACE);
        comparisons.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut compare_at = Moment::now() + jittered(self.settings.compare_every);
        let mut proved = None;
        loop {
            tokio::select! {
                biased;
                () = self.progress.time_to_beat(&mut beats, session.link.is_cluster()) => {
                    standing.ask();
                    if self.trusted.are_doubted() {
                        session.look_who_it_is().await?;
                    }
                    proved = session.heartbeat().await?;
                    self.report_starting(&session);
                    if session.reconciliation.moving.has_moved() {
                        // Until it has been compared, what is deleted by hand counts as lost.
                        compare_at = compare_at.min(Moment::now() + COMPARE_AFTER_MOVES);
                    }
                    self.claim(proved, &standing, settled, &servers, &session);
                }
                superseded = standing.changed() => {
                    if superseded {
                        return Err(FeedEnd::Superseded);
                    }
                    self.claim(proved, &standing, settled, &servers, &session);
                }
                // Before the pushes, which may never end; and after each step these.
                _ = comparisons.tick(), if Moment::now() >= compare_at => {
                    if session.compare_step().await? {
                        compare_at = Moment::now() + jittered(self.settings.compare_every);
                    }
                    session.act_on_pushes().await?;
                }
                () = session.pushes.arrived() => session.act_on_pushes().await?,
            }
        }
    }

    /// Says why the view is not complete yet, if it never was.
    fn report_starting(&self, session: &Session) {
        if *self.state.borrow() != FeedState::Complete {
            let why = session.link.why().to_owned();
            self.state.send_replace(FeedState::Starting(why));
        }
    }

    /// Meets servers. Tells whether they may have lost what the view holds, and how many keys they had evicted when that was last known not
    /// to be so.
    fn meet(&mut self, now: Known, servers: &Servers) -> (bool, u64) {
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

    /// Whether anything has been read from any server.
    fn has_read(&self) -> bool {
        self.known.is_some() || !self.view.is_empty()
    }

    /// How long to wait, after everything was read, before the view counts as fresh: where the servers may have lost what other replicas
    /// know.
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

    /// The view is complete as of the last heartbeat, or as of when it was last known that this is the server to follow.
    fn claim(
        &mut self,
        proved: Option<Moment>,
        standing: &Standing,
        settled: Moment,
        servers: &Servers,
        session: &Session,
    ) {
        if let (Some(proved), Some(since)) = (proved, standing.since())
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
        self.trusted.set(now.identities.clone());
        self.view.set_fresh_as_of(as_of);
        self.progress.reached(as_of);
        // What this server lacks and would not take back is not deleted, after a reconnection either.
        self.another_met = done.is_owing() || done.moving.has_moved();
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
