//! Revoxy: Envoy external authorization that verifies JWTs and refuses revoked ones.
//!
//! The modules are listed in the order in which a check passes through them:
//!
//! 1. [`ext_authz`] decodes Envoy's `CheckRequest`;
//! 2. [`authz`] selects the policy, finds the token, and decides;
//! 3. [`jwt`] turns the token into verified claims;
//! 4. [`revocation`] looks up whether the token is revoked;
//! 5. [`authz`] makes the verdict, [`ext_authz`] encodes it, and [`metrics`] counts it.
//!
//! Outside of that path: [`keys`] fetches the issuers' keys, [`api`] revokes, [`operations`] answers probes
//! and scrapes, [`config`] reads the configuration, `engine` builds the authorizer, the verifier and the
//! store from the configuration, [`app`] puts everything together, and [`explain`] shows the steps of a
//! verdict. See `ARCHITECTURE.md`.

pub mod api;
pub mod app;
pub mod cli;
pub mod config;
mod engine;
pub mod explain;
pub mod ext_authz;
pub mod keys;
pub mod logging;
pub mod metrics;
pub mod operations;
mod recorder;
pub mod revocation;

#[cfg(feature = "simulation")]
pub use revoxy_core::simulation;
pub use revoxy_core::{authz, clock, jwt};
pub use revoxy_stores::tls;

use revoxy_core::spelling;
