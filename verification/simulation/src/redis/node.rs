//! What one node of a cluster knows of the others, and what follows from it for commands.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::resp::Reply;

use super::process::Process;
use super::slots::{SLOTS, keys_of, slot_of};

const NOBODY: usize = usize::MAX;
/// For how long a primary that was started serves no keys, in milliseconds: Redis' `CLUSTER_WRITABLE_DELAY`.
const STARTS_SERVING_AFTER: i64 = 2_000;

/// A node as another knows it.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its id.
    pub id: String,
    /// The machine that it is on.
    pub machine: String,
    /// Whose replica it is; `None` for a primary.
    pub replicates: Option<usize>,
    /// The epoch of its claims to slots.
    pub epoch: u64,
    /// Most primaries hold it for dead.
    pub failed: bool,
}

/// What a node says of itself on the bus.
#[derive(Clone, Debug)]
pub struct Word {
    /// Which node, by its number.
    pub from: usize,
    /// Of two words of one node the one with the greater number is the later.
    pub number: u64,
    replicates: Option<usize>,
    epoch: u64,
    slots: Arc<[(u16, u16)]>,
}

/// One node's knowledge. It outlives the process, as `nodes.conf` does.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its own number.
    pub me: usize,
    /// Every node, itself among them, by number.
    pub peers: Vec<Peer>,
    /// By slot: the number of the owner.
    owners: Vec<usize>,
    /// The same as ranges: first, last, owner.
    ranges: Vec<(u16, u16, usize)>,
    /// Slots that are on the way to another node.
    pub migrating: BTreeMap<u16, usize>,
    /// Slots that are on the way from another node.
    pub importing: BTreeMap<u16, usize>,
    /// It cannot reach most primaries, and has noticed.
    pub cut_off: bool,
    /// When it begins to serve keys, in milliseconds since 1970.
    serves_from: i64,
    /// By node: the number of its last word.
    heard: Vec<u64>,
}

impl Node {
    /// One of these nodes, which all agree who owns what.
    pub fn new(me: usize, peers: Vec<Peer>, owners: &dyn Fn(u16) -> usize) -> Self {
        let mut node = Self {
            me,
            heard: vec![0; peers.len()],
            peers,
            owners: (0..SLOTS).map(owners).collect(),
            ranges: Vec::new(),
            migrating: BTreeMap::new(),
            importing: BTreeMap::new(),
            cut_off: false,
            serves_from: 0,
        };
        node.find_ranges();
        node
    }

    /// The same when its process is started again.
    pub fn restarted(mut self, now: i64) -> Self {
        self.cut_off = false;
        self.serves_from = now + STARTS_SERVING_AFTER;
        self
    }

    fn find_ranges(&mut self) {
        self.ranges.clear();
        for (slot, owner) in (0..SLOTS).zip(&self.owners) {
            match self.ranges.last_mut() {
                Some((_, last, of)) if of == owner => *last = slot,
                _ => self.ranges.push((slot, slot, *owner)),
            }
        }
        self.ranges.retain(|(_, _, owner)| *owner != NOBODY);
    }

    /// Who owns a slot, as far as this node knows.
    pub fn owner(&self, slot: u16) -> Option<usize> {
        let owner = self.owners[usize::from(slot)];
        (owner != NOBODY).then_some(owner)
    }

    /// Has slots belong to a node, from what this one knows.
    pub fn assign(&mut self, slots: impl IntoIterator<Item = u16>, owner: Option<usize>) {
        for slot in slots {
            self.owners[usize::from(slot)] = owner.unwrap_or(NOBODY);
        }
        self.find_ranges();
    }

    /// `CLUSTER SETSLOT … NODE`: whatever was under way with the slot is over.
    pub fn give(&mut self, slot: u16, to: usize) {
        self.migrating.remove(&slot);
        if to == self.me {
            self.importing.remove(&slot);
        }
        self.assign([slot], Some(to));
    }

    /// The slots of a node.
    pub fn slots_of(&self, owner: usize) -> Vec<u16> {
        let ranges = self.ranges.iter().filter(|(_, _, of)| *of == owner);
        ranges.flat_map(|(first, last, _)| *first..=*last).collect()
    }

    /// Whether it serves keys.
    pub fn works(&self, now: i64) -> bool {
        let covered: u32 = self
            .ranges
            .iter()
            .filter(|(_, _, owner)| !self.peers[*owner].failed)
            .map(|(first, last, _)| u32::from(last - first) + 1)
            .sum();
        !self.cut_off && now >= self.serves_from && covered == u32::from(SLOTS)
    }

    /// What it says of itself.
    pub fn word(&self, number: u64) -> Word {
        let own = self.ranges.iter().filter(|(_, _, of)| *of == self.me);
        Word {
            from: self.me,
            number,
            replicates: self.peers[self.me].replicates,
            epoch: self.peers[self.me].epoch,
            slots: own.map(|(first, last, _)| (*first, *last)).collect(),
        }
    }

    /// Takes another's place: all its slots are claimed under a new epoch.
    pub fn take_over(&mut self, from: usize, epoch: u64) {
        let slots = self.slots_of(from);
        self.peers[self.me].replicates = None;
        self.peers[self.me].epoch = epoch;
        self.peers[from].replicates = Some(self.me);
        self.assign(slots, Some(self.me));
    }

    /// Hears that most primaries hold a node for dead, unless that node has said something since: `number` is that of a word at that time.
    pub fn hold_for_dead(&mut self, of: usize, number: u64) {
        if self.heard[of] < number {
            self.peers[of].failed = true;
        }
    }

    /// Hears what another node says of itself. Tells which of its own slots this node lost by that, and whose replica it has become.
    pub fn hear(&mut self, word: &Word) -> Heard {
        let mut heard = Heard::default();
        if word.number <= self.heard[word.from] {
            return heard;
        }
        self.heard[word.from] = word.number;
        let peer = &mut self.peers[word.from];
        (peer.replicates, peer.epoch, peer.failed) = (word.replicates, word.epoch, false);
        if word.replicates.is_some() {
            return heard;
        }
        let followed = self.peers[self.me].replicates.unwrap_or(self.me);
        let mut lost = BTreeSet::new();
        for slot in word.slots.iter().flat_map(|(first, last)| *first..=*last) {
            let owner = self.owners[usize::from(slot)];
            // Only by hand.
            let is_fixed = self.importing.contains_key(&slot);
            let is_later = owner == NOBODY || self.peers[owner].epoch < word.epoch;
            if owner == word.from || is_fixed || !is_later {
                continue;
            }
            self.owners[usize::from(slot)] = word.from;
            if owner == self.me {
                self.migrating.remove(&slot);
                heard.dirty.push(slot);
            }
            if owner == followed {
                lost.insert(slot);
            }
            heard.changed = true;
        }
        if !heard.changed {
            return heard;
        }
        self.find_ranges();
        if !lost.is_empty() && self.slots_of(followed).is_empty() {
            self.peers[self.me].replicates = Some(word.from);
            self.migrating.clear();
            self.importing.clear();
            heard.replicates = Some(word.from);
            heard.dirty.clear();
        }
        heard
    }

    /// What is said instead of an answer to a command, if something is.
    pub(super) fn refusal(
        &self,
        process: &mut Process,
        (name, arguments): (&str, &[Vec<u8>]),
        asking: bool,
        (asks, now): (&str, i64),
    ) -> Option<Reply> {
        let keys = keys_of(name, arguments);
        let slot = slot_of(keys.first()?);
        let Some(owner) = self.owner(slot) else {
            return Some(Reply::error("CLUSTERDOWN Hash slot not served"));
        };
        if keys.iter().any(|key| slot_of(key) != slot) {
            return Some(Reply::error(
                "CROSSSLOT Keys in request don't hash to the same slot",
            ));
        }
        if !self.works(now) {
            return Some(Reply::error("CLUSTERDOWN The cluster is down"));
        }
        let there = keys
            .iter()
            .filter(|key| process.live(0, key, now).is_some())
            .count();
        let again = || {
            Some(Reply::error(
                "TRYAGAIN Multiple keys request during rehashing of slot",
            ))
        };
        let onward = |code: &str, to: usize| {
            let at = self.address(asks, to);
            Some(Reply::Error(format!("{code} {slot} {at}")))
        };
        let migrates_to = self.migrating.get(&slot).filter(|_| owner == self.me);
        if let Some(to) = migrates_to.filter(|_| there < keys.len()) {
            return match there {
                0 => onward("ASK", *to),
                _ => again(),
            };
        }
        if asking && migrates_to.is_none() && self.importing.contains_key(&slot) {
            let are_several = keys.iter().any(|key| *key != keys[0]);
            return match are_several && there < keys.len() {
                true => again(),
                false => None,
            };
        }
        match owner == self.me {
            true => None,
            false => onward("MOVED", owner),
        }
    }

    /// Where a node is, for whoever asks: a host is named by who connects and to whom.
    fn address(&self, asks: &str, node: usize) -> String {
        format!("{asks}.{}:6379", self.peers[node].machine)
    }

    /// What `CLUSTER NODES` answers.
    pub(super) fn nodes(&self, asks: &str) -> String {
        let lines = self.peers.iter().enumerate().map(|(at, peer)| {
            let role = match peer.replicates {
                None => "master",
                Some(_) => "slave",
            };
            let myself = if at == self.me { "myself," } else { "" };
            let failed = if peer.failed { ",fail" } else { "" };
            let primary = peer.replicates.map_or("-", |of| &self.peers[of].id);
            let address = self.address(asks, at);
            let mut line = format!(
                "{} {address}@16379 {myself}{role}{failed} {primary} 0 0 {} connected",
                peer.id, peer.epoch
            );
            for (first, last, _) in self.ranges.iter().filter(|(_, _, of)| *of == at) {
                line.push_str(&match first == last {
                    true => format!(" {first}"),
                    false => format!(" {first}-{last}"),
                });
            }
            if at == self.me {
                for (slot, to) in &self.migrating {
                    line.push_str(&format!(" [{slot}->-{}]", self.peers[*to].id));
                }
                for (slot, from) in &self.importing {
                    line.push_str(&format!(" [{slot}-<-{}]", self.peers[*from].id));
                }
            }
            line.push('\n');
            line
        });
        lines.collect()
    }

    /// What `CLUSTER INFO` answers.
    pub(super) fn info(&self, now: i64) -> String {
        let state = if self.works(now) { "ok" } else { "fail" };
        let owners: BTreeSet<usize> = self.ranges.iter().map(|(_, _, owner)| *owner).collect();
        format!(
            "cluster_state:{state}\r\ncluster_known_nodes:{}\r\ncluster_size:{}\r\n",
            self.peers.len(),
            owners.len()
        )
    }

    /// What `CLUSTER SLOTS` answers.
    pub(super) fn slots(&self, asks: &str) -> Reply {
        let node = |at: usize| {
            Reply::Array(vec![
                Reply::bulk(format!("{asks}.{}", self.peers[at].machine)),
                Reply::Int(6379),
                Reply::bulk(&self.peers[at].id),
                Reply::Array(Vec::new()),
            ])
        };
        let range = |(first, last, owner): &(u16, u16, usize)| {
            let mut range = vec![Reply::Int((*first).into()), Reply::Int((*last).into())];
            range.push(node(*owner));
            let replicas = (0..self.peers.len())
                .filter(|at| self.peers[*at].replicates == Some(*owner) && !self.peers[*at].failed);
            range.extend(replicas.map(node));
            Reply::Array(range)
        };
        Reply::Array(self.ranges.iter().map(range).collect())
    }

    /// The number of the node of this id.
    pub fn of_id(&self, id: &[u8]) -> Option<usize> {
        self.peers.iter().position(|peer| peer.id.as_bytes() == id)
    }
}

/// What has become of a node because of what it has heard.
#[derive(Debug, Default)]
pub struct Heard {
    /// Slots of its own that it has lost: it deletes the keys there.
    pub dirty: Vec<u16>,
    /// Whose replica it is from now on.
    pub replicates: Option<usize>,
    changed: bool,
}
