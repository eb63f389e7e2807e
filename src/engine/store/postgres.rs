//! The store in PostgreSQL.

use std::sync::Arc;

use crate::clock::Clock;
use crate::config::Config;
use crate::metrics::FeedCounters;
use crate::revocation::{Diagnosis, PostgresOptions, PostgresStore, StoreError};

use super::{Mistake, PATIENCE, Store};

pub(super) fn mistake(options: &PostgresOptions) -> Option<Mistake> {
    let error = options.validate().err()?;
    Some((error.key.to_owned(), error.why))
}

pub(super) async fn open(
    config: &Config,
    options: &PostgresOptions,
    clock: Arc<dyn Clock>,
    metrics: &Arc<FeedCounters>,
) -> Result<Store, StoreError> {
    let store = if config.revocation.view {
        let (settings, metrics) = (config.feed_settings(), metrics.clone());
        PostgresStore::with_view(options, settings, PATIENCE, clock, metrics).await?
    } else {
        PostgresStore::open(options, PATIENCE, clock).await?
    };
    Ok(Arc::new(store))
}

pub(super) async fn diagnose(options: &PostgresOptions) -> Result<Diagnosis, StoreError> {
    options.diagnose().await
}
