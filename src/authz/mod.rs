//! The decision: from a request to allow, deny or error. No network protocol, no store, no HTTP.
//!
//! [`Authorizer::decide`] is plain synchronous code over borrowed data. It answers with a [`Verdict`], or says that the
//! store must be asked first; only then does [`Authorizer::authorize`] await anything. Every front door translates to
//! an [`AuthzRequest`] and from a [`Verdict`].

mod authorizer;
mod cookie;
mod decision;
mod lookalike;
mod policy;
mod query;
mod request;
mod route;
#[cfg(test)]
mod tests;
mod token;

pub use authorizer::{Authorizer, Step};
pub use decision::{AllowReason, DenyReason, ErrorReason, Outcome, Verdict};
pub use policy::{DEFAULT_POLICY, OnUnavailable, Policies, Policy, TokenDemand, TypeDemand};
pub use request::{AuthzRequest, ProxyClaims, RequestHeaders};
pub use route::{PathMatch, Route};
pub use token::{Stripped, TokenPlace, TokenSource};
