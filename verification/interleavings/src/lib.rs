//! The view of `revoxy`, compiled from its own source files with the atomics of `loom` or `shuttle`.
//!
//! The files are included by their paths, not copied. Stand-ins take the place of what would bring in the rest of the crate: keys,
//! which need a digest and verified claims, and arc-swap, which neither model checker can look into.

#![cfg(any(loom, shuttle))]

#[path = "../../../crates/revoxy-core/src/clock/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the view needs little of it")]
mod clock;
#[allow(dead_code, reason = "the tests choose hashes by themselves")]
mod digest;
mod revocation;
mod stand_in;

pub use clock::Timestamp;
pub use revocation::{Cutoff, Key, Statement, TestView};
