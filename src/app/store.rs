//! Opens the configured revocation store.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::{Config, Problems, StoreConfig};
use crate::metrics::FeedMetrics;
use crate::revocation::{
    FeedSettings, MemoryStore, RedisOptions, RedisStore, SqliteStore, StoreError,
};

use super::Store;

/// How long a store may take to be there at start. A store that is configured and cannot be reached is a mistake, and
/// never a reason to start with an empty list.
const PATIENCE: Duration = Duration::from_secs(5);

/// Opens the store; what prevents it is reported.
pub(super) async fn open(
    config: &Config,
    clock: Arc<dyn Clock>,
    metrics: &FeedMetrics,
    problems: &mut Problems,
) -> Option<Store> {
    let opened = match &config.revocation.store {
        StoreConfig::Memory => Ok(Arc::new(MemoryStore::new(clock)) as Store),
        StoreConfig::Sqlite(path) => sqlite(path, clock).await,
        StoreConfig::Redis(redis) => {
            if !is_usable(config, redis, problems) {
                return None;
            }
            open_redis(config, redis, clock, metrics).await
        }
    };
    match opened {
        Ok(store) => Some(store),
        Err(error) => {
            let path = store_path(&config.revocation.store);
            problems.push(config.document.problem(path, error.to_string()));
            None
        }
    }
}

/// Whether a store that was not opened here can do what is configured.
pub(super) async fn suffices(store: &Store, config: &Config, problems: &mut Problems) {
    if config.revocation.lookups.is_empty() {
        return;
    }
    if let Err(error) = store.lookup_foreign(&[]).await {
        let problem = config
            .document
            .problem("revocation.lookups", error.to_string());
        problems.push(problem);
    }
}

/// Looks at what can be wrong with a store without opening it.
pub(super) fn check(config: &Config, problems: &mut Problems) {
    if let StoreConfig::Redis(redis) = &config.revocation.store {
        is_usable(config, redis, problems);
    }
}

fn store_path(store: &StoreConfig) -> &'static str {
    match store {
        StoreConfig::Memory => "revocation.store.memory",
        StoreConfig::Sqlite(_) => "revocation.store.sqlite",
        StoreConfig::Redis(_) => "revocation.store.redis",
    }
}

async fn sqlite(path: &Path, clock: Arc<dyn Clock>) -> Result<Store, StoreError> {
    let store = SqliteStore::open(path, clock).await;
    store.map(|s| Arc::new(s) as Store).map_err(|e| match e {
        StoreError::Failed(why) => StoreError::Failed(format!("{}: {why}", path.display())),
        StoreError::Unavailable(why) => {
            StoreError::Unavailable(format!("{}: {why}", path.display()))
        }
        other => other,
    })
}

async fn open_redis(
    config: &Config,
    options: &RedisOptions,
    clock: Arc<dyn Clock>,
    metrics: &FeedMetrics,
) -> Result<Store, StoreError> {
    let revocation = &config.revocation;
    let store = if revocation.view {
        let settings = FeedSettings {
            max_staleness: revocation.max_staleness,
            deletions: revocation.deletions,
            compare_every: revocation.compare_every,
        };
        RedisStore::with_view(options, settings, clock, metrics.clone())?
    } else {
        RedisStore::new(options, clock)?
    };
    store.ready(PATIENCE).await?;
    Ok(Arc::new(store))
}

/// Why the configured store could lose revocations.
pub(super) async fn diagnose(config: &Config, problems: &mut Problems) -> Vec<String> {
    match &config.revocation.store {
        StoreConfig::Memory => {
            vec!["the memory store forgets everything when the process ends".to_owned()]
        }
        StoreConfig::Sqlite(_) => Vec::new(),
        StoreConfig::Redis(redis) => {
            if !is_usable(config, redis, problems) {
                return Vec::new();
            }
            match redis.diagnose().await {
                Ok(warnings) => warnings,
                Err(error) => {
                    let path = store_path(&config.revocation.store);
                    problems.push(config.document.problem(path, error.to_string()));
                    Vec::new()
                }
            }
        }
    }
}

/// Whether the options are right, and the files that they name; what is not is reported.
fn is_usable(config: &Config, redis: &RedisOptions, problems: &mut Problems) -> bool {
    let Err(error) = redis.validate() else {
        return true;
    };
    let at = format!("revocation.store.redis.{}", error.key);
    problems.push(config.document.problem(&at, error.why));
    false
}
