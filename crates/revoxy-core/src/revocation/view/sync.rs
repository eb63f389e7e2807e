//! The synchronization primitives of the view: atomics, a mutex, and an atomically swapped pointer.
//!
//! In production these are the standard library's and arc-swap's. `verification/interleavings` compiles the
//! same view with those of `loom` and `shuttle`, which choose after every step which thread runs next.

#[cfg(not(any(loom, shuttle)))]
pub(super) use {
    arc_swap::ArcSwap,
    std::sync::{Mutex, MutexGuard, atomic},
};

#[cfg(any(loom, shuttle))]
pub(super) use crate::stand_in::{ArcSwap, Mutex, MutexGuard, atomic};
