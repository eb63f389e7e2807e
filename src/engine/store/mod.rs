//! Opens the configured revocation store, and examines it.

#[cfg(not(all(feature = "postgres", feature = "redis", feature = "sqlite")))]
mod absent;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "sqlite")]
mod sqlite;

#[cfg(not(feature = "postgres"))]
use absent::postgres;
#[cfg(not(feature = "redis"))]
use absent::redis;
#[cfg(not(feature = "sqlite"))]
use absent::sqlite;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::clock::{Clock, SystemClock};
use crate::config::{Config, Mode, Problems, StoreConfig};
use crate::metrics::FeedCounters;
use crate::revocation::{Diagnosis, MemoryStore, RevocationStore};

use super::Store;

/// How long a store may take to become available at start. A configured store that cannot be reached is a
/// mistake, and never a reason to start with an empty list.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// The page size when revocations are only counted.
const COUNTED_AT_ONCE: usize = 10_000;

/// A mistake in the options of a store: the key in its section, and what is wrong.
type Mistake = (String, String);

/// Opens the store. Reports what prevents that.
pub(crate) async fn open(
    config: &Config,
    clock: Arc<dyn Clock>,
    metrics: &Arc<FeedCounters>,
    problems: &mut Problems,
) -> Option<Store> {
    if !is_usable(config, problems) {
        return None;
    }
    let opened = match &config.revocation.store {
        StoreConfig::Memory => Ok(Arc::new(MemoryStore::new(clock)) as Store),
        StoreConfig::Sqlite(path) => sqlite::open(path, clock).await,
        StoreConfig::Redis(options) => redis::open(config, options, clock, metrics).await,
        StoreConfig::Postgres(options) => postgres::open(config, options, clock, metrics).await,
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
    if !is_usable(&config, problems) {
        return None;
    }
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
        StoreConfig::Sqlite(path) => vec![sqlite::opened(path).await, count(&*store).await],
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
    is_usable(config, problems);
}

/// Returns whether the options of the store, and the files that they name, are valid. Reports what is not.
fn is_usable(config: &Config, problems: &mut Problems) -> bool {
    let store = &config.revocation.store;
    let mistake = match store {
        StoreConfig::Memory => None,
        StoreConfig::Sqlite(path) => sqlite::mistake(path),
        StoreConfig::Redis(options) => redis::mistake(options),
        StoreConfig::Postgres(options) => postgres::mistake(options),
    };
    let Some((key, why)) = mistake else {
        return true;
    };
    let at = [store_path(store), &key].join(if key.is_empty() { "" } else { "." });
    problems.push(config.document.problem(&at, why));
    false
}

fn store_path(store: &StoreConfig) -> &'static str {
    match store {
        StoreConfig::Memory => "revocation.store.memory",
        StoreConfig::Sqlite(_) => "revocation.store.sqlite",
        StoreConfig::Redis(_) => "revocation.store.redis",
        StoreConfig::Postgres(_) => "revocation.store.postgres",
    }
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
    if !is_usable(config, problems) {
        return Diagnosis::default();
    }
    let diagnosed = match &config.revocation.store {
        StoreConfig::Memory => Ok(Diagnosis {
            warnings: vec!["the memory store forgets everything when the process ends".to_owned()],
            ..Diagnosis::default()
        }),
        StoreConfig::Sqlite(_) => Ok(Diagnosis::default()),
        StoreConfig::Redis(options) => redis::diagnose(config, options).await,
        StoreConfig::Postgres(options) => postgres::diagnose(options).await,
    };
    diagnosed.unwrap_or_else(|error| {
        let path = store_path(&config.revocation.store);
        problems.push(config.document.problem(path, error.to_string()));
        Diagnosis::default()
    })
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

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
