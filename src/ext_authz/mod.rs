//! The front end for Envoy: `envoy.service.auth.v3.Authorization` over gRPC, and the same checks for other proxies over
//! plain HTTP (`over_http.rs`).
//!
//! The only module that uses Envoy's messages, which `wire.rs` defines. `request.rs` translates a
//! `CheckRequest` to an [`AuthzRequest`](crate::authz::AuthzRequest), `response.rs` a
//! [`Verdict`](crate::authz::Verdict) to a `CheckResponse`; nothing is decided here.

mod decoded;
mod memory_budget;
mod message;
mod metadata;
mod over_http;
mod request;
mod response;
mod server;
mod service;
#[cfg(test)]
mod tests;
mod wire;

pub use memory_budget::{ConnectionLoad, MemoryBudget};
pub use message::ARRIVES_WITHIN;
pub use over_http::{DescribedBy, router as http_router};
pub use response::{Answers, BodyFormat};
pub use server::CheckServer;
pub use service::ExtAuthz;
