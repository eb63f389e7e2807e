//! What Sentinels do to servers: the replica takes the primary's place, which hears of it later.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::sleep;

use crate::redis::{Data, Ensemble, Machine, SENTINELS};
use crate::rng::Rng;

use super::faults::rests;
use super::plan::Fault;
use super::stage::{Seen, Stage};

/// Within how many milliseconds the other Sentinels hear of a failover.
const HEARD_WITHIN: u64 = 400;

/// Has a failover come, unless one is under way.
///
/// What was stated by hand and no replica of Revoxy has seen is lost, by the documents, and so is what only a replica knows that cannot
/// reach the new primary: so the former is waited for, and nothing may lie on a way.
pub(super) async fn strike(stage: &Arc<Stage>, fault: Fault, lasts: Duration, rng: &mut Rng) {
    let Some(ensemble) = &stage.ensemble else {
        return;
    };
    let is_quiet = || stage.on_the_way.load(Ordering::Relaxed) == 0;
    if !rests(stage, Seen::ByHand).await
        || !is_quiet()
        || !stage.servers.iter().all(Machine::is_running)
    {
        return;
    }
    if !ensemble.begin_failover() {
        return;
    }
    stage.trace.event(&[10], || format!("{fault:?} comes"));
    let old = stage.primary().clone();
    let data = match fault {
        Fault::Hang => {
            old.pause(true);
            None
        }
        Fault::Crash => Some(old.kill(rng.one_in(3))),
        _ => None,
    };
    // Until the Sentinels have noticed: not a word comes from the old primary meanwhile, so nothing more is acknowledged.
    let notice = match fault {
        Fault::Failover => Duration::ZERO,
        _ => Duration::from_millis(rng.between(300, 1_500)),
    };
    stage.begin_recovery();
    let (stage, ensemble, rng) = (Arc::clone(stage), Arc::clone(ensemble), rng.fork());
    let failover = Failover {
        stage,
        ensemble,
        old,
        data,
        lasts,
        rng,
    };
    match notice.is_zero() {
        true => failover.promote(),
        false => drop(tokio::spawn(async move {
            sleep(notice).await;
            failover.promote();
        })),
    }
}

struct Failover {
    stage: Arc<Stage>,
    ensemble: Arc<Ensemble>,
    old: Machine,
    /// What the old primary held when it was killed.
    data: Option<Data>,
    lasts: Duration,
    rng: Rng,
}

impl Failover {
    fn promote(mut self) {
        let leader = self.rng.below(SENTINELS.len() as u64) as usize;
        self.stage.lose();
        let old = self.ensemble.promote(leader);
        self.stage
            .trace
            .event(&[11], || "the replica is promoted".to_owned());
        for sentinel in 0..SENTINELS.len() {
            let ensemble = Arc::clone(&self.ensemble);
            let after = Duration::from_millis(self.rng.below(HEARD_WITHIN));
            tokio::spawn(async move {
                sleep(after).await;
                ensemble.tell(sentinel);
            });
        }
        tokio::spawn(self.demote(old));
    }

    /// The old primary is back after a while, and hears of its successor a little later.
    async fn demote(mut self, old: usize) {
        sleep(self.lasts).await;
        match self.data.take() {
            Some(data) => {
                let plan = &self.stage.plan;
                self.old
                    .start(data, Duration::ZERO, |process| plan.apply(process));
            }
            None => self.old.pause(false),
        }
        sleep(Duration::from_millis(self.rng.below(300))).await;
        self.ensemble.demote(old);
        self.stage
            .trace
            .event(&[12], || "the old primary is a replica".to_owned());
    }
}
