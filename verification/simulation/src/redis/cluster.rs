//! The nodes of a cluster: two or three primaries, each with a replica, and the bus between them.
//!
//! The nodes do not elect: what a schedule decides on happens, in the order in which real ones do it. What a node knows of the others it
//! hears from them, later than it happened, and acts upon: so they disagree for a while about who owns what.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::rng::Rng;

use super::machine::Machine;
use super::node::{Node, Peer, Word};
use super::process::{Process, Role};
use super::replication::{SENT_EVERY, Stream};
use super::slots::{SLOTS, slot_of};

/// What the nodes are called on the network.
pub const NODES: [&str; 6] = ["node0", "node1", "node2", "node3", "node4", "node5"];
/// How often a word is tried to be told to a node that is stopped.
const TOLD_AGAIN: Duration = Duration::from_millis(5);
/// For how long a primary holds up writes for a failover by agreement that does not come about: Redis' `CLUSTER_MF_TIMEOUT`.
const AGREED_WITHIN: Duration = Duration::from_secs(5);

/// The nodes.
pub struct Cluster {
    machines: Vec<Machine>,
    /// How many primaries own slots: as many replicas come behind them.
    shards: usize,
    /// From and to how many milliseconds a word takes on the bus.
    bus: (u64, u64),
    /// By how many milliseconds replicas lag behind.
    lag: AtomicU64,
    state: Mutex<State>,
}

struct State {
    rng: Rng,
    /// By shard: which node is the primary that counts.
    primaries: Vec<usize>,
    /// By slot: the shard, where it is not the one that it began with.
    given: BTreeMap<u16, usize>,
    /// Slots on the way, and to which shard.
    moving: BTreeMap<u16, usize>,
    /// By node: no word reaches it on the bus, or comes from it.
    isolated: Vec<bool>,
    /// By shard: something is happening to it.
    busy: Vec<bool>,
    epoch: u64,
    words: u64,
    streams: Vec<Stream>,
}

impl Cluster {
    /// Makes running servers a cluster: as many primaries as replicas. A word takes `bus` milliseconds.
    pub fn start(machines: Vec<Machine>, bus: (u64, u64), mut rng: Rng) -> Arc<Self> {
        let shards = machines.len() / 2;
        let peers: Vec<Peer> = machines
            .iter()
            .enumerate()
            .map(|(at, machine)| Peer {
                id: format!("{:016x}{:016x}{at:08x}", rng.draw(), rng.draw()),
                machine: machine.name.clone(),
                replicates: (at >= shards).then(|| at - shards),
                epoch: (at % shards) as u64 + 1,
                failed: false,
            })
            .collect();
        for (at, machine) in machines.iter().enumerate() {
            let node = Node::new(at, peers.clone(), &|slot| original(slot, shards));
            machine.with(|process, _| {
                if let Some(of) = peers[at].replicates {
                    process.role = Role::ReplicaOf(peers[of].machine.clone());
                }
                process.cluster = Some(node);
            });
        }
        let cluster = Arc::new(Self {
            shards,
            bus,
            lag: AtomicU64::new(0),
            state: Mutex::new(State {
                rng,
                primaries: (0..shards).collect(),
                given: BTreeMap::new(),
                moving: BTreeMap::new(),
                isolated: vec![false; machines.len()],
                busy: vec![false; shards],
                epoch: shards as u64,
                words: 0,
                streams: (0..shards).map(|_| Stream::default()).collect(),
            }),
            machines,
        });
        tokio::spawn(replicate(Arc::clone(&cluster)));
        cluster
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many primaries own slots.
    pub fn shards(&self) -> usize {
        self.shards
    }

    /// A node's machine.
    pub fn machine(&self, node: usize) -> &Machine {
        &self.machines[node]
    }

    /// The number of a shard's primary: of the one that counts.
    pub fn primary(&self, shard: usize) -> usize {
        self.lock().primaries[shard]
    }

    /// The number of a shard's other node.
    pub fn replica(&self, shard: usize) -> usize {
        self.shards + 2 * shard - self.primary(shard)
    }

    /// Whether a shard's other node is the primary's replica, so that it can take its place: it may not have heard yet, or have kept a slot.
    pub fn has_replica(&self, shard: usize) -> bool {
        let primary = &self.machines[self.primary(shard)].name;
        let replica = self.machine(self.replica(shard));
        let follows = replica.with(|process, _| process.role == Role::ReplicaOf(primary.clone()));
        follows == Some(true)
    }

    /// Which shard a slot belongs to.
    pub fn shard_of(&self, slot: u16) -> usize {
        let given = self.lock().given.get(&slot).copied();
        given.unwrap_or_else(|| original(slot, self.shards))
    }

    /// The machine to be asked about a key.
    pub fn owner(&self, key: &[u8]) -> &Machine {
        &self.machines[self.primary(self.shard_of(slot_of(key)))]
    }

    /// Whether a write of a key that a machine has acknowledged is one of a server that counts.
    pub fn counts(&self, machine: &str, key: &[u8]) -> bool {
        let slot = slot_of(key);
        let owner = self.shard_of(slot);
        let state = self.lock();
        let shards = [Some(owner), state.moving.get(&slot).copied()];
        let mut nodes = shards
            .into_iter()
            .flatten()
            .map(|shard| state.primaries[shard]);
        nodes.any(|node| self.machines[node].name == machine && !state.isolated[node])
    }

    /// What every node that goes on says of the cluster.
    pub fn describe(&self) -> String {
        let told = self.machines.iter().map(|machine| {
            let told = machine.with(|process, now| {
                let node = process.cluster.as_ref()?;
                Some(format!("{}{}", node.info(now), node.nodes("")))
            });
            let running = machine.is_running();
            let name = &machine.name;
            format!(
                "{name} (running: {running}):\n{}",
                told.flatten().unwrap_or_default()
            )
        });
        told.collect()
    }

    /// Begins something that happens to a shard, unless something does already.
    pub fn begin(&self, shard: usize) -> bool {
        !std::mem::replace(&mut self.lock().busy[shard], true)
    }

    /// What happened to a shard is over.
    pub fn end(&self, shard: usize) {
        self.lock().busy[shard] = false;
    }

    /// Whether nothing is happening to any shard.
    pub fn is_calm(&self) -> bool {
        !self.lock().busy.contains(&true)
    }

    /// How far replicas lag behind from now on.
    pub fn set_lag(&self, lag: Duration) {
        self.lag.store(lag.as_millis() as u64, Ordering::Relaxed);
    }

    /// Cuts a node off from the others, or connects it again.
    pub fn isolate(&self, node: usize, isolated: bool) {
        self.lock().isolated[node] = isolated;
    }

    /// A slot is on the way to a shard from now on.
    pub fn set_moving(&self, slot: u16, to: usize) {
        self.lock().moving.insert(slot, to);
    }

    /// Whether a slot is on the way.
    pub fn is_moving(&self, slot: u16) -> bool {
        self.lock().moving.contains_key(&slot)
    }

    /// Whether a slot is on the way from a shard, or to it.
    pub fn has_moving(&self, shard: usize) -> bool {
        let moving: Vec<_> = self.lock().moving.clone().into_iter().collect();
        let mut moving = moving.into_iter();
        moving.any(|(slot, to)| to == shard || self.shard_of(slot) == shard)
    }

    /// A slot belongs to a shard from now on, and is on the way no more.
    pub fn give(&self, slot: u16, to: usize) {
        let mut state = self.lock();
        state.moving.remove(&slot);
        state.given.insert(slot, to);
    }

    /// The next epoch.
    pub fn next_epoch(&self) -> u64 {
        let mut state = self.lock();
        state.epoch += 1;
        state.epoch
    }

    /// Changes what a node knows, in one step.
    pub fn with<T>(
        &self,
        node: usize,
        change: impl FnOnce(&mut Node, &mut Process) -> T,
    ) -> Option<T> {
        let changed = self.machines[node].with(|process, _| {
            let mut known = process.cluster.take()?;
            let result = change(&mut known, process);
            process.cluster = Some(known);
            Some(result)
        });
        changed.flatten()
    }

    /// A primary holds up writes from now on, until it is a replica, and not for ever.
    pub fn hold_up_writes(&self, node: usize) {
        let until = Instant::now() + AGREED_WITHIN;
        self.with(node, |_, process| process.writes_wait_until = Some(until));
    }

    /// A replica takes its primary's place; with `in_step`, after it has done everything that the primary did.
    pub fn promote(self: &Arc<Self>, shard: usize, in_step: bool) {
        let (old, new, epoch) = (self.primary(shard), self.replica(shard), self.next_epoch());
        if in_step {
            self.catch_up(shard);
        }
        self.with(new, |node, process| {
            node.take_over(old, epoch);
            process.role = Role::Primary;
            process.begin_history();
        });
        self.lock().primaries[shard] = new;
        self.announce(new);
    }

    /// Has a replica do everything that its primary did, and hear which slots that owns: a primary that holds up writes pings the
    /// replica with its offset, and every ping says so.
    fn catch_up(&self, shard: usize) {
        let (old, new) = (self.primary(shard), self.replica(shard));
        let (from, to) = (&self.machines[old], &self.machines[new]);
        let mut stream = std::mem::take(&mut self.lock().streams[shard]);
        stream.read(from, to, Instant::now(), || {});
        stream.apply_all(to);
        let number = self.next_word();
        if let Some(word) = self.with(old, |node, _| node.word(number)) {
            self.deliver(new, &word);
        }
    }

    /// The number of the next word on the bus.
    fn next_word(&self) -> u64 {
        let mut state = self.lock();
        state.words += 1;
        state.words
    }

    fn bus_delay(&self, most: Option<u64>) -> Duration {
        let (low, high) = self.bus;
        let mut state = self.lock();
        Duration::from_millis(match most {
            Some(most) => state.rng.between(low, most.max(high)),
            None => state.rng.between(low, high),
        })
    }

    /// A node tells all others what it has to say of itself.
    pub fn announce(self: &Arc<Self>, node: usize) {
        self.announce_within(node, None);
    }

    /// The same; it may take as many milliseconds.
    pub fn announce_within(self: &Arc<Self>, node: usize, most: Option<u64>) {
        for to in 0..self.machines.len() {
            if to != node {
                self.tell(node, to, most);
            }
        }
    }

    /// A node that was away and the others tell each other what they have to say, within so many milliseconds.
    pub fn meet_again(self: &Arc<Self>, node: usize, within: u64) {
        self.announce_within(node, Some(within));
        for from in 0..self.machines.len() {
            if from != node {
                self.tell(from, node, Some(within));
            }
        }
    }

    fn tell(self: &Arc<Self>, from: usize, to: usize, most: Option<u64>) {
        let number = self.next_word();
        if self.lock().isolated[from] || !self.machines[from].is_running() {
            return;
        }
        let Some(word) = self.with(from, |node, _| node.word(number)) else {
            return;
        };
        let delay = self.bus_delay(most);
        let cluster = Arc::clone(self);
        tokio::spawn(async move {
            sleep(delay).await;
            let becomes_replica = cluster
                .reach(to, |cluster| cluster.deliver(to, &word))
                .await;
            if becomes_replica == Some(true) {
                cluster.announce(to);
            }
        });
    }

    /// Does something at a node when it goes on. Nothing where it is down or cut off.
    async fn reach<T>(&self, node: usize, what: impl FnOnce(&Self) -> T) -> Option<T> {
        loop {
            if self.lock().isolated[node] || !self.machines[node].has_process() {
                return None;
            }
            if self.machines[node].is_running() {
                return Some(what(self));
            }
            sleep(TOLD_AGAIN).await;
        }
    }

    /// Tells whether the node is a replica because of that.
    fn deliver(&self, to: usize, word: &Word) -> bool {
        let name = &self.machines[word.from].name;
        let becomes_replica = self.with(to, |node, process| {
            let heard = node.hear(word);
            for key in process.keys_in(&heard.dirty) {
                process.delete(0, &key);
            }
            if heard.replicates.is_some() {
                process.role = Role::ReplicaOf(name.clone());
                process.writes_wait_until = None;
            }
            heard.replicates.is_some()
        });
        becomes_replica == Some(true)
    }

    /// Most primaries hold a node for dead: they know at once, the others soon.
    pub fn fail(self: &Arc<Self>, of: usize) {
        let number = self.next_word();
        for node in (0..self.machines.len()).filter(|node| *node != of) {
            let is_primary = self.lock().primaries.contains(&node);
            let delay = match is_primary {
                true => Duration::ZERO,
                false => self.bus_delay(None),
            };
            let cluster = Arc::clone(self);
            tokio::spawn(async move {
                sleep(delay).await;
                let mark = |cluster: &Self| {
                    cluster.with(node, |node, _| node.hold_for_dead(of, number));
                };
                cluster.reach(node, mark).await;
            });
        }
    }
}

/// The shard that a slot begins with.
fn original(slot: u16, shards: usize) -> usize {
    usize::from(slot) * shards / usize::from(SLOTS)
}

/// Sends what changes on primaries to their replicas, for ever.
async fn replicate(cluster: Arc<Cluster>) {
    loop {
        sleep(SENT_EVERY).await;
        for shard in 0..cluster.shards {
            let (from, to) = (cluster.primary(shard), cluster.replica(shard));
            let (from, to) = (&cluster.machines[from], &cluster.machines[to]);
            let mut stream = std::mem::take(&mut cluster.lock().streams[shard]);
            if from.is_running() {
                let lag = Duration::from_millis(cluster.lag.load(Ordering::Relaxed));
                stream.read(from, to, Instant::now() + lag, || {});
            }
            if to.is_running() {
                stream.apply(to);
            }
            cluster.lock().streams[shard] = stream;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;
    use crate::hand::Session;
    use crate::net::Net;
    use crate::resp::Reply;
    use crate::world::Wall;

    use super::super::process::Data;

    fn of_two_shards() -> (Net, Arc<Cluster>) {
        let (net, mut rng) = (Net::new(Rng::new(1)), Rng::new(2));
        let start = |name: &&str| {
            let machine = Machine::new(name, &net, Wall::new(), rng.fork());
            machine.start(Data::default(), Duration::ZERO, |_| ());
            machine
        };
        let machines = NODES[..4].iter().map(start).collect();
        (net, Cluster::start(machines, (0, 5), Rng::new(3)))
    }

    #[tokio::test(start_paused = true)]
    async fn by_agreement_a_replica_takes_over_a_slot_that_its_primary_has_just_been_given() {
        let (_, cluster) = of_two_shards();
        let (old, new, slot) = (cluster.primary(1), cluster.replica(1), 7);
        let epoch = cluster.next_epoch();
        cluster.with(old, |node, _| {
            node.give(slot, old);
            node.peers[old].epoch = epoch;
        });
        cluster.hold_up_writes(old);
        cluster.promote(1, true);
        sleep(Duration::from_millis(100)).await;
        let knows = cluster.with(old, |node, process| {
            let is_replica = process.role == Role::ReplicaOf(NODES[new].to_owned());
            (node.owner(slot), is_replica, process.holds_up_writes())
        });
        assert_eq!(knows, Some((Some(new), true, false)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_primary_that_has_not_heard_of_its_successor_is_no_replica_of_it() {
        let (_, cluster) = of_two_shards();
        cluster.promote(1, false);
        assert!(!cluster.has_replica(1));
        sleep(Duration::from_millis(100)).await;
        assert!(cluster.has_replica(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_has_spoken_since_is_not_held_for_dead() {
        let (_, cluster) = of_two_shards();
        let word = cluster.with(0, |node, _| node.word(2)).unwrap();
        let held_for_dead = cluster.with(1, |node, _| {
            node.hear(&word);
            [1, 3].map(|number| {
                node.hold_for_dead(0, number);
                node.peers[0].failed
            })
        });
        assert_eq!(held_for_dead, Some([false, true]));
    }

    #[tokio::test(start_paused = true)]
    async fn writes_that_are_held_up_for_a_failover_that_does_not_come_are_carried_out() {
        let (net, cluster) = of_two_shards();
        cluster.hold_up_writes(0);
        let began = Instant::now();
        let socket = net.connect("hand".to_owned(), NODES[0].to_owned()).await;
        let mut session = Session::over(socket.unwrap());
        let reply = timeout(2 * AGREED_WITHIN, session.ask(&["SET", "{b}", ""]));
        assert_eq!(reply.await.unwrap().unwrap(), Reply::ok());
        assert!(began.elapsed() >= AGREED_WITHIN);
    }
}
