//! The stores of revocations: in memory, in SQLite, in PostgreSQL, and in Redis.
//!
//! Each implements [`RevocationStore`]. If others write to the store, too, a feed keeps a
//! [`View`](revoxy_core::revocation::View) of the store in memory.

#[cfg(any(feature = "postgres", feature = "redis"))]
mod feed;
mod memory;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod migrations;
mod options;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "sqlite")]
mod sqlite;
pub mod tls;

#[cfg(feature = "simulation")]
use revoxy_core::simulation;
// The items that the modules refer to through `super` or `crate`. Which of them are used depends on the stores that
// are compiled in.
#[allow(unused_imports, reason = "see above")]
use revoxy_core::{
    clock, digest, jwt,
    revocation::{
        Diagnosis, Durability, Page, RevocationStore, StoreError, TokenRegistry, diagnosis, effect,
        hash, key, lookups, metrics, record, registry, state, statement, version, view,
    },
    spelling,
};

pub use memory::MemoryStore;
pub use options::{
    Credentials, Deletions, Endpoint, FeedSettings, OptionsError, PostgresOptions, RedisOptions,
    SentinelOptions,
};
#[cfg(feature = "postgres")]
pub use postgres::PostgresStore;
#[cfg(feature = "redis")]
pub use redis::RedisStore;
#[cfg(feature = "simulation")]
pub use redis::script_text;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;
