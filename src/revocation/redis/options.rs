//! How to reach a Redis server, and what its deletions mean.

use std::time::Duration;

use redis::ProtocolVersion;
use serde::Deserialize;

use super::super::StoreError;
use super::connection;
use super::server::ServerInfo;

/// How to reach the server.
#[derive(Clone)]
pub struct RedisOptions {
    /// `redis://host:port/db` or `unix:///path`.
    pub url: String,
    /// The user of an access control list.
    pub username: Option<String>,
    /// The password.
    pub password: Option<String>,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
}

impl RedisOptions {
    /// Whether the URL can be used, without connecting.
    pub fn validate(&self) -> Result<(), StoreError> {
        connection::client(self, ProtocolVersion::RESP2).map(drop)
    }

    /// Connects once and tells why a revocation list would not be safe with this server.
    pub async fn diagnose(&self) -> Result<Vec<String>, StoreError> {
        let client = connection::client(self, ProtocolVersion::RESP2)?;
        let asked = async {
            let mut connection = client.get_multiplexed_async_connection().await?;
            ServerInfo::read(&mut connection).await
        };
        let failed = |e| StoreError::Unavailable(connection::describe(&e));
        match tokio::time::timeout(self.connect_timeout, asked).await {
            Ok(server) => Ok(server.map_err(failed)?.warnings()),
            Err(_) => Err(StoreError::Timeout),
        }
    }
}

/// What it means that somebody deleted a key, or flushed the database of a live server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deletions {
    /// The revocation was taken back.
    #[default]
    Honour,
    /// Nothing: only the API takes a revocation back, and what was deleted is written again.
    Ignore,
}
