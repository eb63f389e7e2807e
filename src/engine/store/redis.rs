//! The store in Redis.

use std::sync::Arc;

use tokio::time::timeout;

use crate::clock::Clock;
use crate::config::Config;
use crate::metrics::FeedCounters;
use crate::revocation::{Diagnosis, RedisOptions, RedisStore, StoreError};

use super::{Mistake, PATIENCE, Store};

pub(super) fn mistake(options: &RedisOptions) -> Option<Mistake> {
    let error = options.validate().err()?;
    Some((error.key, error.why))
}

pub(super) async fn open(
    config: &Config,
    options: &RedisOptions,
    clock: Arc<dyn Clock>,
    metrics: &Arc<FeedCounters>,
) -> Result<Store, StoreError> {
    let settings = config.revocation.view.then(|| config.feed_settings());
    let store = match settings {
        Some(settings) => RedisStore::with_view(options, settings, clock, metrics.clone())?,
        None => RedisStore::new(options, clock)?.counting(metrics.clone()),
    };
    store.ready(PATIENCE).await?;
    warn_of_missing_rights(config, options).await;
    Ok(Arc::new(store))
}

/// Warns about missing write permissions. A read-only user is not a mistake if applications write the
/// revocations.
async fn warn_of_missing_rights(config: &Config, options: &RedisOptions) {
    let asked = options.missing_rights(config.records_tokens());
    // The store has been opened; an error now will be reported when the store is queried.
    if let Ok(Ok(Some(warning))) = timeout(PATIENCE, asked).await {
        tracing::warn!(warning, "revocations cannot be written to this Redis");
    }
}

pub(super) async fn diagnose(
    config: &Config,
    options: &RedisOptions,
) -> Result<Diagnosis, StoreError> {
    let (records, issuers) = (config.records_tokens(), config.issuer_names());
    options.diagnose(records, &issuers).await
}
