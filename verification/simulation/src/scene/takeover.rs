//! A node of a cluster takes another's place, and the others hear of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::sleep;

use crate::redis::{Cluster, Data, Machine};
use crate::rng::Rng;

use super::faults::rests;
use super::plan::Fault;
use super::stage::{Seen, Stage};

/// A primary that is away for longer is held for dead.
const HELD_FOR_DEAD_AFTER: Duration = Duration::from_millis(700);
/// Within how many milliseconds a node that is back and the others have heard of each other.
const MET_WITHIN: u64 = 300;

/// Whether no node is taking another's place.
pub(super) fn is_calm(stage: &Stage) -> bool {
    stage
        .cluster
        .as_ref()
        .is_none_or(|cluster| cluster.is_calm())
}

/// A machine is down for so long: perhaps the others hold it for dead meanwhile.
pub(super) fn miss(
    stage: &Arc<Stage>,
    cluster: &Arc<Cluster>,
    machine: &Machine,
    lasts: Duration,
    rng: &mut Rng,
) {
    if lasts < HELD_FOR_DEAD_AFTER || rng.one_in(2) {
        return;
    }
    let (cluster, node) = (Arc::clone(cluster), number(cluster, machine));
    let (stage, machine) = (Arc::clone(stage), machine.clone());
    tokio::spawn(async move {
        sleep(HELD_FOR_DEAD_AFTER / 2).await;
        if !machine.has_process() {
            stage
                .trace
                .event(&[13], || format!("{} is held for dead", machine.name));
            cluster.fail(node);
        }
    });
}

/// A machine is back: it and the others hear of each other.
pub(super) fn meet_again(cluster: &Arc<Cluster>, machine: &Machine) {
    cluster.meet_again(number(cluster, machine), MET_WITHIN);
}

/// The number of the node on a machine.
fn number(cluster: &Cluster, machine: &Machine) -> usize {
    let nodes = 0..2 * cluster.shards();
    nodes
        .into_iter()
        .find(|node| cluster.machine(*node).name == machine.name)
        .unwrap_or_default()
}

/// Has a replica take its primary's place.
///
/// What was stated by hand and no replica of Revoxy has seen is lost, by the documents, and so is what only a replica knows that cannot
/// reach the new primary: so the former is waited for, and nothing may lie on a way.
pub(super) async fn strike(
    stage: &Arc<Stage>,
    cluster: &Arc<Cluster>,
    fault: Fault,
    lasts: Duration,
    rng: &mut Rng,
) {
    let shard = rng.below(cluster.shards() as u64) as usize;
    let is_quiet = || stage.on_the_way.load(Ordering::Relaxed) == 0;
    // By themselves nodes need the votes of most primaries.
    let can_vote = cluster.shards() > 2 || matches!(fault, Fault::Failover | Fault::TakeOver);
    if !can_vote
        || !rests(stage, Seen::ByHand).await
        || !is_quiet()
        || !stage.servers.iter().all(Machine::is_running)
        || !cluster.is_calm()
        || cluster.has_moving(shard)
        || !cluster.has_replica(shard)
        || !cluster.begin(shard)
    {
        return;
    }
    stage.trace.event(&[10, shard as u64], || {
        format!("{fault:?} comes to shard {shard}")
    });
    stage.begin_recovery();
    let takeover = TakeOver {
        stage: Arc::clone(stage),
        cluster: Arc::clone(cluster),
        shard,
        old: cluster.primary(shard),
        lasts,
        rng: rng.fork(),
    };
    match fault {
        Fault::Failover => takeover.by_agreement(),
        Fault::TakeOver => takeover.without_asking(),
        Fault::Hang => {
            takeover.machine().pause(true);
            takeover.after_death(None);
        }
        Fault::Crash => {
            let data = takeover.machine().kill(rng.one_in(3));
            takeover.after_death(Some(data));
        }
        _ => takeover.behind_a_partition(),
    }
}

struct TakeOver {
    stage: Arc<Stage>,
    cluster: Arc<Cluster>,
    shard: usize,
    /// The node that was the primary.
    old: usize,
    lasts: Duration,
    rng: Rng,
}

impl TakeOver {
    fn machine(&self) -> &Machine {
        self.cluster.machine(self.old)
    }

    fn promote(&self, in_step: bool) {
        self.stage.lose();
        self.cluster.promote(self.shard, in_step);
        self.stage.trace.event(&[11], || {
            format!("{}'s replica takes over", self.machine().name)
        });
    }

    fn end(self) {
        let old = &self.machine().name;
        self.stage.trace.event(&[12], || format!("{old} is back"));
        self.cluster.end(self.shard);
    }

    /// `CLUSTER FAILOVER`: the old primary holds up writes until it is a replica.
    fn by_agreement(self) {
        self.cluster.hold_up_writes(self.old);
        self.promote(true);
        self.end();
    }

    /// `CLUSTER FAILOVER TAKEOVER`: the old primary takes writes until it hears of it.
    fn without_asking(self) {
        self.promote(false);
        self.end();
    }

    /// The old primary was stopped, or killed with this data. It is back after a while, and hears of its successor a little later.
    fn after_death(mut self, data: Option<Data>) {
        let notice = Duration::from_millis(self.rng.between(300, 1_500));
        let election = Duration::from_millis(self.rng.between(0, 500));
        tokio::spawn(async move {
            sleep(notice).await;
            self.cluster.fail(self.old);
            sleep(election).await;
            self.promote(false);
            sleep(self.lasts).await;
            match data {
                Some(data) => {
                    let plan = &self.stage.plan;
                    self.machine()
                        .start(data, Duration::ZERO, |process| plan.apply(process));
                }
                None => self.machine().pause(false),
            }
            self.cluster.meet_again(self.old, MET_WITHIN);
            self.end();
        });
    }

    /// The old primary reaches no other node. It goes on until it notices, about when the others hold it for dead.
    fn behind_a_partition(mut self) {
        let notice = self.rng.between(300, 1_500);
        let (earlier, later) = (self.rng.below(200), self.rng.below(500));
        let election = Duration::from_millis(self.rng.between(0, 500));
        self.cluster.isolate(self.old, true);
        let (cluster, old) = (Arc::clone(&self.cluster), self.old);
        tokio::spawn(async move {
            sleep(Duration::from_millis(notice - earlier + later)).await;
            cluster.with(old, |node, _| node.cut_off = true);
        });
        tokio::spawn(async move {
            sleep(Duration::from_millis(notice)).await;
            self.cluster.fail(self.old);
            sleep(election).await;
            self.promote(false);
            sleep(self.lasts + Duration::from_millis(500)).await;
            self.cluster.isolate(self.old, false);
            self.cluster.meet_again(self.old, MET_WITHIN);
            sleep(Duration::from_millis(500)).await;
            self.cluster.with(self.old, |node, _| node.cut_off = false);
            self.end();
        });
    }
}
