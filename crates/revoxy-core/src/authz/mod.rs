//! The decision: from a request to allow, deny or error. Independent of network protocols, stores and HTTP.
//!
//! [`Authorizer::decide`] is plain synchronous code over borrowed data. It returns a [`Verdict`], or that the
//! store must be queried first; only then does [`Authorizer::authorize`] await anything. Every front end
//! translates its messages to an [`AuthzRequest`], and the [`Verdict`] back.

mod ambiguity;
mod authorizer;
mod claim_headers;
mod cookie;
mod decision;
mod demands;
mod lookalike;
mod policies;
mod policy;
mod query;
mod request;
mod route;
#[cfg(test)]
mod tests;
mod token;
mod verdict;

pub use authorizer::{Authorizer, Step};
pub use claim_headers::{
    ClaimHeader, ClaimHeaders, Forwarded, HeaderFormat, MAX_HEADER_VALUE, MAX_SEPARATORS,
};
pub use decision::{AllowReason, DenyReason, ErrorReason, Outcome};
pub use demands::{ClaimDemand, Condition, Demands, Unmet};
pub use policies::{DEFAULT_POLICY, Policies};
pub use policy::{OnAllow, OnUnavailable, Policy, TokenDemand, TypeDemand};
pub use request::{AuthzRequest, ProxyClaims, RequestHeaders};
pub use route::{PathMatch, Route, normal_path};
pub use token::{Stripped, TokenPlace, TokenSource};
pub use verdict::Verdict;
