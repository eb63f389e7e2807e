//! Worlds that differ only in names are one: they have the same hash, and are explored once. Names are those of replicas and
//! keys, identities of servers, and versions as far as only their order counts.

use std::hash::{BuildHasher, Hash, Hasher};

use crate::lattice::{NOTHING, State, Version};
use crate::operation::Stage;
use crate::replica::{Keys, Replica, bit};
use crate::server::Identity;
use crate::steps::STEP;
use crate::world::World;

impl Hash for World {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        // The lesser of the two orders of the keys, and the replicas in an order of their own.
        let one = fingerprint(self.clone());
        let other = fingerprint(self.clone().with_keys_swapped());
        one.min(other).hash(hasher);
    }
}

fn fingerprint(mut world: World) -> u64 {
    world.rename_identities();
    world.renumber_versions();
    world.forget_idle_claims();
    let mut order = [0, 1, 2];
    let calls = world.operation.as_ref().map(|operation| operation.replica);
    order.sort_by_key(|&id| (&world.replicas[id], calls == Some(id)));
    let replicas = world.replicas.clone();
    for (place, &id) in order.iter().enumerate() {
        world.replicas[place] = replicas[id].clone();
    }
    if let Some(operation) = &mut world.operation {
        operation.replica = order.iter().position(|&id| calls == Some(id)).unwrap_or(0);
    }
    let mut hasher = ahash::RandomState::with_seeds(1, 2, 3, 4).build_hasher();
    world.hash_as_is(&mut hasher);
    hasher.finish()
}

impl World {
    fn hash_as_is(&self, hasher: &mut impl Hasher) {
        (&self.servers, self.named, &self.snapshot, &self.replicas).hash(hasher);
        (&self.truth, &self.operation, self.clock, self.histories).hash(hasher);
        (
            self.statements,
            self.faults,
            self.lost,
            self.gone,
            self.forgot,
        )
            .hash(hasher);
    }

    /// Of an identity that no server has any more, only that counts.
    fn rename_identities(&mut self) {
        const GONE: Identity = (u8::MAX, u8::MAX);
        let [one, other] = [self.servers[0].identity, self.servers[1].identity];
        let rename = |identity: &mut Identity| {
            *identity = match *identity {
                same if same == one => (0, 0),
                same if same == other => (1, 1),
                _ => GONE,
            };
        };
        for replica in &mut self.replicas {
            replica.known.iter_mut().for_each(rename);
            let identity = replica
                .session
                .as_mut()
                .map(|session| &mut session.identity);
            identity.into_iter().for_each(rename);
        }
        if let Some(operation) = &mut self.operation
            && let Stage::Answered { by, .. } = &mut operation.stage
        {
            rename(by);
        }
        self.servers[0].identity = (0, 0);
        self.servers[1].identity = (1, 1);
        self.histories = 0;
    }

    /// Leaves out the statements of which no version is left. What follows takes versions above all, or above one of those that
    /// are there by less than lies between two statements, so the order of all that comes is the same.
    fn renumber_versions(&mut self) {
        if self.replicas.iter().any(|replica| replica.clock != 0) {
            return;
        }
        let mut used = 0_u64;
        self.for_each_version(|version| used |= 1 << (*version / STEP));
        self.for_each_version(|version| {
            let below = used & ((1 << (*version / STEP)) - 1) & !1;
            // At most as many as there are versions below.
            let place = u8::try_from(below.count_ones()).unwrap_or(u8::MAX);
            *version = match *version / STEP {
                0 => *version,
                _ => (place + 1) * STEP + *version % STEP,
            };
        });
    }

    /// Claims count where something must be refused, or may not be. Whatever makes that so takes the claims away first.
    fn forget_idle_claims(&mut self) {
        for (key, truth) in self.truth.iter().enumerate() {
            for replica in &mut self.replicas {
                if truth.must == NOTHING {
                    replica.claims_revocation &= !bit(key);
                }
                if truth.may >= truth.ever {
                    replica.claims_unrevocation &= !bit(key);
                }
            }
        }
    }

    fn for_each_version(&mut self, mut visit: impl FnMut(&mut Version)) {
        let mut visit_state = |state: &mut State| {
            visit(&mut state.unrevoked);
            visit(&mut state.all);
            visit(&mut state.up_to.0);
        };
        let data = self.servers.iter_mut().flat_map(|server| &mut server.data);
        for record in data.chain(&mut self.snapshot) {
            visit_state(&mut record.restored);
            if let Some(value) = &mut record.key {
                visit_state(&mut value.state);
            }
        }
        for state in self
            .replicas
            .iter_mut()
            .flat_map(|replica| &mut replica.view)
        {
            visit_state(state);
        }
        if let Some(operation) = &mut self.operation {
            visit(&mut operation.version);
        }
        visit(&mut self.clock);
    }

    fn with_keys_swapped(mut self) -> Self {
        for server in &mut self.servers {
            server.data.swap(0, 1);
        }
        self.snapshot.swap(0, 1);
        self.truth.swap(0, 1);
        swap_bits(&mut self.gone);
        for replica in &mut self.replicas {
            swap(replica);
        }
        if let Some(operation) = &mut self.operation {
            operation.key = 1 - operation.key;
        }
        self
    }
}

fn swap(replica: &mut Replica) {
    replica.view.swap(0, 1);
    swap_bits(&mut replica.claims_revocation);
    swap_bits(&mut replica.claims_unrevocation);
    swap_bits(&mut replica.seen);
    if let Some(session) = &mut replica.session {
        for keys in [
            &mut session.unread,
            &mut session.pushed,
            &mut session.tombstones_pushed,
            &mut session.tombstones,
            &mut session.alive,
            &mut session.owing,
        ] {
            swap_bits(keys);
        }
    }
}

fn swap_bits(keys: &mut Keys) {
    *keys = (*keys & 0x55) << 1 | (*keys >> 1) & 0x55;
}
