//! What goes wrong, and what a server does by itself.

use crate::lattice::{ALL, NOTHING, State};
use crate::replica::{Keys, Replica, bit};
use crate::server::{Identity, Record};
use crate::world::{Action, Protocol, World};

impl World {
    pub(crate) fn suffer(&mut self, fault: Action, protocol: &Protocol) {
        match fault {
            Action::Snapshot => self.snapshot = self.primary().data,
            Action::Replicate => {
                self.servers[1 - self.named].data = self.primary().data;
            }
            Action::Demote => self.demote(),
            _ => {
                self.faults += 1;
                self.suffer_counted(fault, protocol);
            }
        }
    }

    fn suffer_counted(&mut self, fault: Action, protocol: &Protocol) {
        match fault {
            Action::Cut(id) => self.replicas[id].session = None,
            Action::RestartReplica(id) => {
                let clock = self.replicas[id].clock;
                self.replicas[id] = Replica {
                    clock,
                    ..Replica::default()
                };
                self.forgot = true;
                // What only this one had seen, of what the server had lost.
                self.lose(self.gone, protocol);
            }
            Action::Kill => {
                let identity = self.new_identity(None);
                let server = &mut self.servers[0];
                let lost = differing(&server.data, &self.snapshot);
                server.data = self.snapshot;
                server.identity = identity;
                server.evictions = 0;
                self.close_connections(0);
                self.lose(lost, protocol);
            }
            Action::EvictKey { key } => {
                self.evict(key, bit(key), protocol, |record| record.key = None);
            }
            Action::EvictRestored { key } => {
                self.evict(key, bit(key) << 4, protocol, |record| {
                    record.restored = State::NONE
                });
            }
            Action::Failover => {
                let (old, new) = (self.named, 1 - self.named);
                let lost = differing(&self.servers[old].data, &self.servers[new].data);
                let run = self.servers[new].identity.0;
                self.servers[new].identity = self.new_identity(Some(run));
                self.servers[new].is_primary = true;
                self.named = new;
                self.lose(lost, protocol);
            }
            _ => {}
        }
    }

    fn new_identity(&mut self, run: Option<u8>) -> Identity {
        self.histories += 1;
        (run.unwrap_or(self.histories), self.histories)
    }

    fn demote(&mut self) {
        let old = 1 - self.named;
        let (data, history) = (self.primary().data, self.primary().identity.1);
        let server = &mut self.servers[old];
        server.data = data;
        server.identity.1 = history;
        server.is_primary = false;
        self.close_connections(old);
    }

    fn close_connections(&mut self, to: usize) {
        for replica in &mut self.replicas {
            if replica
                .session
                .as_ref()
                .is_some_and(|session| session.to == to)
            {
                replica.session = None;
            }
        }
    }

    fn evict(&mut self, key: usize, pushed: Keys, protocol: &Protocol, take: impl Fn(&mut Record)) {
        let to = self.named;
        take(&mut self.servers[to].data[key]);
        self.servers[to].evictions += 1;
        self.push(to, pushed, 0);
        self.lose(bit(key), protocol);
    }

    /// The server has lost what it held of these keys. What no running replica had seen is lost: an acknowledgement of the API
    /// says that one has, until it is restarted.
    fn lose(&mut self, keys: Keys, protocol: &Protocol) {
        self.lost |= keys != 0;
        self.gone |= keys;
        for key in (0..protocol.scope.keys).filter(|key| keys & bit(*key) != 0) {
            let truth = &mut self.truth[key];
            let seen = self
                .replicas
                .iter()
                .any(|replica| replica.seen & bit(key) != 0);
            if !seen && (truth.must_by_hand || self.forgot) {
                truth.must = NOTHING;
            }
            if self.forgot {
                truth.may = ALL.min(truth.ever);
            }
        }
    }
}

/// The keys of which two servers hold different things.
fn differing(one: &[Record; 2], other: &[Record; 2]) -> Keys {
    let differs = |key: &usize| one[*key] != other[*key];
    (0..2).filter(differs).map(bit).sum()
}
