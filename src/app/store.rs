//! Opens the configured revocation store.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::{Config, IssuerConfig, Mode, Problems, StoreConfig};
use crate::metrics::FeedMetrics;
use crate::revocation::{
    Diagnosis, Endpoint, FeedSettings, MemoryStore, PostgresOptions, PostgresStore,
    RedisClusterStore, RedisOptions, RedisStore, SqliteStore, StoreError,
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
        StoreConfig::Postgres(postgres) => {
            if !is_usable_postgres(config, postgres, problems) {
                return None;
            }
            open_postgres(config, postgres, clock, metrics).await
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
    match &config.revocation.store {
        StoreConfig::Redis(redis) => {
            is_usable(config, redis, problems);
        }
        StoreConfig::Postgres(postgres) => {
            is_usable_postgres(config, postgres, problems);
        }
        StoreConfig::Memory | StoreConfig::Sqlite(_) => {}
    }
}

fn store_path(store: &StoreConfig) -> &'static str {
    match store {
        StoreConfig::Memory => "revocation.store.memory",
        StoreConfig::Sqlite(_) => "revocation.store.sqlite",
        StoreConfig::Redis(_) => "revocation.store.redis",
        StoreConfig::Postgres(_) => "revocation.store.postgres",
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
    let settings = config.revocation.view.then(|| feed_settings(config));
    if matches!(options.endpoint, Endpoint::Cluster(_)) {
        let store = match settings {
            Some(settings) => {
                RedisClusterStore::with_view(options, settings, clock, metrics.clone())?
            }
            None => RedisClusterStore::new(options, clock)?.counting(metrics.clone()),
        };
        store.ready(PATIENCE).await?;
        warn_of_missing_rights(config, options).await;
        return Ok(Arc::new(store));
    }
    let store = match settings {
        Some(settings) => RedisStore::with_view(options, settings, clock, metrics.clone())?,
        None => RedisStore::new(options, clock)?.counting(metrics.clone()),
    };
    store.ready(PATIENCE).await?;
    warn_of_missing_rights(config, options).await;
    Ok(Arc::new(store))
}

/// A user that may only read is no mistake where applications write the revocations.
async fn warn_of_missing_rights(config: &Config, options: &RedisOptions) {
    let asked = options.missing_rights(records_tokens(config));
    // The store has been opened: what fails now is told when it is asked.
    if let Ok(Ok(Some(warning))) = tokio::time::timeout(PATIENCE, asked).await {
        tracing::warn!(warning, "revocations cannot be written to this Redis");
    }
}

fn records_tokens(config: &Config) -> bool {
    config.revocation.note_tokens || config.revocation.mode == Mode::AllowList
}

async fn open_postgres(
    config: &Config,
    options: &PostgresOptions,
    clock: Arc<dyn Clock>,
    metrics: &FeedMetrics,
) -> Result<Store, StoreError> {
    let store = if config.revocation.view {
        let (settings, metrics) = (feed_settings(config), metrics.clone());
        PostgresStore::with_view(options, settings, PATIENCE, clock, metrics).await?
    } else {
        PostgresStore::open(options, PATIENCE, clock).await?
    };
    Ok(Arc::new(store))
}

fn feed_settings(config: &Config) -> FeedSettings {
    FeedSettings {
        max_staleness: config.revocation.max_staleness,
        deletions: config.revocation.deletions,
        compare_every: config.revocation.compare_every,
        lookups: config.revocation.lookups.clone(),
        issuers: issuers(config),
    }
}

fn issuers(config: &Config) -> Vec<String> {
    let name = |issuer: &IssuerConfig| issuer.profile.name.to_string();
    config.issuers.iter().map(name).collect()
}

/// Why the configured store could lose revocations.
pub(super) async fn diagnose(config: &Config, problems: &mut Problems) -> Diagnosis {
    let diagnosed = match &config.revocation.store {
        StoreConfig::Memory => Ok(Diagnosis {
            warnings: vec!["the memory store forgets everything when the process ends".to_owned()],
            notes: Vec::new(),
        }),
        StoreConfig::Sqlite(_) => Ok(Diagnosis::default()),
        StoreConfig::Redis(redis) if !is_usable(config, redis, problems) => {
            Ok(Diagnosis::default())
        }
        StoreConfig::Redis(redis) => {
            redis
                .diagnose(records_tokens(config), &issuers(config))
                .await
        }
        StoreConfig::Postgres(postgres) if !is_usable_postgres(config, postgres, problems) => {
            Ok(Diagnosis::default())
        }
        StoreConfig::Postgres(postgres) => postgres.diagnose().await,
    };
    diagnosed.unwrap_or_else(|error| {
        let path = store_path(&config.revocation.store);
        problems.push(config.document.problem(path, error.to_string()));
        Diagnosis::default()
    })
}

/// Whether the URL is right; what is not is reported.
fn is_usable_postgres(config: &Config, options: &PostgresOptions, problems: &mut Problems) -> bool {
    let Err(error) = options.validate() else {
        return true;
    };
    let at = format!("revocation.store.postgres.{}", error.key);
    problems.push(config.document.problem(&at, error.why));
    false
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
