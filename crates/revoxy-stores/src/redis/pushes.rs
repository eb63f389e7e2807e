//! The invalidation pushes that a tracking connection has received and the feed has not yet acted upon.
//!
//! The `redis` crate delivers every push before the reply that follows it on the connection. So once a reply
//! has arrived, every push before it is here. Keys are collected in a bounded set: beyond the bound, it is
//! cheaper and just as correct to read everything again.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use redis::{PushInfo, PushKind, Value};
use tokio::sync::Notify;

use super::super::hash::KeyHash;
use super::super::lookups::Lookups;
use super::slot_moves::Unknown;
use super::stored_key::StoredKey;

/// The maximum number of pending keys. Beyond it, everything is read again.
const MAX_KEYS: usize = 100_000;

#[derive(Clone, Default)]
pub(super) struct Pushes(Arc<Inner>);

/// Differences between server and view that are expected, because pending pushes announce them.
pub(super) struct Explained {
    keys: BTreeSet<Vec<u8>>,
    everything: bool,
}

impl Explained {
    /// Returns whether a pending push explains that `key` differs.
    pub(super) fn explains(&self, key: &[u8]) -> bool {
        self.everything || self.keys.contains(key)
    }

    /// Returns the hashes of the keys whose absence pending pushes explain; `None` means any key.
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

/// The pending work.
#[derive(Default)]
pub(super) struct Pending {
    /// Keys that were written, deleted, evicted or expired.
    pub keys: BTreeSet<Vec<u8>>,
    /// How many pushes named these keys.
    pub pushes: u64,
    /// All keys are gone: FLUSHALL, FLUSHDB, or a full resynchronisation.
    pub flushed: bool,
    /// More keys have changed than are kept here.
    pub overflowed: bool,
    /// The connection is closed.
    pub closed: bool,
}

impl Pushes {
    /// Records one push. Called by the connection; never waits.
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

    /// Queues keys that could not be read, to be read again together with the next pushes.
    pub(super) fn again(&self, unknown: Unknown) {
        let mut pending = self
            .0
            .pending
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        pending.overflowed |= unknown.overflowed;
        pending.keys.extend(unknown.keys);
    }

    /// Takes all pending work.
    pub(super) fn take(&self) -> Pending {
        std::mem::take(
            &mut *self
                .0
                .pending
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Returns what the pending pushes explain, for all keys. They remain pending.
    pub(super) fn peek(&self) -> Explained {
        self.explained(|pending| pending.clone())
    }

    /// Returns what the pending pushes explain, for these keys. Copies only these: there may be a hundred
    /// thousand others, and the connection needs the lock for the next push.
    pub(super) fn peek_at<'k>(&self, keys: impl Iterator<Item = &'k [u8]>) -> Explained {
        self.explained(|pending| {
            let pushed = keys.filter(|key| pending.contains(*key));
            pushed.map(<[u8]>::to_vec).collect()
        })
    }

    fn explained(&self, of: impl FnOnce(&BTreeSet<Vec<u8>>) -> BTreeSet<Vec<u8>>) -> Explained {
        let pending = self
            .0
            .pending
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Explained {
            keys: of(&pending.keys),
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
    fn a_look_at_some_keys_explains_those_that_were_pushed_and_leaves_all_pending() {
        let pushes = Pushes::default();
        let key = |k: &str| Value::BulkString(k.as_bytes().to_vec());
        let push = |keys: Vec<Value>| pushes.receive(&invalidate(Value::Array(keys)));
        push(vec![key("a"), key("b")]);
        let look = || pushes.peek_at([&b"b"[..], b"c"].into_iter());
        assert_eq!(
            (look().explains(b"b"), look().explains(b"c")),
            (true, false)
        );
        assert_eq!(look().keys.len(), 1);
        assert!(pushes.peek().explains(b"a"));
        pushes.receive(&invalidate(Value::Nil));
        assert!(look().explains(b"c"));
        assert_eq!(pushes.take().keys.len(), 2);
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
