//! What the server has told a tracking connection and the feed has not yet acted upon.
//!
//! The library hands over every push before the reply that follows it on the connection, so when a reply has arrived,
//! what was pushed before it is here. Keys are collected as a set, which is bounded: past the bound it is cheaper, and
//! as right, to read everything again.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use redis::{PushInfo, PushKind, Value};
use tokio::sync::Notify;

/// More changed keys than this at once: read everything again.
const MAX_KEYS: usize = 100_000;

#[derive(Clone, Default)]
pub(super) struct Pushes(Arc<Inner>);

#[derive(Default)]
struct Inner {
    pending: Mutex<Pending>,
    arrived: Notify,
}

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Keys that were written, deleted, evicted or expired.
    pub keys: HashSet<Vec<u8>>,
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

    /// The keys that are pending, which stay so.
    pub(super) fn peek(&self) -> HashSet<Vec<u8>> {
        self.0
            .pending
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .keys
            .clone()
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
