//! The revocation API, over HTTP on a port of its own.
//!
//! `POST /oauth2/revoke` is RFC 7009: whoever holds a token may revoke it.

mod revoke;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::post;

use crate::clock::Clock;
use crate::jwt::{MAX_TOKEN_BYTES, Verifier};
use crate::metrics::Metrics;
use crate::revocation::{CheckedTypes, RevocationStore};

/// A token with every byte escaped, and the other parameters.
const MAX_BODY: usize = 3 * MAX_TOKEN_BYTES + 1024;
/// How long the store may take to record a revocation.
const STORE_DEADLINE: Duration = Duration::from_secs(2);

/// The revocation API.
#[derive(Clone)]
pub struct Api {
    verifier: Arc<Verifier>,
    store: Arc<dyn RevocationStore>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    types: CheckedTypes,
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
        }
    }

    /// The routes.
    pub fn router(self) -> Router {
        Router::new()
            .route("/oauth2/revoke", post(revoke::handle))
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .with_state(self)
    }
}
