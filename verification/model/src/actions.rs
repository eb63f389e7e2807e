//! What may happen next.

use crate::lattice::NOTHING;
use crate::operation::{Operation, Request, Stage};
use crate::replica::{Replica, bit};
use crate::world::{Action, Protocol, World};

impl Protocol {
    pub(crate) fn may_state(&self, world: &World, actions: &mut Vec<Action>) {
        if world.statements >= self.scope.statements {
            return;
        }
        for key in 0..self.scope.keys {
            if self.scope.api && world.operation.is_none() {
                let ready = |replica: &usize| world.replicas[*replica].known.is_some();
                for replica in (0..self.scope.replicas).filter(ready) {
                    let revoke = |&level| Action::Revoke {
                        replica,
                        key,
                        level,
                    };
                    actions.extend(self.scope.levels.iter().map(revoke));
                    // Of what was never revoked there is nothing to take back.
                    if world.truth[key].ever > NOTHING {
                        actions.push(Action::Unrevoke { replica, key });
                    }
                }
            }
            if self.scope.by_hand {
                let set = |&level| Action::SetByHand { key, level };
                actions.extend(self.scope.levels.iter().map(set));
            }
            if self.scope.deletes && world.primary().data[key].key.is_some() {
                actions.push(Action::DeleteByHand { key });
            }
        }
    }

    pub(crate) fn may_go_on(&self, world: &World, actions: &mut Vec<Action>) {
        let Some(operation) = &world.operation else {
            return;
        };
        match operation.stage {
            Stage::Sent { to } | Stage::Half { to } => {
                if world.servers[to].is_primary {
                    actions.push(Action::Execute);
                }
                if !world.servers[to].is_primary || to != world.named {
                    actions.push(Action::Repeat);
                }
            }
            Stage::Answered {
                by,
                confirmed,
                elsewhere,
            } => {
                if self.may_acknowledge(world, operation) {
                    actions.push(Action::Acknowledge);
                }
                let replica = &world.replicas[operation.replica];
                let in_vain = confirmed
                    && replica.is_settled_with(by)
                    && !self.may_acknowledge(world, operation);
                if in_vain || elsewhere && world.primary().identity != by {
                    actions.push(Action::Repeat);
                }
                actions.push(Action::GiveUp);
            }
        }
    }

    fn may_acknowledge(&self, world: &World, operation: &Operation) -> bool {
        let Stage::Answered { by, confirmed, .. } = operation.stage else {
            return false;
        };
        if !self.rules.confirmed_acknowledgement {
            return true;
        }
        let replica = &world.replicas[operation.replica];
        let view = replica.view[operation.key];
        let says_so = match operation.request {
            Request::Revoke(level) => {
                let holds = view.all.max(view.up_to.0) >= operation.version;
                view.level() >= level && (holds || !self.rules.statement_seen)
            }
            Request::Unrevoke => {
                let holds = view.unrevoked >= operation.version && view.level() == NOTHING;
                holds || !self.rules.statement_seen
            }
        };
        let settled = !self.rules.settled_acknowledgement || replica.is_settled_with(by);
        confirmed && says_so && settled
    }

    pub(crate) fn may_follow(&self, world: &World, id: usize, actions: &mut Vec<Action>) {
        let replica = &world.replicas[id];
        let Some(session) = &replica.session else {
            if world.primary().is_primary {
                actions.push(Action::Connect(id));
            }
            return;
        };
        if session.to != world.named && self.rules.named_by_majority {
            actions.push(Action::Leave(id));
        }
        let to_read = session.has_to_read();
        if self.scope.coarse {
            if to_read != 0 {
                actions.push(Action::ReadAll(id));
            }
        } else if session.owing != 0 {
            // Nothing else is read before that is done.
            actions.push(Action::WriteBack(id));
        } else {
            for key in (0..self.scope.keys).filter(|key| to_read & bit(*key) != 0) {
                actions.push(Action::Read { replica: id, key });
            }
        }
        for key in (0..self.scope.keys).filter(|key| to_read & bit(*key) != 0) {
            let is_there = world.servers[session.to].data[key].key.is_some();
            if !self.rules.atomic_read && is_there && session.alive & bit(key) == 0 {
                actions.push(Action::ReadLife { replica: id, key });
            }
            if !self.rules.pushes_complete && session.unread & bit(key) == 0 {
                actions.push(Action::LosePush { replica: id, key });
            }
        }
        let quiet = to_read == 0 && session.owing == 0;
        let server = &world.servers[session.to];
        let evicted = server.evictions != replica.evictions;
        let counts = session.unread == 0 && (quiet || !self.rules.heartbeat_awaited);
        if counts && world.heartbeat_counts(id, &self.rules) {
            actions.push(Action::Heartbeat(id));
        }
        if quiet && evicted {
            actions.push(Action::Compare(id));
        }
    }

    pub(crate) fn may_fail(&self, world: &World, actions: &mut Vec<Action>) {
        let scope = &self.scope;
        if scope.failover {
            let (old, new) = (world.named, 1 - world.named);
            if world.servers[new].is_primary {
                actions.push(Action::Demote);
            } else if world.servers[old].data != world.servers[new].data {
                actions.push(Action::Replicate);
            }
        } else if scope.kill && world.snapshot != world.primary().data {
            actions.push(Action::Snapshot);
        }
        if world.faults >= scope.faults {
            return;
        }
        if scope.failover && !world.servers[1 - world.named].is_primary {
            actions.push(Action::Failover);
        }
        if scope.kill && !scope.failover {
            actions.push(Action::Kill);
        }
        for key in (0..scope.keys).filter(|_| scope.evict) {
            let record = &world.primary().data[key];
            if record.key.is_some() {
                actions.push(Action::EvictKey { key });
            }
            if record.restored != Default::default() {
                actions.push(Action::EvictRestored { key });
            }
        }
        for replica in 0..scope.replicas {
            if scope.cut && world.replicas[replica].session.is_some() {
                actions.push(Action::Cut(replica));
            }
            if scope.restart && world.replicas[replica] != Replica::default() {
                actions.push(Action::RestartReplica(replica));
            }
        }
    }
}
