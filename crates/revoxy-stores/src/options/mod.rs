//! How to reach the servers, and how to follow them: plain data, which a configuration can be read into whether the store was
//! compiled in or not.

mod deletions;
mod feed;
mod postgres;
mod redis;

pub use deletions::Deletions;
pub use feed::FeedSettings;
pub use postgres::PostgresOptions;
pub use redis::{Credentials, Endpoint, OptionsError, RedisOptions, SentinelOptions};
