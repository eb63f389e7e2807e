//! Takes the place of `arc_swap::ArcSwap`, whose own atomics neither model checker sees.
//!
//! arc-swap documents that each operation holds a `SeqCst` read-modify-write. This stand-in promises less: a store releases, a load
//! acquires, and there is no order over several pointers. So a test that passes here does not lean on more than arc-swap gives,
//! and a reader may be handed an old table for as long as nothing tells it of the new one.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::atomic::{AtomicUsize, Ordering};

/// A pointer that is exchanged as a whole.
pub(crate) struct ArcSwap<T> {
    /// Which of the values is the present one. The only part that the model checker sees.
    current: AtomicUsize,
    /// All values there ever were. The lock is the standard library's: it orders nothing in the model. Nobody ever waits for it,
    /// because a model checker runs one thread at a time, and no thread loses its turn while it holds the lock.
    values: Mutex<Vec<Arc<T>>>,
}

impl<T> ArcSwap<T> {
    pub(crate) fn from_pointee(value: T) -> Self {
        Self {
            current: AtomicUsize::new(0),
            values: Mutex::new(vec![Arc::new(value)]),
        }
    }

    /// arc-swap returns a guard that is cheaper than an `Arc` and reads as one.
    pub(crate) fn load(&self) -> Arc<T> {
        let at = self.current.load(Ordering::Acquire);
        let values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&values[at])
    }

    pub(crate) fn load_full(&self) -> Arc<T> {
        self.load()
    }

    pub(crate) fn store(&self, value: Arc<T>) {
        let at = {
            let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
            values.push(value);
            values.len() - 1
        };
        self.current.store(at, Ordering::Release);
    }
}

impl<T> fmt::Debug for ArcSwap<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ArcSwap(…)")
    }
}
