//! The core of Revoxy: verifies JWTs, and decides whether they are revoked, from data in memory.
//!
//! There is no I/O here: keys, revocations and the time are passed in, and metrics are counted through handles. The modules are
//! listed in the order in which a check passes through them:
//!
//! 1. [`authz`] selects the policy, finds the token, and decides;
//! 2. [`jwt`] turns the token into verified claims;
//! 3. [`revocation`] looks up whether the token is revoked.
//!
//! The stores are in the crate `revoxy-stores`, and the service in the crate `revoxy`. See `ARCHITECTURE.md`.

pub mod authz;
pub mod clock;
pub mod digest;
pub mod jwt;
pub mod revocation;
#[cfg(feature = "simulation")]
pub mod simulation;
pub mod spelling;
