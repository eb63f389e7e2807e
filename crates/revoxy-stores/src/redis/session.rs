//! One session of the feed: one connection, or one connection to each primary of a cluster, from the first read
//! until something fails.
//!
//! Every wait has a bound. If a bound is exceeded, or anything fails, the session ends; the next session reads
//! again the keys whose pushes this session had received but not yet acted upon.

use std::time::Duration;

use redis::RedisResult;
use tokio::time::timeout;

use crate::clock::Moment;

use super::cluster::Beat;
use super::feed_end::FeedEnd;
use super::link::Link;
use super::liveness::{self, Pulse};
use super::pushes::Pushes;
use super::reconcile::Reconciliation;

/// A session.
pub(super) struct Session {
    pub reconciliation: Reconciliation,
    pub link: Link,
    pub pushes: Pushes,
    pub patience: Duration,
    /// In a cluster: when the last heartbeat was sent, if it was proven.
    pub proven: Option<Moment>,
}

/// The result of one step of reading all keys.
enum ScanStep {
    More,
    Through,
    /// The database was flushed, or more keys changed than were kept: everything must be read again from the start.
    Again,
}

impl Session {
    /// Returns whether the server accepts write-backs, as far as it reports that: in a cluster, whether all
    /// primaries agree that the cluster is up.
    pub(super) async fn accepts_writes(&mut self) -> Result<bool, FeedEnd> {
        Ok(!self.link.is_cluster() || self.beat().await?.proven)
    }

    /// Reads every key, and judges the view's entries that are missing on the server.
    pub(super) async fn read_all(&mut self) -> Result<(), FeedEnd> {
        if self.link.is_cluster() {
            // Learn the slot owners from the owners themselves, before anything is read from them.
            self.beat().await?;
        }
        self.reconciliation.begin();
        self.read_to_the_end().await?;
        self.act_on_pushes().await
    }

    async fn read_to_the_end(&mut self) -> Result<(), FeedEnd> {
        loop {
            match self.scan_step().await? {
                ScanStep::Through => return Ok(()),
                ScanStep::More if self.apply_pending().await? => {}
                ScanStep::More | ScanStep::Again => self.reconciliation.begin(),
            }
        }
    }

    /// Runs one step of the slow comparison. Returns whether the comparison is finished.
    pub(super) async fn compare_step(&mut self) -> Result<bool, FeedEnd> {
        if !self.reconciliation.is_under_way() {
            self.reconciliation.begin_comparison();
        }
        match self.scan_step().await? {
            ScanStep::More => Ok(false),
            ScanStep::Through => Ok(true),
            ScanStep::Again => self.read_all().await.map(|()| true),
        }
    }

    async fn scan_step(&mut self) -> Result<ScanStep, FeedEnd> {
        let (alive, patience) = (self.alive(), self.patience * 10);
        let step = self.reconciliation.step(&mut self.link, &self.pushes);
        if !alive.during(answered(patience, step)).await? {
            return Ok(ScanStep::More);
        }
        if self.reconciliation.must_reread {
            return Ok(ScanStep::Again);
        }
        if self.link.is_cluster() {
            // A key that moved from a node not yet scanned to one already scanned is missed by the scan; only
            // the pushes report it.
            self.beat().await?;
            if !self.apply_pending().await? {
                return Ok(ScanStep::Again);
            }
        }
        let alive = self.alive();
        let finish = self.reconciliation.finish(&mut self.link, &self.pushes);
        alive.during(answered(patience, finish)).await?;
        Ok(ScanStep::Through)
    }

    /// Acts on everything that has been pushed.
    pub(super) async fn act_on_pushes(&mut self) -> Result<(), FeedEnd> {
        while !self.apply_pending().await? {
            self.reconciliation.begin();
            self.read_to_the_end().await?;
        }
        match self.reconciliation.unfit() {
            Some(end) => Err(end),
            None => Ok(()),
        }
    }

    /// Acts on what has been pushed. Returns `false` if everything must be read again.
    async fn apply_pending(&mut self) -> Result<bool, FeedEnd> {
        let pending = self.pushes.take();
        if pending.closed {
            return Err(FeedEnd::Broken("connection closed".to_owned()));
        }
        let (alive, patience) = (self.alive(), self.patience * 10);
        let act = self.reconciliation.apply(&mut self.link, pending);
        alive.during(answered(patience, act)).await
    }

    fn alive(&self) -> Alive {
        Alive {
            pulses: self.link.pulses(),
            patience: self.patience,
        }
    }

    /// Queries the server's identity, because a direct read has met an untrusted server.
    pub(super) async fn query_identity(&mut self) -> Result<(), FeedEnd> {
        let asked = answered(self.patience, self.link.servers());
        self.reconciliation.note_identity(&asked.await?);
        Ok(())
    }

    async fn beat(&mut self) -> Result<Beat, FeedEnd> {
        let beat = match timeout(self.patience, self.link.heartbeat()).await {
            Ok(beat) => beat?,
            Err(_) => return Err(FeedEnd::Broken("no answer to a heartbeat".to_owned())),
        };
        // Always called, because it resets the flag: a redirect from before this heartbeat must not explain a
        // key that disappears later.
        let met = self.link.met_moved();
        if beat.moved || met || !beat.proven {
            self.reconciliation.slot_moves.moved();
        }
        if beat.moved {
            self.pushes
                .again(self.reconciliation.slot_moves.recently_pushed());
        }
        Ok(beat)
    }

    /// Requests a proof that the view contains everything that was acknowledged before some moment, and returns
    /// that moment.
    ///
    /// For one server, it is when this heartbeat was sent. For a cluster, it is when the previous heartbeat was
    /// sent: see `cluster/mod.rs`.
    pub(super) async fn heartbeat(&mut self) -> Result<Option<Moment>, FeedEnd> {
        let asked = Moment::now();
        let beat = self.beat().await?;
        self.pushes
            .again(self.reconciliation.slot_moves.take_unknown());
        self.act_on_pushes().await?;
        self.reconciliation.slot_moves.heartbeat();
        if !self.link.is_cluster() {
            return Ok(Some(asked));
        }
        if !beat.proven {
            self.proven = None;
            return Ok(None);
        }
        let all = self.reconciliation.slot_moves.has_no_unknown();
        Ok(std::mem::replace(&mut self.proven, all.then_some(asked)))
    }
}

/// Watches the connections for signs of life.
struct Alive {
    pulses: Vec<Pulse>,
    patience: Duration,
}

impl Alive {
    /// Runs a call that may take long, and abandons it when one of the connections shows no sign of life.
    async fn during<T>(self, call: impl Future<Output = Result<T, FeedEnd>>) -> Result<T, FeedEnd> {
        tokio::select! {
            biased;
            done = call => done,
            () = liveness::any_is_silent(self.pulses, self.patience) => {
                Err(FeedEnd::Broken("no sign of life".to_owned()))
            }
        }
    }
}

async fn answered<T>(
    patience: Duration,
    call: impl Future<Output = RedisResult<T>>,
) -> Result<T, FeedEnd> {
    match timeout(patience, call).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(FeedEnd::Broken("no answer in time".to_owned())),
    }
}
