//! Slots of a cluster go from one primary to another, with their keys or without.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::redis::{Cluster, Data, Machine, slot_of};
use crate::rng::Rng;
use crate::tokens::cast;

use super::faults::rests;
use super::plan::Fault;
use super::stage::{Seen, Stage};

/// Between two tries of a step while a node is away.
const TRIED_AGAIN: Duration = Duration::from_millis(10);

/// Has a slot go to another primary.
pub(super) async fn strike(
    stage: &Arc<Stage>,
    cluster: &Arc<Cluster>,
    fault: Fault,
    rng: &mut Rng,
) {
    let slot = some_slot(stage, rng);
    let from = cluster.shard_of(slot);
    let to = (from + rng.between(1, cluster.shards() as u64 - 1) as usize) % cluster.shards();
    let (stage, cluster) = (Arc::clone(stage), Arc::clone(cluster));
    let (begins, goes) = (stage.trace.clone(), cluster.clone());
    let may_go = move || goes.is_calm() && !goes.is_moving(slot);
    let migration = Migration {
        stage,
        cluster,
        slot,
        from,
        to,
        rng: rng.fork(),
    };
    match fault {
        Fault::Move if may_go() => {
            begins.event(&[14, u64::from(slot)], || {
                format!("slot {slot} goes from shard {from} to shard {to}")
            });
            // What is deleted by hand from now on counts as lost, by the documents, until everything has been compared.
            migration.stage.lose();
            migration.cluster.set_moving(slot, to);
            tokio::spawn(migration.go());
        }
        Fault::GiveAway
            if rests(&migration.stage, Seen::All).await
                && may_go()
                && migration.stage.servers.iter().all(Machine::is_running) =>
        {
            migration.give_away();
        }
        _ => {}
    }
}

/// The slot of a key that is stated, or of one that stands.
fn some_slot(stage: &Stage, rng: &mut Rng) -> u16 {
    let mut slots: Vec<u16> = stage
        .plan
        .keys
        .iter()
        .map(|key| slot_of(cast().keys[*key].rendered().as_bytes()))
        .collect();
    for machine in &stage.servers {
        let keys =
            |data: &Data| -> Vec<u16> { data.0[0].iter().map(|(key, _)| slot_of(key)).collect() };
        slots.extend(
            machine
                .with(|process, _| keys(&process.data))
                .into_iter()
                .flatten(),
        );
    }
    slots.sort_unstable();
    slots.dedup();
    *rng.pick(&slots)
}

struct Migration {
    stage: Arc<Stage>,
    cluster: Arc<Cluster>,
    slot: u16,
    from: usize,
    to: usize,
    rng: Rng,
}

impl Migration {
    /// Waits a moment, and then until both primaries go on. Tells which nodes they are.
    async fn pause(&mut self) -> (usize, usize) {
        let most = *self.rng.pick(&[0, 5, 50, 500]);
        sleep(Duration::from_millis(self.rng.between(0, most))).await;
        loop {
            let (from, to) = (
                self.cluster.primary(self.from),
                self.cluster.primary(self.to),
            );
            if [from, to]
                .iter()
                .all(|node| self.cluster.machine(*node).is_running())
            {
                return (from, to);
            }
            sleep(TRIED_AGAIN).await;
        }
    }

    /// As `redis-cli --cluster reshard` does it.
    async fn go(mut self) {
        let slot = self.slot;
        let (from, to) = self.pause().await;
        self.cluster
            .with(to, |node, _| node.importing.insert(slot, from));
        let (from, to) = self.pause().await;
        self.cluster
            .with(from, |node, _| node.migrating.insert(slot, to));
        loop {
            let (from, to) = self.pause().await;
            let key = self
                .cluster
                .with(from, |_, process| process.keys_in(&[slot]).pop());
            match key.flatten() {
                Some(key) => self.carry(&key, from, to),
                None => break,
            }
        }
        let (_, to) = self.pause().await;
        let epoch = self.cluster.next_epoch();
        self.stage.lose();
        self.cluster.give(slot, self.to);
        self.cluster.with(to, |node, _| {
            node.give(slot, to);
            node.peers[to].epoch = epoch;
        });
        self.stage
            .trace
            .event(&[15], || format!("slot {slot} is at shard {}", self.to));
        self.announce(to);
        let (from, to) = self.pause().await;
        self.cluster.with(from, |node, process| {
            if process.keys_in(&[slot]).is_empty() {
                node.give(slot, to);
            }
        });
    }

    /// `MIGRATE`: the key is there before it is gone here, and nobody comes in between.
    fn carry(&self, key: &[u8], from: usize, to: usize) {
        let entry = self
            .cluster
            .with(from, |_, process| process.data.0[0].get(key).cloned());
        if let Some(entry) = entry.flatten() {
            self.cluster
                .with(to, |_, process| process.put(0, key, entry));
            self.cluster.with(from, |_, process| process.delete(0, key));
            self.stage
                .trace
                .say(|| format!("{} is carried over", String::from_utf8_lossy(key)));
        }
    }

    /// `CLUSTER SETSLOT … NODE` at the new owner alone: the old one deletes what it has when it hears of it.
    fn give_away(self) {
        let (slot, to) = (self.slot, self.cluster.primary(self.to));
        let all_know = self.stage.have_seen(Seen::All);
        self.stage.lose_some(all_know);
        let epoch = self.cluster.next_epoch();
        self.cluster.give(slot, self.to);
        self.cluster.with(to, |node, _| {
            node.give(slot, to);
            node.peers[to].epoch = epoch;
        });
        self.stage.trace.event(&[16, u64::from(slot)], || {
            format!("slot {slot} is given to shard {} without its keys", self.to)
        });
        self.announce(to);
    }

    fn announce(&self, node: usize) {
        let most = self.stage.plan.cluster.gossip;
        self.cluster.announce_within(node, Some(most));
    }
}
