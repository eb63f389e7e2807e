//! One connection of the feed, or one to each primary of a cluster, from the first reading to its end.
//!
//! Every wait has a bound. Where one is exceeded, or anything fails, the session is over: what it had taken in and not
//! acted upon is read again with the next.

use std::time::Duration;

use redis::RedisResult;
use tokio::time::timeout;

use crate::clock::Moment;

use super::cluster::Beat;
use super::feed::FeedEnd;
use super::link::Link;
use super::pulse::{self, Pulse};
use super::pushes::Pushes;
use super::reconcile::Reconciliation;

/// One connection's life.
pub(super) struct Session {
    pub reconciliation: Reconciliation,
    pub link: Link,
    pub pushes: Pushes,
    pub patience: Duration,
    /// Of a cluster: when the last heartbeat was sent that proved something.
    pub proven: Option<Moment>,
}

/// How a step of reading everything ended.
enum Step {
    More,
    Through,
    /// Flushed, or more has changed than was kept: everything must be read again, from the start.
    Again,
}

impl Session {
    /// Whether the server takes back what it lacks, as far as it tells: of a cluster, whether all primaries agree that it works.
    pub(super) async fn accepts_writes(&mut self) -> Result<bool, FeedEnd> {
        Ok(!self.link.is_cluster() || self.beat().await?.proven)
    }

    /// Reads every key, and judges what the view has beyond them.
    pub(super) async fn read_all(&mut self) -> Result<(), FeedEnd> {
        if self.link.is_cluster() {
            // Who owns what is the owners' own word, before anything is read of them.
            self.beat().await?;
        }
        self.reconciliation.begin();
        self.read_to_the_end().await?;
        self.act_on_pushes().await
    }

    async fn read_to_the_end(&mut self) -> Result<(), FeedEnd> {
        loop {
            match self.scan_step().await? {
                Step::Through => return Ok(()),
                Step::More if self.apply_pending().await? => {}
                Step::More | Step::Again => self.reconciliation.begin(),
            }
        }
    }

    /// One step of the slow comparison. Tells whether it is through.
    pub(super) async fn compare_step(&mut self) -> Result<bool, FeedEnd> {
        if !self.reconciliation.is_under_way() {
            self.reconciliation.begin_comparison();
        }
        match self.scan_step().await? {
            Step::More => Ok(false),
            Step::Through => Ok(true),
            Step::Again => self.read_all().await.map(|()| true),
        }
    }

    async fn scan_step(&mut self) -> Result<Step, FeedEnd> {
        let (alive, patience) = (self.alive(), self.patience * 10);
        let step = self.reconciliation.step(&mut self.link, &self.pushes);
        if !alive.during(answered(patience, step)).await? {
            return Ok(Step::More);
        }
        if self.reconciliation.must_reread {
            return Ok(Step::Again);
        }
        if self.link.is_cluster() {
            // What moved to a server that had been read, from one that had not been, is seen by the pushes only.
            self.beat().await?;
            if !self.apply_pending().await? {
                return Ok(Step::Again);
            }
        }
        let alive = self.alive();
        let finish = self.reconciliation.finish(&mut self.link, &self.pushes);
        alive.during(answered(patience, finish)).await?;
        Ok(Step::Through)
    }

    /// Acts on everything that has been pushed.
    pub(super) async fn act_on_pushes(&mut self) -> Result<(), FeedEnd> {
        while !self.apply_pending().await? {
            self.reconciliation.begin();
            self.read_to_the_end().await?;
        }
        if self.reconciliation.has_another_history() {
            return Err(FeedEnd::NotPrimary);
        }
        Ok(())
    }

    /// Acts on what has been pushed. `false` means that everything must be read again.
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

    /// Asks who the server is: a direct read has met another than is trusted.
    pub(super) async fn look_who_it_is(&mut self) -> Result<(), FeedEnd> {
        let asked = answered(self.patience, self.link.servers());
        self.reconciliation.meet(&asked.await?);
        Ok(())
    }

    async fn beat(&mut self) -> Result<Beat, FeedEnd> {
        let beat = match timeout(self.patience, self.link.heartbeat()).await {
            Ok(beat) => beat?,
            Err(_) => return Err(FeedEnd::Broken("no answer to a heartbeat".to_owned())),
        };
        // Asked in any case: what was met before this must not explain what is gone later.
        let met = self.link.met_moved();
        if beat.moved || met || !beat.proven {
            self.reconciliation.moving.moved();
        }
        if beat.moved {
            self.pushes
                .again(self.reconciliation.moving.pushed_of_late());
        }
        Ok(beat)
    }

    /// Asks for a proof that everything that was acknowledged before some moment is in the view, and tells the moment.
    ///
    /// Of one server it is when it was asked. Of a cluster, when the time before was asked: see `cluster/mod.rs`.
    pub(super) async fn heartbeat(&mut self) -> Result<Option<Moment>, FeedEnd> {
        let asked = Moment::now();
        let beat = self.beat().await?;
        self.pushes.again(self.reconciliation.moving.take_unknown());
        self.act_on_pushes().await?;
        self.reconciliation.moving.heartbeat();
        if !self.link.is_cluster() {
            return Ok(Some(asked));
        }
        if !beat.proven {
            self.proven = None;
            return Ok(None);
        }
        let all = self.reconciliation.moving.knows_all();
        Ok(std::mem::replace(&mut self.proven, all.then_some(asked)))
    }
}

/// The connections as long as they give signs of life.
struct Alive {
    pulses: Vec<Pulse>,
    patience: Duration,
}

impl Alive {
    /// Does what may take long, and gives it up when one of them gives none.
    async fn during<T>(self, call: impl Future<Output = Result<T, FeedEnd>>) -> Result<T, FeedEnd> {
        tokio::select! {
            biased;
            done = call => done,
            () = pulse::one_stops(self.pulses, self.patience) => {
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
