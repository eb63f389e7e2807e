//! What each action does.

use crate::lattice::{NOTHING, Version};
use crate::operation::{Request, Stage};
use crate::replica::{Keys, Replica, bit};
use crate::rules::Rules;
use crate::world::{Action, Protocol, World};

/// Between the versions of two statements there is room for those of keys without a version.
pub(crate) const STEP: Version = 8;

impl World {
    pub(crate) fn take(&mut self, action: Action, protocol: &Protocol) {
        let (rules, scope) = (&protocol.rules, &protocol.scope);
        match action {
            Action::Revoke {
                replica,
                key,
                level,
            } => {
                self.truth[key].revoking(level, scope.precise);
                self.request(replica, key, Request::Revoke(level), rules);
            }
            Action::Unrevoke { replica, key } => {
                self.truth[key].unrevoking();
                self.request(replica, key, Request::Unrevoke, rules);
            }
            Action::SetByHand { key, level } => self.set_by_hand(key, level, scope.precise),
            Action::DeleteByHand { key } => self.delete_by_hand(key),
            Action::Execute => self.execute(rules),
            Action::Acknowledge => self.acknowledge(protocol),
            Action::Repeat => self.repeat(rules),
            Action::GiveUp => self.operation = None,
            Action::Connect(id) => {
                let to = self.named;
                let (replica, server) = (&mut self.replicas[id], &self.servers[to]);
                replica.connect(to, server, scope.keys, rules);
            }
            Action::Leave(id) => self.replicas[id].session = None,
            Action::ReadLife { replica, key } => {
                if let Some(session) = &mut self.replicas[replica].session {
                    session.alive |= bit(key);
                }
            }
            Action::Read { replica, key } => self.read(replica, key, protocol),
            Action::ReadAll(id) => self.read_all(id, protocol),
            Action::WriteBack(id) => self.write_back(id, rules),
            Action::Heartbeat(id) => self.heartbeat(id, rules),
            Action::Compare(id) => {
                if let Some(to) = self.server_of(id) {
                    self.replicas[id].compare(&self.servers[to], scope.keys);
                }
            }
            Action::LosePush { replica, key } => {
                if let Some(session) = &mut self.replicas[replica].session {
                    session.pushed &= !(bit(key) | bit(key) << 4);
                    session.tombstones_pushed &= !bit(key);
                }
            }
            fault => self.suffer(fault, protocol),
        }
    }

    fn server_of(&self, id: usize) -> Option<usize> {
        self.replicas[id].session.as_ref().map(|session| session.to)
    }

    /// Tells all who track the server that something has changed under a key.
    pub(crate) fn push(&mut self, to: usize, keys: Keys, tombstones: Keys) {
        for replica in &mut self.replicas {
            if let Some(session) = &mut replica.session
                && session.to == to
            {
                session.pushed |= keys;
                session.tombstones_pushed |= tombstones;
            }
        }
    }

    /// A revocation has been written, and nobody has seen it yet.
    pub(crate) fn is_new(&mut self, key: usize) {
        self.gone &= !bit(key);
        for replica in &mut self.replicas {
            replica.seen &= !bit(key);
        }
    }

    /// What a clock says at this moment: later than every statement so far, and earlier than the next.
    pub(crate) fn now(&self, id: usize, rules: &Rules) -> Version {
        match rules.clocks_agree {
            true => self.clock + STEP / 2,
            false => self.replicas[id].clock,
        }
    }

    fn read(&mut self, id: usize, key: usize, protocol: &Protocol) {
        let rules = &protocol.rules;
        let Some(to) = self.server_of(id) else { return };
        let before = self.servers[to].data[key];
        let now = self.now(id, rules);
        self.replicas[id].read(key, &mut self.servers[to], now, rules);
        if protocol.scope.by_hand || protocol.scope.restart {
            self.note_seen(id, key, to);
        }
        if self.servers[to].data[key] != before {
            self.push(to, bit(key) << 4, 0);
        }
    }

    fn note_seen(&mut self, id: usize, key: usize, to: usize) {
        let must = self.truth[key].must;
        let learnt = must > NOTHING && self.replicas[id].view[key].level() >= must;
        if to == self.named && (self.gone & bit(key) == 0 || learnt) {
            self.replicas[id].seen |= bit(key);
        }
    }

    fn read_all(&mut self, id: usize, protocol: &Protocol) {
        let session = self.replicas[id].session.as_ref();
        let to_read = session.map_or(0, |session| session.has_to_read());
        for key in (0..protocol.scope.keys).filter(|key| to_read & bit(*key) != 0) {
            self.read(id, key, protocol);
        }
        self.write_back(id, &protocol.rules);
    }

    fn write_back(&mut self, id: usize, rules: &Rules) {
        let Some(to) = self.server_of(id) else { return };
        let changed = self.replicas[id].write_back(&mut self.servers[to], rules);
        self.push(to, changed << 4, 0);
    }

    fn heartbeat(&mut self, id: usize, rules: &Rules) {
        let Some(session) = &self.replicas[id].session else {
            return;
        };
        let identity = session.identity;
        if let Some(operation) = self.operation.as_mut().filter(|o| o.replica == id)
            && let Stage::Answered {
                by,
                confirmed,
                elsewhere,
            } = &mut operation.stage
        {
            *confirmed |= *by == identity;
            *elsewhere |= *by != identity;
        }
        if rules.settling && session.settling && !self.others_have_written_back(id, rules) {
            return;
        }
        let replica = &mut self.replicas[id];
        replica.known = Some(identity);
        replica.evictions_known = replica.evictions;
        replica.claims_revocation = 0b11;
        replica.claims_unrevocation = 0b11;
        if let Some(session) = &mut replica.session {
            session.settling = false;
        }
    }

    /// Whether every other replica has read everything from this server and written back what it lacked, or knows nothing that
    /// this server lacks.
    fn others_have_written_back(&self, id: usize, rules: &Rules) -> bool {
        let Some(session) = &self.replicas[id].session else {
            return false;
        };
        let (identity, server) = (session.identity, &self.servers[session.to]);
        let is_through = |replica: &Replica| {
            let judged = replica.evictions == server.evictions || !rules.evictions_watched;
            let written = match &replica.session {
                Some(session) if session.identity == identity => {
                    session.unread == 0 && session.owing == 0
                }
                _ => replica.known == Some(identity),
            };
            judged && written
        };
        let others = self.replicas.iter().enumerate();
        let mut others = others.filter(|(other, _)| *other != id);
        others.all(|(_, replica)| is_through(replica) || replica.knows_no_more_than(server, rules))
    }
}
