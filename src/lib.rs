//! Revoxy: Envoy external authorization that verifies JWTs and refuses the revoked ones.
//!
//! The modules stand in the order in which a check passes through them:
//!
//! 1. [`ext_authz`] decodes Envoy's `CheckRequest`;
//! 2. [`authz`] chooses the policy, finds the token, and decides;
//! 3. [`jwt`] turns the token into verified claims;
//! 4. [`revocation`] says whether a revocation stands against them;
//! 5. [`authz`] has its verdict, [`ext_authz`] encodes it, [`metrics`] counts it.
//!
//! Beside the path: [`keys`] fetches the issuers' keys, [`api`] revokes, [`operations`] answers probes and scrapes, [`config`] reads the configuration,
//! [`app`] puts everything together, [`explain`] shows the steps of a verdict. See `ARCHITECTURE.md`.

pub mod api;
pub mod app;
pub mod authz;
pub mod cli;
pub mod clock;
pub mod config;
pub mod explain;
pub mod ext_authz;
pub mod jwt;
pub mod keys;
pub mod logging;
pub mod metrics;
pub mod operations;
pub mod revocation;
#[cfg(feature = "simulation")]
pub mod simulation;
pub mod tls;
