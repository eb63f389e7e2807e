//! Token records in this process' memory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::{MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::clock::Timestamp;

use super::super::StoreError;
use super::super::key::RevocationKey;
use super::super::record::{Place, TokenPage, TokenRecord};
use super::super::registry::{RegistrationKey, TokenRegistry};
use super::MemoryStore;

/// The records, and the list of each subject.
#[derive(Default)]
pub(super) struct Tokens {
    records: HashMap<u128, TokenRecord>,
    lists: BTreeMap<(String, String), BTreeSet<Place>>,
}

fn list_of(record: &TokenRecord) -> Option<(String, String)> {
    let subject = record.subject.clone()?;
    Some((record.token.issuer().to_owned(), subject))
}

impl Tokens {
    /// Stores a record, merged with the existing one. Returns the merged record.
    fn keep(&mut self, newer: &TokenRecord, now: Timestamp) -> TokenRecord {
        let current = match self.take(newer.id()) {
            Some(old) if old.is_live(now) => old.merged_with(newer),
            _ => newer.clone(),
        };
        if let Some(list) = list_of(&current) {
            self.lists.entry(list).or_default().insert(current.place());
        }
        self.records.insert(current.id(), current.clone());
        current
    }

    fn take(&mut self, id: u128) -> Option<TokenRecord> {
        let record = self.records.remove(&id)?;
        if let Some(list) = list_of(&record)
            && let Some(places) = self.lists.get_mut(&list)
        {
            places.remove(&record.place());
            if places.is_empty() {
                self.lists.remove(&list);
            }
        }
        Some(record)
    }

    /// Removes expired records. Returns how many.
    pub(super) fn prune(&mut self, now: Timestamp) -> u64 {
        let expired = |(id, record): (&u128, &TokenRecord)| (!record.is_live(now)).then_some(*id);
        let expired: Vec<_> = self.records.iter().filter_map(expired).collect();
        for id in &expired {
            self.take(*id);
        }
        expired.len() as u64
    }
}

impl MemoryStore {
    /// Returns a copy of the record that says whether the token is registered now.
    fn as_of(&self, record: &TokenRecord, now: Timestamp) -> TokenRecord {
        let key = RegistrationKey::of(&record.token);
        TokenRecord {
            registered: self.view.find(key.hash(), now).is_some(),
            ..record.clone()
        }
    }

    pub(super) fn tokens(&self) -> MutexGuard<'_, Tokens> {
        // A panic can only come from running out of memory; at worst, a record is then missing from its list.
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl TokenRegistry for MemoryStore {
    async fn is_registered(&self, key: &RegistrationKey) -> Result<bool, StoreError> {
        Ok(self.view.find(key.hash(), self.clock.now()).is_some())
    }

    async fn register(&self, records: &[TokenRecord]) -> Result<(), StoreError> {
        let now = self.clock.now();
        let mut tokens = self.tokens();
        for record in records.iter().filter(|r| r.is_live(now)) {
            tokens.keep(record, now);
            let key = RegistrationKey::of(&record.token);
            // A registration lives as long as the longest expiry that the token was registered with, not as
            // long as an expiry that was only seen.
            let current = self.view.entry(key.hash());
            let until = current.map_or(record.expires_at, |s| s.expires_at.max(record.expires_at));
            self.view.register(&key, until);
        }
        Ok(())
    }

    async fn note(&self, records: &[TokenRecord]) -> Result<(), StoreError> {
        let now = self.clock.now();
        let mut tokens = self.tokens();
        for record in records.iter().filter(|r| r.is_live(now)) {
            if record.subject.is_some() {
                tokens.keep(record, now);
            }
        }
        Ok(())
    }

    async fn of_subject(
        &self,
        issuer: &str,
        subject: &str,
        after: Option<Place>,
        limit: usize,
    ) -> Result<TokenPage, StoreError> {
        let now = self.clock.now();
        let tokens = self.tokens();
        let list = (issuer.to_owned(), subject.to_owned());
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let places = tokens.lists.get(&list).into_iter();
        let records = places
            .flat_map(|places| places.range((start, Bound::Unbounded)))
            .filter_map(|place| tokens.records.get(&place.id))
            .filter(|record| record.is_live(now))
            .take(limit.saturating_add(1))
            .map(|record| self.as_of(record, now))
            .collect();
        Ok(TokenPage::of(records, limit))
    }

    async fn find(
        &self,
        token: &RevocationKey,
        subject: Option<&str>,
    ) -> Result<Option<TokenRecord>, StoreError> {
        let now = self.clock.now();
        let tokens = self.tokens();
        let found = tokens.records.get(&token.hash().to_u128());
        let found = found.filter(|record| {
            record.is_live(now) && (subject.is_none() || record.subject.as_deref() == subject)
        });
        Ok(found.map(|record| self.as_of(record, now)))
    }
}
