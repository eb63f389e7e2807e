//! The revocation API, over HTTP on a port of its own.
//!
//! `POST /oauth2/revoke` is RFC 7009: whoever holds a token may revoke it. Everything under `/v1` is for the
//! administrator: to register, list, revoke and un-revoke tokens.

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

/// The maximum size of a body: a token with every byte escaped, and the other parameters.
const MAX_BODY: usize = 3 * MAX_TOKEN_BYTES + 1024;
/// The timeout for recording a revocation in the store.
const STORE_DEADLINE: Duration = Duration::from_secs(2);
/// How long a request waits for an issuer's keys.
const KEYS_DEADLINE: Duration = Duration::from_secs(2);

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
    /// The upper bound on the time until every replica has applied an acknowledged change.
    enforced_within: Duration,
}

impl Api {
    /// Creates the API. Only tokens of these `types` can be revoked, because no others are checked.
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

    /// Adds everything under `/v1`, for the administrator with this key.
    pub fn with_admin(self, admin: Option<AdminKey>) -> Self {
        Self { admin, ..self }
    }

    /// Sets whether only registered tokens are accepted.
    pub fn on_allow_list(self, allow_list: bool) -> Self {
        Self { allow_list, ..self }
    }

    /// Sets the upper bound on the propagation delay: the time until every replica has applied a revocation.
    pub fn enforced_within(self, enforced_within: Duration) -> Self {
        Self {
            enforced_within,
            ..self
        }
    }

    /// Returns the routes.
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
