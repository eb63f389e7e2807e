//! What happens to the servers, the replicas and the ways between them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use revoxy::revocation::Deletions;
use tokio::time::sleep;

use crate::hand;
use crate::history::{By, Says};
use crate::net::Direction;
use crate::redis::{Data, Machine, NODES, SENTINELS, SERVERS};
use crate::rng::Rng;
use crate::tokens::cast;

use super::plan::{Fault, Over, Plan};
use super::stage::{REPLICAS, Seen, Stage};
use super::{failover, lone, migration, takeover, writer};

/// For how long a fault that destroys data waits for the replicas to have seen everything.
const REST: Duration = Duration::from_millis(2_500);

/// Has something happen. What lasts ends by itself, in a task of its own; what must find everything at rest is waited for.
pub(super) async fn strike(stage: &Arc<Stage>, fault: Fault, rng: &mut Rng) {
    let replica = rng.below(REPLICAS as u64) as usize;
    let lasts = Duration::from_millis(*rng.pick(&[50, 200, 700, 1_500, 3_000]));
    stage.trace.event(&[4, fault as u64, replica as u64], || {
        format!("fault {fault:?} (replica {replica}, {lasts:?})")
    });
    if stage.is_recovering() && fault != Fault::Save {
        stage
            .trace
            .event(&[9], || "a loss is being made good: not done".to_owned());
        return;
    }
    match fault {
        Fault::Stall | Fault::Cut | Fault::Slow | Fault::Reset => {
            let end = stage.some_primary(rng).name.clone();
            on_the_way(stage, fault, (replica, &end), lasts, rng);
        }
        Fault::Mute => {
            let end = *rng.pick(&SENTINELS);
            on_the_way(stage, Fault::Stall, (replica, end), lasts, rng);
        }
        Fault::Failover | Fault::Hang | Fault::Crash | Fault::Isolate | Fault::TakeOver => {
            match &stage.cluster {
                Some(cluster) => takeover::strike(stage, cluster, fault, lasts, rng).await,
                None => failover::strike(stage, fault, lasts, rng).await,
            }
        }
        Fault::Move | Fault::GiveAway => {
            if let Some(cluster) = &stage.cluster {
                migration::strike(stage, cluster, fault, rng).await;
            }
        }
        Fault::LoseUnheard => lone::strike(stage, replica, lasts, rng).await,
        Fault::Lag => {
            stage.set_lag(lasts);
            later(stage, lasts, |stage| stage.set_lag(Duration::ZERO));
        }
        Fault::Pause => {
            let machine = stage.some_primary(rng);
            machine.pause(true);
            later(stage, lasts, move |_| machine.pause(false));
        }
        Fault::Restart => {
            // It loses nothing, which nobody but the server knows: another process may have.
            stage.lose();
            let machine = stage.some_primary(rng);
            if !machine.has_process() || !takeover::is_calm(stage) {
                return;
            }
            let data = machine.kill(rng.one_in(3));
            start(stage, machine, data, lasts, rng);
        }
        Fault::Save => match &stage.cluster {
            Some(_) => stage.servers.iter().for_each(Machine::save),
            None => stage.primary().save(),
        },
        Fault::Rewind | Fault::Lose | Fault::Evict | Fault::Flush | Fault::Delete => {
            destroy(stage, fault, lasts, rng).await;
        }
        Fault::Replace if rests(stage, Seen::All).await => stage.start_replica(replica),
        Fault::Replace => {}
        Fault::Clock => {
            let ahead = i64::try_from(rng.below(40_000)).unwrap_or_default() - 20_000;
            stage.replicas[replica].wall.set_ahead(ahead);
        }
    }
}

fn later(stage: &Arc<Stage>, after: Duration, then: impl FnOnce(&Stage) + Send + 'static) {
    let stage = Arc::clone(stage);
    tokio::spawn(async move {
        sleep(after).await;
        then(&stage);
    });
}

fn on_the_way(
    stage: &Arc<Stage>,
    fault: Fault,
    (replica, end): (usize, &str),
    lasts: Duration,
    rng: &mut Rng,
) {
    let path = stage.net.path(&stage.replicas[replica].name, end);
    let (low, high) = stage.plan.latency_of(replica);
    match fault {
        Fault::Stall => {
            let (up, down) = *rng.pick(&[(true, true), (true, false), (false, true)]);
            for (direction, stalls) in [(Direction::ToServer, up), (Direction::ToClient, down)] {
                if stalls {
                    path.set_passes(direction, false);
                }
            }
        }
        Fault::Cut => {
            path.set_refuses(true);
            path.reset();
        }
        Fault::Slow => path.set_latency(rng.between(5, 100), rng.between(100, 400)),
        _ => path.reset(),
    }
    stage.on_the_way.fetch_add(1, Ordering::Relaxed);
    stage.disturb(replica, lasts);
    later(stage, lasts, move |stage| {
        stage.on_the_way.fetch_sub(1, Ordering::Relaxed);
        path.set_passes(Direction::ToServer, true);
        path.set_passes(Direction::ToClient, true);
        path.set_refuses(false);
        path.set_latency(low, high);
    });
}

/// Starts the server again with this data after a while.
pub(super) fn start(
    stage: &Arc<Stage>,
    machine: Machine,
    data: Data,
    after: Duration,
    rng: &mut Rng,
) {
    let loading = Duration::from_millis(*rng.pick(&[0, 0, 50, 300]));
    if let Some(cluster) = &stage.cluster {
        takeover::miss(stage, cluster, &machine, after, rng);
    }
    later(stage, after, move |stage| {
        // Another fault may have started it meanwhile, and it may hold more by now.
        if !machine.has_process() {
            let name = &machine.name;
            stage.trace.event(&[5], || format!("{name} starts"));
            // Nobody could hear of anything before this.
            stage.lose();
            let plan = &stage.plan;
            machine.start(data, loading, |process| plan.apply(process));
            if let Some(cluster) = &stage.cluster {
                takeover::meet_again(cluster, &machine);
            }
        }
    });
}

/// Waits until every replica has seen what it is to have seen, for a while.
pub(super) async fn rests(stage: &Stage, seen: Seen) -> bool {
    let step = Duration::from_millis(20);
    for _ in 0..REST.as_millis() / step.as_millis() {
        if stage.have_seen(seen) {
            return true;
        }
        sleep(step).await;
    }
    stage.trace.event(&[6], || "no rest: not done".to_owned());
    false
}

/// What has to be seen, and by every replica, before data is destroyed: by the documents the rest is lost.
///
/// What a replica has acknowledged is in its view, from where it is written back within the time for which the others wait, if nothing
/// keeps the replica from its server. They wait only for a server that is another than before: of what is evicted or deleted before
/// they have seen it, they learn when it has been written back.
fn needed_before(stage: &Stage, fault: Fault) -> Seen {
    let is_another = matches!(fault, Fault::Rewind | Fault::Lose);
    match is_another && stage.on_the_way.load(Ordering::Relaxed) == 0 {
        true => Seen::ByHand,
        false => Seen::All,
    }
}

/// Destroys data.
async fn destroy(stage: &Arc<Stage>, fault: Fault, lasts: Duration, rng: &mut Rng) {
    let seen = needed_before(stage, fault);
    let machine = stage.some_primary(rng);
    if !rests(stage, seen).await || !machine.is_running() || !takeover::is_calm(stage) {
        return;
    }
    // Nothing lies on the ways by now that did not before, because faults come one after the other.
    let all_know = stage.have_seen(Seen::All);
    let silently = rng.one_in(3) && all_know;
    stage.trace.event(&[7], || format!("{fault:?} comes"));
    match fault {
        Fault::Rewind => {
            stage.lose_some(all_know);
            machine.kill(silently);
            let snapshot = machine.snapshot();
            start(stage, machine, snapshot, lasts, rng);
        }
        Fault::Lose => {
            stage.lose_some(all_know);
            machine.kill(silently);
            start(stage, machine, Data::default(), lasts, rng);
        }
        Fault::Evict => {
            stage.lose();
            let count = rng.between(1, 4);
            machine.with(|process, _| process.run_out_of_memory(count));
        }
        Fault::Flush => flush(stage).await,
        _ => {
            // It comes back under another name, which a `SET` does not take the place of.
            stage.lose();
            let key = cast().keys[*rng.pick(&stage.plan.keys)].rendered();
            let command = ["DEL", key].map(str::to_owned);
            writer::give(stage, &command).await;
        }
    }
}

/// Deletes all keys: a statement about each of them where deletions count, and otherwise a loss.
async fn flush(stage: &Arc<Stage>) {
    let command = ["FLUSHDB".to_owned()];
    let is_statement = stage.plan.deletions == Deletions::Honour;
    let mut statements = Vec::new();
    match is_statement {
        true => {
            let keys = 0..cast().keys.len();
            let taken_back = |key| stage.invoke(key, By::Hand, Says::TakenBack);
            statements.extend(keys.map(taken_back));
        }
        false => stage.lose(),
    }
    let mut counts = true;
    for server in primaries(stage) {
        let reply = hand::give(&stage.net, "hand", &server, &command).await;
        counts &= reply.is_some() && primaries(stage).contains(&server);
    }
    for statement in statements {
        stage.answer(statement, counts, || "flushed".to_owned());
    }
}

/// The names of the servers that count.
fn primaries(stage: &Stage) -> Vec<String> {
    match &stage.cluster {
        Some(cluster) => (0..cluster.shards())
            .map(|shard| cluster.machine(cluster.primary(shard)).name.clone())
            .collect(),
        None => vec![stage.primary().name.clone()],
    }
}

/// Where replicas of Revoxy connect to.
pub(super) fn ends(plan: &Plan) -> Vec<&'static str> {
    match plan.over {
        Over::Redis | Over::Sentinel => SERVERS.into_iter().chain(SENTINELS).collect(),
        Over::Cluster => NODES[..2 * plan.cluster.shards].to_vec(),
    }
}

/// Ends all faults.
pub(super) fn heal(stage: &Stage) {
    stage.trace.event(&[8], || "all faults end".to_owned());
    for end in ends(&stage.plan) {
        for path in stage.net.paths_to(end) {
            path.set_passes(Direction::ToServer, true);
            path.set_passes(Direction::ToClient, true);
            path.set_refuses(false);
            path.set_latency(stage.plan.latency.0, stage.plan.latency.1);
        }
        for (at, replica) in stage.replicas.iter().enumerate() {
            let (low, high) = stage.plan.latency_of(at);
            stage.net.path(&replica.name, end).set_latency(low, high);
        }
    }
    stage
        .servers
        .iter()
        .for_each(|machine| machine.pause(false));
    // One that is down is started by the task that waits for its time.
}
