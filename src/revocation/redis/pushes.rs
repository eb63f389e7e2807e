//! What the server has told a tracking connection and the feed has not yet acted upon.
//!
//! The library hands over every push before the reply that follows it on the connection, so when a reply has arrived,
//! what was pushed before it is here. Keys are collected as a set, which is bounded: past the bound it is cheaper, and
//! as right, to read everything again.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use redis::{PushInfo, PushKind, Value};
use tokio::sync::Notify;

use super::super::lookups::Lookups;
use super::super::view::KeyHash;
use super::moving::Unknown;
use super::stored::StoredKey;

/// More changed keys than this at once: read everything again.
const MAX_KEYS: usize = 100_000;

#[derive(Clone, Default)]
pub(super) struct Pushes(Arc<Inner>);

/// Differences between server and view that are no surprise: they have been pushed, and will be acted upon.
pub(super) struct Explained {
    keys: BTreeSet<Vec<u8>>,
    everything: bool,
}

impl Explained {
    /// Whether `key` may differ.
    pub(super) fn explains(&self, key: &[u8]) -> bool {
        self.everything || self.keys.contains(key)
    }

    /// The revocations whose keys may be gone; `None` means any.
    pub(super) fn absences(&self, lookups: &Lookups) -> Option<HashSet<KeyHash>> {
        let parsed = |key| StoredKey::all(key, lookups).map(StoredKey::hash);
        (!self.everything).then(|| self.keys.iter().flat_map(|k| parsed(k)).collect())
    }
}

#[derive(Default)]
struct Inner {
    pending: Mutex<Pending>,
    arrived: Notify,
}

/// What is to be done.
#[derive(Default)]
pub(super) struct Pending {
    /// Keys that were written, deleted, evicted or expired.
    pub keys: BTreeSet<Vec<u8>>,
    /// How many pushes said so.
    pub pushes: u64,
    /// All keys are gone: FLUSHALL, FLUSHDB, or a full resynchronisation.
    pub flushed: bool,
    /// More keys have changed than are kept here.
    pub overflowed: bool,
    /// The connection is closed.
    pub closed: bool,
}

impl Pushes {
    /// Takes in one push. Called by the connection; never waits.
    pub(super) fn receive(&self, push: &PushInfo) {
        let mut pending = self
            .0
            .pending
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match push.kind {
            PushKind::Invalidate => pending.invalidate(&push.data),
            PushKind::Disconnection => pending.closed = true,
            _ => return,
        }
        self.0.arrived.notify_one();
    }

    /// Keys that could not be read are to be read again, with what is pushed next.
    pub(super) fn again(&self, unknown: Unknown) {
        let mut pending = self
            .0
            .pending
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        pending.overflowed |= unknown.overflowed;
        pending.keys.extend(unknown.keys);
    }

    /// Takes what is pending.
    pub(super) fn take(&self) -> Pending {
        std::mem::take(
            &mut *self
                .0
                .pending
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// What the pending pushes, which stay so, explain.
    pub(super) fn peek(&self) -> Explained {
        let pending = self
            .0
            .pending
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Explained {
            keys: pending.keys.clone(),
            everything: pending.flushed || pending.overflowed,
        }
    }

    /// Waits until something is pending.
    pub(super) async fn arrived(&self) {
        self.0.arrived.notified().await;
    }
}

impl Pending {
    fn invalidate(&mut self, data: &[Value]) {
        self.pushes += 1;
        let Some(Value::Array(keys)) = data.first() else {
            self.flushed = true;
            return;
        };
        for key in keys {
            if self.keys.len() >= MAX_KEYS {
                self.overflowed = true;
                return;
            }
            match key {
                Value::BulkString(key) => drop(self.keys.insert(key.clone())),
                Value::SimpleString(key) => drop(self.keys.insert(key.clone().into_bytes())),
                _ => self.overflowed = true,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invalidate(keys: Value) -> PushInfo {
        PushInfo {
            kind: PushKind::Invalidate,
            data: vec![keys],
        }
    }

    #[test]
    fn keys_are_collected_once_each_and_a_null_means_all() {
        let pushes = Pushes::default();
        let key = |k: &str| Value::BulkString(k.as_bytes().to_vec());
        pushes.receive(&invalidate(Value::Array(vec![key("a"), key("b")])));
        pushes.receive(&invalidate(Value::Array(vec![key("a")])));
        let pending = pushes.take();
        assert_eq!((pending.keys.len(), pending.flushed), (2, false));
        pushes.receive(&invalidate(Value::Nil));
        assert!(pushes.take().flushed);
        assert!(!pushes.take().flushed);
    }

    #[test]
    fn too_many_keys_overflow_instead_of_growing() {
        let pushes = Pushes::default();
        for n in 0..=MAX_KEYS {
            let key = Value::BulkString(n.to_string().into_bytes());
            pushes.receive(&invalidate(Value::Array(vec![key])));
        }
        let pending = pushes.take();
        assert_eq!(pending.keys.len(), MAX_KEYS);
        assert!(pending.overflowed);
    }
}
