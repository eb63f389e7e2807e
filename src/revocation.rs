//! Revocation: what is revoked, where revocations are stored, and how a check looks them up. Everything is
//! re-exported from the crates `revoxy-core` and `revoxy-stores`.

pub use revoxy_core::revocation::*;
pub use revoxy_stores::*;
