//! The front door for Envoy: `envoy.service.auth.v3.Authorization` over gRPC.
//!
//! The only room that knows Envoy's messages. `request.rs` translates a `CheckRequest` to an
//! [`AuthzRequest`](crate::authz::AuthzRequest), `response.rs` a [`Verdict`](crate::authz::Verdict) to a
//! `CheckResponse`; nothing is decided here.

mod metadata;
mod request;
mod response;
mod service;
#[cfg(test)]
mod tests;

pub use response::{Answers, BodyFormat};
pub use service::ExtAuthz;
