//! Opens the configured revocation store.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use crate::clock::{Clock, SystemClock};
use crate::config::{Config, IssuerConfig, Mode, Problems, StoreConfig};
use crate::metrics::FeedCounters;
use crate::revocation::{
    Diagnosis, FeedSettings, MemoryStore, PostgresOptions, PostgresStore, RedisOptions, RedisStore,
    RevocationStore, SqliteStore, StoreError,
};

use super::Store;

/// How long a store may take to become available at start. A configured store that cannot be reached is a
/// mistake, and never a reason to start with an empty list.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// The page size when revocations are only counted.
const COUNTED_AT_ONCE: usize = 10_000;

/// Opens the store. Reports what prevents that.
pub(crate) async fn open(
    config: &Config,
    clock: Arc<dyn Clock>,
    metrics: &Arc<FeedCounters>,
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

/// Opens the store without a view, to query it about one token outside of the service. Reports what prevents
/// that.
pub(crate) async fn open_to_ask(
    mut config: Config,
    metrics: &Arc<FeedCounters>,
    problems: &mut Problems,
) -> Option<Store> {
    let refused = match &config.revocation.store {
        StoreConfig::Memory => {
            Some("the revocations are in the memory of the serving process; ask its API".to_owned())
        }
        // Opening the file would create it.
        StoreConfig::Sqlite(path) if !path.exists() => {
            Some(format!("there is no file {}", path.display()))
        }
        StoreConfig::Sqlite(_) | StoreConfig::Redis(_) | StoreConfig::Postgres(_) => None,
    };
    if let Some(why) = refused {
        let path = store_path(&config.revocation.store);
        problems.push(config.document.problem(path, why));
        return None;
    }
    config.revocation.view = false;
    open(&config, Arc::new(SystemClock), metrics, problems).await
}

/// Opens the store as the service does at start. Returns what there is to report about it, apart from its
/// diagnosis.
pub(crate) async fn try_out(
    config: &Config,
    clock: Arc<dyn Clock>,
    metrics: &Arc<FeedCounters>,
    problems: &mut Problems,
) -> Vec<String> {
    let Some(store) = open(config, clock, metrics, problems).await else {
        return Vec::new();
    };
    match &config.revocation.store {
        StoreConfig::Sqlite(path) => {
            let version = timeout(PATIENCE, SqliteStore::version()).await;
            let version = version.ok().and_then(Result::ok).unwrap_or_default();
            let opened = format!("opened the file {} with SQLite {version}", path.display());
            vec![opened, count(&*store).await]
        }
        StoreConfig::Postgres(_) => vec![count(&*store).await],
        // The contents of Redis are part of its diagnosis; the memory store is empty.
        StoreConfig::Redis(_) | StoreConfig::Memory => Vec::new(),
    }
}

/// Describes how many revocations a store contains, as far as they can be counted within [`PATIENCE`].
async fn count(store: &dyn RevocationStore) -> String {
    let deadline = Instant::now() + PATIENCE;
    let (mut counted, mut after) = (0, None::<String>);
    loop {
        match timeout_at(deadline, store.list(after.as_deref(), COUNTED_AT_ONCE)).await {
            Ok(Ok(page)) => {
                counted += page.revocations.len();
                after = page.next;
                if after.is_none() {
                    return format!("the store holds {counted} revocations");
                }
            }
            Ok(Err(error)) => return format!("the revocations cannot be counted: {error}"),
            Err(_) => return format!("the store holds at least {counted} revocations"),
        }
    }
}

/// Checks whether a store that was not opened here supports what is configured.
pub(crate) async fn suffices(store: &Store, config: &Config, problems: &mut Problems) {
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

/// Reports what is configured and needs records of tokens, if the store keeps none.
pub(crate) fn keeps_records(store: &Store, config: &Config, problems: &mut Problems) {
    if store.registry().is_some() {
        return;
    }
    let revocation = &config.revocation;
    let wanted = [
        ("mode", revocation.mode == Mode::AllowList),
        ("note_tokens", revocation.note_tokens),
    ];
    for (key, _) in wanted.into_iter().filter(|(_, is_wanted)| *is_wanted) {
        let path = format!("revocation.{key}");
        let message = "this store keeps no records of tokens";
        problems.push(config.document.problem(&path, message));
    }
}

/// Checks a store for mistakes without opening it.
pub(crate) fn check(config: &Config, problems: &mut Problems) {
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
    metrics: &Arc<FeedCounters>,
) -> Result<Store, StoreError> {
    let settings = config.revocation.view.then(|| feed_settings(config));
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
    let asked = options.missing_rights(records_tokens(config));
    // The store has been opened; an error now will be reported when the store is queried.
    if let Ok(Ok(Some(warning))) = timeout(PATIENCE, asked).await {
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
    metrics: &Arc<FeedCounters>,
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

/// Returns why a store that cannot be examined while the service runs is not diagnosed.
pub(crate) fn unopened(config: &Config) -> Option<String> {
    let StoreConfig::Sqlite(path) = &config.revocation.store else {
        return None;
    };
    Some(format!(
        "the file {} was not opened: SQLite lets one process in at a time, and that is to be the service",
        path.display()
    ))
}

/// Diagnoses why the configured store could lose revocations.
pub(crate) async fn diagnose(config: &Config, problems: &mut Problems) -> Diagnosis {
    let diagnosed = match &config.revocation.store {
        StoreConfig::Memory => Ok(Diagnosis {
            warnings: vec!["the memory store forgets everything when the process ends".to_owned()],
            ..Diagnosis::default()
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

/// Returns whether the URL is valid. Reports what is not.
fn is_usable_postgres(config: &Config, options: &PostgresOptions, problems: &mut Problems) -> bool {
    let Err(error) = options.validate() else {
        return true;
    };
    let at = format!("revocation.store.postgres.{}", error.key);
    problems.push(config.document.problem(&at, error.why));
    false
}

/// Returns whether the options, and the files that they name, are valid. Reports what is not.
fn is_usable(config: &Config, redis: &RedisOptions, problems: &mut Problems) -> bool {
    let Err(error) = redis.validate() else {
        return true;
    };
    let at = format!("revocation.store.redis.{}", error.key);
    problems.push(config.document.problem(&at, error.why));
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::revocation::scripted_store::Answering;
    use crate::revocation::{Cutoff, KeyKind, Page, Revocation, RevocationKey};

    #[tokio::test(start_paused = true)]
    async fn counting_ends_and_says_what_was_counted() {
        let revocation = Revocation {
            key: RevocationKey::new(KeyKind::TokenId, "shop", "a"),
            cutoff: Cutoff::All,
            expires_at: Timestamp::NEVER,
            reason: None,
            actor: None,
            revoked_at: Timestamp::from_secs(0),
        };
        let store = Answering {
            page: Page {
                revocations: vec![revocation],
                next: Some("more".to_owned()),
            },
            ..Answering::with(Ok(None))
        };
        let said = timeout(PATIENCE * 2, count(&store)).await;
        let expected = "the store holds at least 1 revocations";
        assert_eq!(said.as_deref(), Ok(expected));
    }
}
