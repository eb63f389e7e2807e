//! The operations port: `/metrics`, `/livez`, `/readyz`.
//!
//! Liveness only reports that the process answers: the process must not be restarted because a store is down.
//! Readiness reports that the service has started and is not shutting down. It does not depend on the store
//! either: if every replica were unready, a proxy would find no replica to query, and the configured
//! behaviour for that case would never take effect.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::Mutex;

use crate::clock::Moment;
use crate::metrics::{Metrics, MetricsError};
use crate::revocation::RevocationStore;

/// Whether the service is ready for requests.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Sets whether the service is ready.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::SeqCst);
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// Updates metrics from the current state of a component.
type CacheReading = Box<dyn Fn(&Metrics) + Send + Sync>;

/// The state that the operations port shows.
#[derive(Clone)]
pub struct Operations {
    metrics: Arc<Metrics>,
    readiness: Readiness,
    store: Arc<OnceLock<Arc<dyn RevocationStore>>>,
    cache: Arc<OnceLock<CacheReading>>,
    scrapes: Arc<Scrapes>,
}

impl Operations {
    /// Creates the port's state. The store is added later: see [`Operations::opened`].
    pub fn new(metrics: Arc<Metrics>, readiness: Readiness) -> Self {
        Self {
            metrics,
            readiness,
            store: Arc::default(),
            cache: Arc::default(),
            scrapes: Arc::default(),
        }
    }

    /// Adds the store, once it is open and its view complete. Probes are answered before that: reading a
    /// large list takes time, during which the process must not be considered unavailable.
    pub fn opened(&self, store: Arc<dyn RevocationStore>) {
        // A store is opened only once.
        let _ = self.store.set(store);
    }

    /// Registers the cache of tokens: before each scrape, `read` updates its metrics.
    pub fn caching(&self, read: impl Fn(&Metrics) + Send + Sync + 'static) {
        // There is only one cache.
        let _ = self.cache.set(Box::new(read));
    }

    fn render(&self) -> Result<Bytes, MetricsError> {
        match self.store.get().map(|store| store.view()) {
            Some(Some(view)) => {
                let age = view.age(Moment::now());
                self.metrics.view(view.len(), view.bytes(), age);
            }
            Some(None) => self.metrics.view(0, 0, Some(Duration::ZERO)),
            None => self.metrics.view(0, 0, None),
        }
        if let Some(read) = self.cache.get() {
            read(&self.metrics);
        }
        self.metrics.render().map(Bytes::from)
    }

    /// Returns the routes.
    pub fn router(self) -> Router {
        Router::new()
            .route("/metrics", get(scrape))
            .route("/livez", get(async || "ok\n"))
            .route("/readyz", get(ready))
            .with_state(self)
    }
}

/// Serializes scrapes: a scrape takes milliseconds, and many at once would keep the threads from answering
/// probes. Scrapes that were requested before a scrape began share its result.
#[derive(Default)]
struct Scrapes {
    begun: AtomicU64,
    last: Mutex<(u64, Bytes)>,
}

impl Scrapes {
    async fn share(
        &self,
        render: impl Fn() -> Result<Bytes, MetricsError>,
    ) -> Result<Bytes, MetricsError> {
        let next = self.begun.load(Ordering::SeqCst) + 1;
        let mut last = self.last.lock().await;
        if last.0 < next {
            let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
            *last = (number, render()?);
        }
        Ok(last.1.clone())
    }
}

async fn scrape(State(operations): State<Operations>) -> Response {
    match operations.scrapes.share(|| operations.render()).await {
        Ok(text) => {
            let content_type = [(
                header::CONTENT_TYPE,
                "text/plain; version=0.0.4; charset=utf-8",
            )];
            (content_type, text).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "cannot render the metrics");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn ready(State(operations): State<Operations>) -> Response {
    if operations.readiness.get() {
        "ok\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response()
    }
}
