//! How to reach a Redis server.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::tls::TlsFiles;

use super::super::StoreError;

/// How to reach the server.
#[derive(Clone)]
pub struct RedisOptions {
    /// Where the server is.
    pub endpoint: Endpoint,
    /// Our credentials for the server.
    pub credentials: Credentials,
    /// TLS certificates. The scheme of a URL determines whether TLS is used; without a URL, TLS is used if this is
    /// present.
    pub tls: Option<TlsFiles>,
    /// How many replicas of the server have to confirm a write before it counts as acknowledged.
    pub durable_replicas: Option<u64>,
    /// How long making a connection may take, from resolving the server's name to its first answer.
    pub connect_timeout: Duration,
}

/// Where the server is.
#[derive(Clone)]
pub enum Endpoint {
    /// `redis://host:port/db`, `rediss://host:port/db` for TLS, or `unix:///path`. It may contain user and password.
    Url(String),
    /// Sentinels, which name the primary.
    Sentinel(SentinelOptions),
    /// Some nodes of a cluster, as `host:port`, from which the others are discovered.
    Cluster(Vec<String>),
}

/// How to reach the Sentinels, and how to query them.
#[derive(Clone)]
pub struct SentinelOptions {
    /// The Sentinels' name for the primary: the name in `sentinel monitor`.
    pub master: String,
    /// All Sentinels, as `host:port`: a majority of these Sentinels decides which server is the primary.
    pub nodes: Vec<String>,
    /// Our credentials for the Sentinels. The credentials for the servers are [`RedisOptions::credentials`].
    pub credentials: Credentials,
    /// TLS to the Sentinels, if it is to be used. TLS to the servers is [`RedisOptions::tls`].
    pub tls: Option<TlsFiles>,
    /// The database on the servers.
    pub database: i64,
    /// The maximum age of the confirmation by a majority for a server to be trusted. With a view, set it to
    /// [`FeedSettings::max_staleness`](crate::FeedSettings).
    pub confirmed_within: Duration,
}

/// Our credentials for a server, unless the URL contains them.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// The user name in the access control list.
    pub username: Option<String>,
    /// A file that contains only the password, with or without a line end. It is read again for each connection.
    pub password_file: Option<PathBuf>,
}

/// A mistake in [`RedisOptions`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionsError {
    /// The configuration key: `url`, `tls.ca_file`.
    pub key: String,
    /// What is wrong, without quoting anything secret.
    pub why: String,
}

impl From<OptionsError> for StoreError {
    fn from(error: OptionsError) -> Self {
        Self::Failed(format!("{}: {}", error.key, error.why))
    }
}

impl fmt::Debug for RedisOptions {
    /// Without the URL, which may contain a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisOptions").finish_non_exhaustive()
    }
}

impl RedisOptions {
    /// Returns options for this URL, which also determines user, password and TLS.
    pub fn url(url: impl Into<String>, connect_timeout: Duration) -> Self {
        Self {
            endpoint: Endpoint::Url(url.into()),
            credentials: Credentials::default(),
            tls: None,
            durable_replicas: None,
            connect_timeout,
        }
    }

    /// Returns options for a cluster, to be reached through some of its nodes, without credentials.
    pub fn cluster(nodes: Vec<String>, connect_timeout: Duration) -> Self {
        Self {
            endpoint: Endpoint::Cluster(nodes),
            ..Self::url("", connect_timeout)
        }
    }
}
