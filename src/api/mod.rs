//! The revocation API, over HTTP on a port of its own.
//!
//! `POST /oauth2/revoke` is RFC 7009: whoever holds a token may revoke it. Everything under `/v1` is for the
//! administrator: tokens are registered, listed, revoked and taken back there.

mod admin;
mod answer;
mod revoke;
mod tokens;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::{get, post};

use crate::clock::Clock;
use crate::jwt::{MAX_TOKEN_BYTES, Verifier};
use crate::metrics::Metrics;
use crate::revocation::{CheckedTypes, RevocationStore};

pub use admin::AdminKey;

/// A token with every byte escaped, and the other parameters.
const MAX_BODY: usize = 3 * MAX_TOKEN_BYTES + 1024;
/// How long the store may take to record a revocation.
const STORE_DEADLINE: Duration = Duration::from_secs(2);
/// How long a request waits for an issuer's keys.
const KEYS_DEADLINE: Duration = Duration::from_secs(2);
/// By how much a revocation outlives the token, on top of the leeway: the clocks of replicas and of the store differ.
const CLOCK_MARGIN: Duration = Duration::from_secs(60);

/// The revocation API.
#[derive(Clone)]
pub struct Api {
    verifier: Arc<Verifier>,
    store: Arc<dyn RevocationStore>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    types: CheckedTypes,
    admin: Option<AdminKey>,
    allow_list: bool,
    /// Within what time every replica knows what was acknowledged.
    enforced_within: Duration,
}

impl Api {
    /// Over these; only tokens of these `types` can be revoked, because no others are checked.
    pub fn new(
        verifier: Arc<Verifier>,
        store: Arc<dyn RevocationStore>,
        types: CheckedTypes,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            verifier,
            store,
            clock,
            metrics,
            types,
            admin: None,
            allow_list: false,
            enforced_within: Duration::ZERO,
        }
    }

    /// The same, with what is under `/v1` for whoever has this key.
    pub fn with_admin(self, admin: Option<AdminKey>) -> Self {
        Self { admin, ..self }
    }

    /// The same, where only registered tokens count.
    pub fn on_allow_list(self, allow_list: bool) -> Self {
        Self { allow_list, ..self }
    }

    /// The same, where replicas may know of a revocation so much later.
    pub fn enforced_within(self, enforced_within: Duration) -> Self {
        Self {
            enforced_within,
            ..self
        }
    }

    /// The routes.
    pub fn router(self) -> Router {
        let administered = Router::new()
            .route("/tokens", get(tokens::list).post(tokens::register))
            .route("/tokens/revoke", post(tokens::revoke))
            .route("/tokens/unrevoke", post(tokens::unrevoke))
            .fallback(unknown)
            .layer(from_fn_with_state(self.clone(), admin::demand));
        Router::new()
            .route("/oauth2/revoke", post(revoke::handle))
            .nest("/v1", administered)
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .with_state(self)
    }
}

async fn unknown() -> Response {
    answer::error(StatusCode::NOT_FOUND, "not_found", "there is no such path")
}
