//! Statements: what is asked of the API, what the server makes of it, how it is answered, and what is written by hand.

use crate::lattice::{Level, NOTHING, State};
use crate::operation::{Operation, Request, Stage};
use crate::replica::{Keys, bit};
use crate::rules::Rules;
use crate::server::{Record, Value};
use crate::steps::STEP;
use crate::world::{Protocol, World};

impl World {
    pub(crate) fn request(&mut self, replica: usize, key: usize, request: Request, rules: &Rules) {
        self.statements += 1;
        let version = match (rules.versions, rules.clocks_agree) {
            (false, _) => 1,
            (true, true) => {
                self.clock += STEP;
                self.clock
            }
            (true, false) => {
                self.replicas[replica].clock += 1;
                self.replicas[replica].clock
            }
        };
        self.operation = Some(Operation {
            replica,
            key,
            request,
            version,
            stage: Stage::Sent { to: self.named },
            stated_since: NOTHING,
            undone_since: false,
        });
    }

    pub(crate) fn execute(&mut self, rules: &Rules) {
        let Some(mut operation) = self.operation else {
            return;
        };
        let (Stage::Sent { to } | Stage::Half { to }) = operation.stage else {
            return;
        };
        let answered = Stage::Answered {
            by: self.servers[to].identity,
            confirmed: false,
            elsewhere: false,
        };
        let is_first = matches!(operation.stage, Stage::Sent { .. });
        let (keys, tombstones) = match rules.versions {
            true => self.execute_script(to, &mut operation, rules),
            false => self.execute_without_versions(to, operation, is_first, rules),
        };
        operation.stage = match operation.request {
            Request::Revoke(_) if !rules.versions && is_first => Stage::Half { to },
            _ => answered,
        };
        self.push(to, keys, tombstones);
        self.is_new(operation.key);
        self.operation = Some(operation);
    }

    /// Runs the script of the request. Tells the keys that it has changed.
    fn execute_script(
        &mut self,
        to: usize,
        operation: &mut Operation,
        rules: &Rules,
    ) -> (Keys, Keys) {
        let now = self.now(operation.replica, rules);
        let record = &mut self.servers[to].data[operation.key];
        let key = bit(operation.key);
        let (version, keys) = match operation.request {
            Request::Revoke(level) => (record.revoke(operation.version, level, rules), key),
            Request::Unrevoke => {
                let now = if rules.by_hand_stamped { now } else { 0 };
                let version = operation.version.max(now);
                (record.unrevoke(version, rules), key | key << 4)
            }
        };
        operation.version = version;
        let clock = &mut self.replicas[operation.replica].clock;
        *clock = if rules.clocks_agree {
            0
        } else {
            version.max(*clock)
        };
        (keys, 0)
    }

    /// By the rules before versions: a revocation takes two steps, an un-revocation is one transaction.
    fn execute_without_versions(
        &mut self,
        to: usize,
        operation: Operation,
        is_first: bool,
        rules: &Rules,
    ) -> (Keys, Keys) {
        let record = &mut self.servers[to].data[operation.key];
        let key = bit(operation.key);
        match operation.request {
            Request::Revoke(level) if is_first => {
                record.revoke(1, level, rules);
                (key, 0)
            }
            Request::Revoke(_) => {
                record.tombstone = false;
                (0, key)
            }
            Request::Unrevoke => {
                *record = Record::default();
                record.tombstone = true;
                (key | key << 4, key)
            }
        }
    }

    pub(crate) fn acknowledge(&mut self, protocol: &Protocol) {
        let Some(operation) = self.operation.take() else {
            return;
        };
        let key = operation.key;
        match operation.request {
            Request::Revoke(level) => {
                if !operation.undone_since {
                    self.truth[key].revoked(level);
                    self.forget_claims(key, true, false);
                }
                if !protocol.rules.versions {
                    // Whoever revoked here is to be denied here at once.
                    let view = &mut self.replicas[operation.replica].view[key];
                    *view = view.join(State::revocation(1, level)).project();
                }
            }
            Request::Unrevoke => {
                let precise = protocol.scope.precise;
                self.truth[key].unrevoked(operation.stated_since, precise);
                self.forget_claims(key, false, true);
            }
        }
    }

    pub(crate) fn repeat(&mut self, rules: &Rules) {
        if let Some(operation) = &mut self.operation {
            // A later version: the one before may have met one that is later still.
            if rules.versions && rules.clocks_agree {
                self.clock += STEP;
                operation.version = self.clock;
            } else if rules.versions {
                let clock = &mut self.replicas[operation.replica].clock;
                *clock = (*clock).max(operation.version) + 1;
                operation.version = *clock;
            }
            operation.stage = Stage::Sent { to: self.named };
        }
    }

    pub(crate) fn set_by_hand(&mut self, key: usize, level: Level, precise: bool) {
        self.statements += 1;
        self.clock += STEP;
        let to = self.named;
        self.servers[to].data[key].key = Some(Value {
            state: State::revocation(1, level),
            by_hand: true,
        });
        self.push(to, bit(key), 0);
        let truth = &mut self.truth[key];
        truth.revoked_by_hand(level, precise);
        if let Some(operation) = self.operation.as_mut().filter(|o| o.key == key) {
            operation.undone_since = true;
            operation.stated_since = operation.stated_since.max(level);
            if operation.request == Request::Unrevoke {
                truth.unrevoking();
            }
        }
        self.forget_claims(key, true, false);
        self.is_new(key);
    }

    pub(crate) fn delete_by_hand(&mut self, key: usize) {
        self.statements += 1;
        let to = self.named;
        self.servers[to].data[key].key = None;
        self.push(to, bit(key), 0);
        self.truth[key].deleted();
        if let Some(operation) = self.operation.as_mut().filter(|o| o.key == key) {
            operation.undone_since = true;
            operation.stated_since = self.truth[key].ever;
        }
    }

    fn forget_claims(&mut self, key: usize, revocation: bool, unrevocation: bool) {
        for replica in &mut self.replicas {
            if revocation {
                replica.claims_revocation &= !bit(key);
            }
            if unrevocation {
                replica.claims_unrevocation &= !bit(key);
            }
        }
    }
}
