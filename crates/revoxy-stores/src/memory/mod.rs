//! The memory store, for tests and for trying Revoxy out. Its contents are lost when the process ends.

mod tokens;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::clock::{Clock, Timestamp};

use super::key::RevocationKey;
use super::statement::{Cutoff, Revocation};
use super::view::View;
use super::{Durability, Page, RevocationStore, StoreError, TokenRegistry};

use tokens::Tokens;

/// Revocations and token records in this process' memory.
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    view: View,
    entries: Mutex<BTreeMap<String, Revocation>>,
    tokens: Mutex<Tokens>,
}

impl MemoryStore {
    /// Makes an empty store.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            view: View::always_fresh(),
            entries: Mutex::default(),
            tokens: Mutex::default(),
        }
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Revocation>> {
        // Every change below is a single insertion or removal, so a panic leaves nothing half done.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn live(&self, key: &RevocationKey) -> Option<Revocation> {
        let now = self.clock.now();
        let entry = self.entries().get(key.rendered()).cloned();
        entry.filter(|r| r.is_live(now))
    }
}

#[async_trait]
impl RevocationStore for MemoryStore {
    fn view(&self) -> Option<&View> {
        Some(&self.view)
    }

    fn registry(&self) -> Option<&dyn TokenRegistry> {
        Some(self)
    }

    async fn lookup(&self, keys: &[RevocationKey]) -> Result<Vec<Option<Cutoff>>, StoreError> {
        Ok(keys
            .iter()
            .map(|k| self.live(k).map(|r| r.cutoff))
            .collect())
    }

    async fn revoke(&self, revocation: &Revocation) -> Result<Durability, StoreError> {
        let now = self.clock.now();
        let mut entries = self.entries();
        let current = entries.get(revocation.key.rendered());
        let entry = match current.filter(|old| old.is_live(now)) {
            Some(old) if !revocation.adds_to(old) => return Ok(Durability::default()),
            Some(old) => old.strengthened_by(revocation),
            None => revocation.clone(),
        };
        self.view.record(&entry);
        entries.insert(entry.key.rendered().to_owned(), entry);
        Ok(Durability::default())
    }

    async fn unrevoke(&self, key: &RevocationKey) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let mut entries = self.entries();
        let removed = entries.remove(key.rendered());
        self.view.forget(key);
        Ok(removed.is_some_and(|r| r.is_live(now)))
    }

    async fn get(&self, key: &RevocationKey) -> Result<Option<Revocation>, StoreError> {
        Ok(self.live(key))
    }

    async fn list(&self, after: Option<&str>, limit: usize) -> Result<Page, StoreError> {
        let now = self.clock.now();
        let entries = self.entries();
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let revocations: Vec<_> = entries
            .range::<str, _>((start, Bound::Unbounded))
            .map(|(_, r)| r)
            .filter(|r| r.is_live(now))
            .take(limit)
            .cloned()
            .collect();
        let next = match revocations.last() {
            Some(last) if revocations.len() == limit => Some(last.key.rendered().to_owned()),
            _ => None,
        };
        Ok(Page { revocations, next })
    }

    async fn prune(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.entries().retain(|_, r| r.is_live(now));
        let tokens = self.tokens().prune(now);
        Ok(self.view.prune(now) as u64 + tokens)
    }
}
