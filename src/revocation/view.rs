//! The view: an exact copy of the live revocations in this process' memory, which checks read.
//!
//! An entry is a hash of the store key, its cutoff and its expiry. Expiry is judged by the reader, so an expired
//! entry is gone at once, whenever it is swept.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::clock::Timestamp;

use super::statement::Cutoff;

/// 128 bits of the SHA-256 of a store key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct KeyHash(pub u128);

#[derive(Clone, Copy, Debug)]
struct Entry {
    cutoff: Cutoff,
    expires_at: Timestamp,
}

type Shard = HashMap<KeyHash, Entry, BuildHasherDefault<AlreadyHashed>>;

/// So many that a writer and the readers rarely meet in one.
const SHARDS: usize = 64;

/// The in-memory copy.
#[derive(Debug)]
pub struct View {
    shards: Box<[RwLock<Shard>]>,
}

impl Default for View {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
        }
    }
}

impl View {
    /// The cutoff under `key`, if a revocation stands there at `now`.
    pub(super) fn find(&self, key: KeyHash, now: Timestamp) -> Option<Cutoff> {
        let entry = *self.read(key).get(&key)?;
        (now < entry.expires_at).then_some(entry.cutoff)
    }

    /// Puts an entry in, in place of what was there.
    pub(super) fn insert(&self, key: KeyHash, cutoff: Cutoff, expires_at: Timestamp) {
        self.write(key).insert(key, Entry { cutoff, expires_at });
    }

    /// Takes an entry out.
    pub(super) fn remove(&self, key: KeyHash) {
        self.write(key).remove(&key);
    }

    /// Sweeps what has expired. Tells how many entries went.
    pub(super) fn prune(&self, now: Timestamp) -> usize {
        let sweep = |shard: &RwLock<Shard>| {
            let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
            let before = shard.len();
            shard.retain(|_, entry| now < entry.expires_at);
            before - shard.len()
        };
        self.shards.iter().map(sweep).sum()
    }

    /// How many entries are held, the expired that have not been swept among them.
    pub fn len(&self) -> usize {
        let count =
            |shard: &RwLock<Shard>| shard.read().unwrap_or_else(PoisonError::into_inner).len();
        self.shards.iter().map(count).sum()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    // A lock is poisoned by a panic within the few lines above, which leave the map whole at every step.
    fn read(&self, key: KeyHash) -> RwLockReadGuard<'_, Shard> {
        self.shard(key)
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, key: KeyHash) -> RwLockWriteGuard<'_, Shard> {
        self.shard(key)
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn shard(&self, key: KeyHash) -> &RwLock<Shard> {
        let [.., top] = key.0.to_le_bytes();
        &self.shards[usize::from(top) % SHARDS]
    }
}

/// Takes the low half of a [`KeyHash`] as it is: it is uniform already.
#[derive(Debug, Default)]
struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut head = [0; 8];
        let n = bytes.len().min(8);
        head[..n].copy_from_slice(&bytes[..n]);
        self.0 ^= u64::from_le_bytes(head);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1000);
    const LATER: Timestamp = Timestamp::from_secs(2000);

    #[test]
    fn an_entry_is_found_until_it_expires() {
        let view = View::default();
        view.insert(KeyHash(7), Cutoff::All, LATER);
        assert_eq!(view.find(KeyHash(7), NOW), Some(Cutoff::All));
        assert_eq!(view.find(KeyHash(7), LATER), None);
        assert_eq!(view.find(KeyHash(8), NOW), None);
    }

    #[test]
    fn sweeping_takes_only_the_expired() {
        let view = View::default();
        view.insert(KeyHash(1), Cutoff::All, NOW);
        view.insert(KeyHash(2), Cutoff::All, LATER);
        assert_eq!(view.prune(NOW), 1);
        assert_eq!(view.len(), 1);
        view.remove(KeyHash(2));
        assert!(view.is_empty());
    }
}
