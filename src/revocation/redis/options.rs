//! How to reach a Redis server, and what its deletions mean.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::tls::TlsFiles;

use super::super::{Diagnosis, StoreError};
use super::IN_A_CLUSTER;
use super::cluster;
use super::connector::{Connector, Protocol};
use super::inventory::Inventory;
use super::server::{ServerInfo, Servers};
use super::write_rights;

/// How to reach the server.
#[derive(Clone)]
pub struct RedisOptions {
    /// Where it is.
    pub endpoint: Endpoint,
    /// Who we are to it.
    pub credentials: Credentials,
    /// Certificates. A URL says itself whether TLS is spoken; elsewhere this being there says so.
    pub tls: Option<TlsFiles>,
    /// How many replicas of the server have to confirm what is written here before it counts as acknowledged.
    pub durable_replicas: Option<u64>,
    /// How long a connection may take to be made, from the name of the server to its first answer.
    pub connect_timeout: Duration,
}

/// Where the server is.
#[derive(Clone)]
pub enum Endpoint {
    /// `redis://host:port/db`, `rediss://host:port/db` for TLS, or `unix:///path`. It may hold user and password.
    Url(String),
    /// Where Sentinels say that the primary is.
    Sentinel(SentinelOptions),
    /// Some nodes of a cluster, as `host:port`, from which the others are learnt.
    Cluster(Vec<String>),
}

/// Sentinels, and what they are asked.
#[derive(Clone)]
pub struct SentinelOptions {
    /// What they call the primary: the name in `sentinel monitor`.
    pub master: String,
    /// All of them, as `host:port`: what counts is what a majority of these says.
    pub nodes: Vec<String>,
    /// Who we are to the Sentinels. To the servers it is [`RedisOptions::credentials`].
    pub credentials: Credentials,
    /// TLS towards the Sentinels, where it is to be spoken. Towards the servers it is [`RedisOptions::tls`].
    pub tls: Option<TlsFiles>,
    /// The database on the servers.
    pub database: i64,
    /// How long ago, at most, a majority must have been asked for a server to be believed. With a view, its
    /// [`FeedSettings::max_staleness`](super::FeedSettings).
    pub confirmed_within: Duration,
}

/// Who we are to a server, unless the URL says so.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// The user of an access control list.
    pub username: Option<String>,
    /// A file with the password, alone or with a line end behind it. It is read anew for each connection.
    pub password_file: Option<PathBuf>,
}

/// A mistake in [`RedisOptions`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionsError {
    /// Where, as a configuration names it: `url`, `tls.ca_file`.
    pub key: String,
    /// What is wrong, without a word of what is secret.
    pub why: String,
}

impl From<OptionsError> for StoreError {
    fn from(error: OptionsError) -> Self {
        Self::Failed(format!("{}: {}", error.key, error.why))
    }
}

impl fmt::Debug for RedisOptions {
    /// Without the URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisOptions").finish_non_exhaustive()
    }
}

impl RedisOptions {
    /// With everything but where the server is left to the URL.
    pub fn url(url: impl Into<String>, connect_timeout: Duration) -> Self {
        Self {
            endpoint: Endpoint::Url(url.into()),
            credentials: Credentials::default(),
            tls: None,
            durable_replicas: None,
            connect_timeout,
        }
    }

    /// Through some nodes of a cluster, without credentials.
    pub fn cluster(nodes: Vec<String>, connect_timeout: Duration) -> Self {
        Self {
            endpoint: Endpoint::Cluster(nodes),
            ..Self::url("", connect_timeout)
        }
    }

    /// Whether these can be used, without connecting. Reads the files that they name.
    pub fn validate(&self) -> Result<(), OptionsError> {
        Connector::new(self)?.check_files()
    }

    /// Connects and tells why a revocation list would not be safe with this server, and what it holds. `records`: whether tokens are
    /// recorded. `issuers`: the names that are configured.
    pub async fn diagnose(
        &self,
        records: bool,
        issuers: &[String],
    ) -> Result<Diagnosis, StoreError> {
        let connector = Connector::new(self)?;
        let mut diagnosis = match connector.seeds() {
            Some(_) => cluster::diagnose(&connector, issuers).await?,
            None => self.diagnose_one(&connector, issuers).await?,
        };
        let may_not = write_rights::missing(&connector, records).await?;
        diagnosis.warnings.extend(may_not);
        Ok(diagnosis)
    }

    /// Tells what to grant if the user may not write; `None` if it may. `records`: whether tokens are recorded.
    pub async fn missing_rights(&self, records: bool) -> Result<Option<String>, StoreError> {
        write_rights::missing(&Connector::new(self)?, records).await
    }

    async fn diagnose_one(
        &self,
        connector: &Connector,
        issuers: &[String],
    ) -> Result<Diagnosis, StoreError> {
        let asked = async {
            let mut server = connector
                .connect(Protocol::Resp2)
                .await
                .map_err(|e| StoreError::Unavailable(e.to_string()))?;
            let read = ServerInfo::read(&mut server.connection).await;
            let info = read.map_err(|e| StoreError::Unavailable(server.describe(&e)))?;
            Ok((server, info))
        };
        let asked = tokio::time::timeout(self.connect_timeout * 3, asked).await;
        let (mut server, info) = asked.unwrap_or(Err(StoreError::Timeout))?;
        if info.is_in_cluster() {
            return Err(StoreError::Failed(IN_A_CLUSTER.to_owned()));
        }
        let mut diagnosis = Servers(vec![info]).diagnosis();
        match Inventory::take(&mut server.connection, issuers).await {
            Ok(inventory) => diagnosis.notes.extend(inventory.notes()),
            Err(error) => diagnosis.notes.push(format!(
                "cannot count the keys: {}",
                server.describe(&error)
            )),
        }
        Ok(diagnosis)
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
