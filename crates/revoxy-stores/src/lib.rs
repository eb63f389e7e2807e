//! The stores of revocations: in memory, in SQLite, in PostgreSQL, and in Redis.
//!
//! Each implements [`RevocationStore`]. Where others write to the store, too, a feed
//! keeps a [`View`](revoxy_core::revocation::View) of it in memory.

mod feed;
mod memory;
mod migrations;
mod postgres;
mod redis;
mod sqlite;
pub mod tls;

use revoxy_core::revocation::{
    Diagnosis, Durability, Page, RevocationStore, StoreError, TokenRegistry, diagnosis, hash, key,
    lookups, metrics, record, registry, state, statement, version, view,
};
#[cfg(feature = "simulation")]
use revoxy_core::simulation;
use revoxy_core::{clock, digest, jwt, spelling};

#[cfg(feature = "simulation")]
pub use self::redis::script_text;
pub use self::redis::{
    Credentials, Endpoint, OptionsError, RedisOptions, RedisStore, SentinelOptions,
};
pub use feed::deletions::Deletions;
pub use feed::settings::FeedSettings;
pub use memory::MemoryStore;
pub use postgres::{PostgresOptions, PostgresStore};
pub use sqlite::SqliteStore;
