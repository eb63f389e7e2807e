//! Tombstones: what was taken back through the API.

use std::collections::HashSet;

use redis::RedisResult;

use super::super::view::KeyHash;
use super::link::Link;
use super::reconcile::Reconciliation;
use super::stored::{self, Stored};

/// More are not remembered: they are acted upon each time.
const MOST: usize = 100_000;

/// Those that have been acted upon. One that is pushed again (it is given another end, or moves to another node of a cluster)
/// says nothing of what was revoked since.
#[derive(Default)]
pub(super) struct Tombstones(HashSet<KeyHash>);

impl Tombstones {
    /// Whether it is new.
    pub(super) fn insert(&mut self, hash: KeyHash) -> bool {
        match self.0.len() < MOST {
            true => self.0.insert(hash),
            false => !self.0.contains(&hash),
        }
    }

    /// It is gone.
    pub(super) fn remove(&mut self, hash: KeyHash) {
        self.0.remove(&hash);
    }
}

impl Reconciliation {
    /// Takes out what was taken back through the API, unless it has been revoked again since: where revocation and
    /// tombstone are on two servers, the later may be heard of first.
    pub(super) async fn take_back(
        &self,
        link: &mut Link,
        taken_back: &mut Vec<KeyHash>,
    ) -> RedisResult<()> {
        let named = taken_back.iter().map(|hash| self.moving.name_of(*hash));
        let names: Vec<Vec<u8>> = named.flatten().cloned().collect();
        let stored = stored::read(link, &names, || self.clock.now()).await?;
        let standing = names.iter().zip(stored);
        let standing: HashSet<&Vec<u8>> = standing
            .filter_map(|(name, stored)| (stored != Stored::Nothing).then_some(name))
            .collect();
        let stands = |hash| {
            let name = self.moving.name_of(hash);
            name.is_some_and(|name| standing.contains(name))
        };
        taken_back.retain(|hash| !stands(*hash));
        for hash in taken_back {
            self.view.remove(*hash);
        }
        Ok(())
    }
}
