//! What takes the place of the atomics, the lock and the pointer of production: see `crates/revoxy-core/src/revocation/view/sync.rs`.

mod arc_swap;
#[cfg(loom)]
pub(crate) mod atomic;

pub(crate) use self::arc_swap::ArcSwap;
#[cfg(loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard};
#[cfg(shuttle)]
pub(crate) use shuttle::sync::{Mutex, MutexGuard, atomic};
