//! What the view's threads share memory by: atomics, a lock, and a pointer that is exchanged.
//!
//! In production these are the standard library's and arc-swap's. `verification/interleavings` compiles the same view with those
//! of `loom` and `shuttle`, which decide after every step which thread goes on.

#[cfg(not(any(loom, shuttle)))]
pub(super) use {
    arc_swap::ArcSwap,
    std::sync::{Mutex, MutexGuard, atomic},
};

#[cfg(any(loom, shuttle))]
pub(super) use crate::stand_in::{ArcSwap, Mutex, MutexGuard, atomic};
