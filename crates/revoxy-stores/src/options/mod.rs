//! How to reach the servers, and how to follow them. These are plain data types, so that a configuration can be
//! read whether the store was compiled in or not.

mod deletions;
mod feed;
mod postgres;
mod redis;

pub use deletions::Deletions;
pub use feed::FeedSettings;
pub use postgres::PostgresOptions;
pub use redis::{Credentials, Endpoint, OptionsError, RedisOptions, SentinelOptions};
