//! Revocation: what is revoked, where revocations are stored, and how a check looks them up. Everything is handed on from the
//! crates `revoxy-core` and `revoxy-stores`.

pub use revoxy_core::revocation::*;
pub use revoxy_stores::*;
