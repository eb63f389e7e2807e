//! Replaces the stores that were not compiled in: configuring such a store is reported as a mistake.

use super::Mistake;

fn absent(store: &str, feature: &str) -> Option<Mistake> {
    let why = format!(
        "this build of revoxy has no {store}: build it with the feature `{feature}`, or choose another store"
    );
    Some((String::new(), why))
}

#[cfg(not(feature = "sqlite"))]
pub(super) mod sqlite {
    use std::path::Path;
    use std::sync::Arc;

    use crate::clock::Clock;
    use crate::revocation::StoreError;

    use super::super::{Mistake, Store};

    pub fn mistake(_: &Path) -> Option<Mistake> {
        super::absent("SQLite", "sqlite")
    }

    pub async fn open(_: &Path, _: Arc<dyn Clock>) -> Result<Store, StoreError> {
        Err(StoreError::Failed("no SQLite".to_owned()))
    }

    pub async fn opened(_: &Path) -> String {
        String::new()
    }
}

#[cfg(not(feature = "redis"))]
pub(super) mod redis {
    use std::sync::Arc;

    use crate::clock::Clock;
    use crate::config::Config;
    use crate::metrics::FeedCounters;
    use crate::revocation::{Diagnosis, RedisOptions, StoreError};

    use super::super::{Mistake, Store};

    pub fn mistake(_: &RedisOptions) -> Option<Mistake> {
        super::absent("Redis", "redis")
    }

    pub async fn open(
        _: &Config,
        _: &RedisOptions,
        _: Arc<dyn Clock>,
        _: &Arc<FeedCounters>,
    ) -> Result<Store, StoreError> {
        Err(StoreError::Failed("no Redis".to_owned()))
    }

    pub async fn diagnose(_: &Config, _: &RedisOptions) -> Result<Diagnosis, StoreError> {
        Err(StoreError::Failed("no Redis".to_owned()))
    }
}

#[cfg(not(feature = "postgres"))]
pub(super) mod postgres {
    use std::sync::Arc;

    use crate::clock::Clock;
    use crate::config::Config;
    use crate::metrics::FeedCounters;
    use crate::revocation::{Diagnosis, PostgresOptions, StoreError};

    use super::super::{Mistake, Store};

    pub fn mistake(_: &PostgresOptions) -> Option<Mistake> {
        super::absent("PostgreSQL", "postgres")
    }

    pub async fn open(
        _: &Config,
        _: &PostgresOptions,
        _: Arc<dyn Clock>,
        _: &Arc<FeedCounters>,
    ) -> Result<Store, StoreError> {
        Err(StoreError::Failed("no PostgreSQL".to_owned()))
    }

    pub async fn diagnose(_: &PostgresOptions) -> Result<Diagnosis, StoreError> {
        Err(StoreError::Failed("no PostgreSQL".to_owned()))
    }
}
