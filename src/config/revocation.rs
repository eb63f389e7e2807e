//! The section `revocation`.

use std::path::PathBuf;
use std::time::Duration;

use crate::revocation::{
    CheckedTypes, Deletions, KeyRules, Lookups, PostgresOptions, RedisOptions,
};

use super::document::Document;
use super::mode::Mode;
use super::postgres;
use super::problem::Problems;
use super::raw::{RawRead, RawRevocation, RawStore, RawTokenTypeName};
use super::redis;

/// The configuration of the revocation list.
#[derive(Clone, Debug)]
pub struct RevocationConfig {
    /// How a token is treated if there is no statement about it.
    pub mode: Mode,
    /// Whether tokens that are seen are recorded.
    pub note_tokens: bool,
    /// Which token types are checked; none if revocation is disabled.
    pub types: CheckedTypes,
    /// The store of the revocations.
    pub store: StoreConfig,
    /// How long a check waits for the store.
    pub timeout: Duration,
    /// Whether a view follows a shared store. If not, every check queries the store.
    pub view: bool,
    /// How old the view may be before checks query the store themselves.
    pub max_staleness: Duration,
    /// What a deleted key means.
    pub deletions: Deletions,
    /// How often the view is compared with the store, to find changes that the store did not report.
    pub compare_every: Duration,
    /// The application keys that are looked up in addition to the native keys.
    pub lookups: Lookups,
}

impl RevocationConfig {
    /// Returns which keys are made for a token.
    pub fn key_rules(&self) -> KeyRules {
        KeyRules {
            types: self.types,
            lookups: self.lookups.clone(),
            allow_list: self.mode == Mode::AllowList,
        }
    }
}

/// The store of the revocations.
#[derive(Clone, Debug)]
pub enum StoreConfig {
    /// In memory, until the process ends.
    Memory,
    /// In an SQLite file.
    Sqlite(PathBuf),
    /// In Redis.
    Redis(Box<RedisOptions>),
    /// In PostgreSQL.
    Postgres(PostgresOptions),
}

/// Less than Envoy's 200 ms for the whole check, with room for the network.
const DEFAULT_TIMEOUT: Duration = Duration::from_millis(50);
const DEFAULT_MAX_STALENESS: Duration = Duration::from_secs(1);
/// Four heartbeats are sent within this time; with a shorter one, heartbeats would be most of the load on the
/// store.
const LEAST_MAX_STALENESS: Duration = Duration::from_millis(100);
const DEFAULT_COMPARE_EVERY: Duration = Duration::from_secs(300);
const DEFAULT_SQLITE_PATH: &str = "revoxy.db";

pub(super) fn read(
    raw: RawRevocation,
    document: &Document,
    problems: &mut Problems,
) -> RevocationConfig {
    let types = raw
        .token_types
        .unwrap_or(vec![RawTokenTypeName::Access, RawTokenTypeName::Refresh]);
    if types.is_empty() {
        let message = "empty: name token types, or say `enabled: false`";
        problems.push(document.problem("revocation.token_types", message));
    }
    let types = if raw.enabled.unwrap_or(true) {
        CheckedTypes {
            access: types.contains(&RawTokenTypeName::Access),
            refresh: types.contains(&RawTokenTypeName::Refresh),
        }
    } else {
        CheckedTypes::NONE
    };
    let timeout = timeout(&raw.store, document, problems);
    let max_staleness = raw.max_staleness.map_or(DEFAULT_MAX_STALENESS, |s| s.0);
    if max_staleness < LEAST_MAX_STALENESS {
        let message = "less than 100ms: heartbeats would be all that the store hears; say `read: store` to ask it always";
        problems.push(document.problem("revocation.max_staleness", message));
    }
    let compare_every = raw.compare_every.map_or(DEFAULT_COMPARE_EVERY, |s| s.0);
    if compare_every < Duration::from_secs(1) {
        problems.push(document.problem("revocation.compare_every", "less than 1s"));
    }
    if types == CheckedTypes::NONE {
        let switched_on = [
            ("mode", raw.mode == Mode::AllowList),
            ("note_tokens", raw.note_tokens),
        ];
        for (key, _) in switched_on.into_iter().filter(|(_, on)| *on) {
            let message = "has no effect with `enabled: false`: no token is looked up";
            problems.push(document.problem(&format!("revocation.{key}"), message));
        }
    }
    RevocationConfig {
        mode: raw.mode,
        note_tokens: raw.note_tokens,
        view: raw.read == RawRead::View,
        max_staleness,
        deletions: raw.deletions,
        compare_every,
        lookups: Lookups::default(),
        types,
        store: store(raw.store, max_staleness, raw.deletions, document, problems),
        timeout,
    }
}

fn timeout(raw: &RawStore, document: &Document, problems: &mut Problems) -> Duration {
    let (redis, postgres) = (raw.redis.as_ref(), raw.postgres.as_ref());
    let (store, timeout) = match (redis, postgres) {
        (_, Some(postgres)) => ("postgres", postgres.timeout),
        (redis, None) => ("redis", redis.and_then(|r| r.timeout)),
    };
    let timeout = timeout.map_or(DEFAULT_TIMEOUT, |s| s.0);
    if timeout.is_zero() {
        let (at, message) = (
            format!("revocation.store.{store}.timeout"),
            "zero: no store could ever answer",
        );
        problems.push(document.problem(&at, message));
    }
    timeout
}

fn store(
    raw: RawStore,
    max_staleness: Duration,
    deletions: Deletions,
    document: &Document,
    problems: &mut Problems,
) -> StoreConfig {
    let default = || StoreConfig::Sqlite(DEFAULT_SQLITE_PATH.into());
    match (raw.memory, raw.sqlite, raw.redis, raw.postgres) {
        (None, None, None, None) => default(),
        (Some(_), None, None, None) => StoreConfig::Memory,
        (None, Some(sqlite), None, None) => match sqlite.path {
            Some(path) => StoreConfig::Sqlite(path),
            None => default(),
        },
        (None, None, Some(raw), None) => {
            let options = redis::read(raw, max_staleness, document, problems);
            StoreConfig::Redis(Box::new(options))
        }
        (None, None, None, Some(raw)) => {
            StoreConfig::Postgres(postgres::read(raw, deletions, document, problems))
        }
        _ => {
            let message = "more than one store: choose one of memory, sqlite, redis, postgres";
            problems.push(document.problem("revocation.store", message));
            default()
        }
    }
}
