//! The Redis store: one string key per revocation, `revoxy:<kind>:<issuer name>:<value>`, with a TTL.
//!
//! So anybody can revoke with one line of `redis-cli`: `SET revoxy:jti:shop:<jti> "" EX <seconds>`. `format.rs`
//! defines the values; `stored.rs` and `tokens.rs` describe the other keys.
//!
//! With a view, `feed.rs` keeps a copy of all revocations in memory, and checks query the server only when the
//! copy is too old. Without a view, every check queries the server; that works with RESP2 and through any proxy.

mod address;
mod applications;
mod cluster;
mod connection;
mod connector;
mod dialer;
mod doctor;
mod durable;
mod error;
mod fault;
mod feed;
mod feed_end;
mod following;
mod format;
mod inventory;
mod link;
mod liveness;
mod merge;
mod missing_entries;
mod observed_stream;
mod options;
mod prefixes;
mod progress;
mod pushes;
mod reconcile;
mod record;
mod restore;
mod rights;
mod scan;
mod script;
mod sentinel;
mod server;
mod session;
mod slot_moves;
mod stored;
mod stored_key;
mod stream;
mod suspect;
mod token_commands;
mod tokens;
mod url;
mod write;
mod write_rights;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use redis::aio::MultiplexedConnection;
use redis::{FromRedisValue, Pipeline};

use crate::clock::{Clock, Timestamp};
use crate::metrics::FeedMetrics;

use super::feed_settings::FeedSettings;
use super::key::{PREFIX, RevocationKey};
use super::lookups::ForeignKey;
use super::statement::{Cutoff, Revocation};
use super::version::VersionClock;
use super::view::View;
use super::{Durability, Page, RevocationStore, StoreError, TokenRegistry};

use connection::{Borrowed, Connection};
use connector::Connector;
use durable::Durable;
use following::Following;
use script::Scripts;
use stored_key::StoredKey;

pub use cluster::RedisClusterStore;
pub use options::{Credentials, Endpoint, OptionsError, RedisOptions, SentinelOptions};
#[cfg(feature = "simulation")]
pub use script::text as script_text;

/// The longest TTL of a key, in ms: the largest integer that a Lua number holds exactly.
const LONGEST_LIFE: u64 = 1 << 53;
/// The error for a server that holds only part of the keys.
const IN_A_CLUSTER: &str =
    "the server is a node of a cluster: name some nodes in `cluster` instead of `url`";
/// How many keys one `SCAN` step looks at.
const SCAN_COUNT: usize = 1000;

/// How long an un-revocation is remembered if the revocation had no known expiry.
const TOMBSTONE_LIFE: Duration = Duration::from_secs(24 * 3600);

/// Revocations in Redis.
pub struct RedisStore {
    clock: Arc<dyn Clock>,
    versions: Arc<VersionClock>,
    connection: Connection,
    /// Waits for replicas, if that is configured.
    durable: Option<Durable>,
    scripts: Scripts,
    following: Option<Following>,
    metrics: Option<FeedMetrics>,
}

impl RedisStore {
    /// Creates a store that is queried on every check. It connects in the background: see
    /// [`RedisStore::ready`].
    pub fn new(options: &RedisOptions, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        Ok(Self {
            clock,
            versions: Arc::default(),
            durable: Durable::start(options)?,
            connection: Connection::start(Connector::new(options)?, false),
            scripts: Scripts::default(),
            following: None,
            metrics: None,
        })
    }

    /// Also counts application values that cannot be read.
    #[must_use]
    pub fn counting(self, metrics: FeedMetrics) -> Self {
        Self {
            metrics: Some(metrics),
            ..self
        }
    }

    /// Creates a store with a view that is kept current in the background: see [`RedisStore::ready`].
    pub fn with_view(
        options: &RedisOptions,
        settings: FeedSettings,
        clock: Arc<dyn Clock>,
        metrics: FeedMetrics,
    ) -> Result<Self, StoreError> {
        let connector = Connector::new(options)?;
        let versions = Arc::<VersionClock>::default();
        let following = Following::start(
            connector.clone(),
            settings,
            Arc::clone(&clock),
            Arc::clone(&versions),
            metrics.clone(),
        );
        Ok(Self {
            clock,
            versions,
            durable: Durable::start(options)?,
            connection: Connection::start(connector, true),
            scripts: Scripts::default(),
            following: Some(following),
            metrics: Some(metrics),
        })
    }

    /// Waits until the server has answered and the view, if there is one, is complete. If the server cannot be
    /// followed, or after `patience` without a connection, the error says why. Reading a large list may take longer.
    pub async fn ready(&self, patience: Duration) -> Result<(), StoreError> {
        self.connection.ready(patience).await?;
        // A proxy that does not support the query is not a cluster node either.
        let asked = self.run(async |connection| server::is_in_cluster(connection).await);
        if let Ok(Ok(true)) = tokio::time::timeout(patience, asked).await {
            return Err(StoreError::Failed(IN_A_CLUSTER.to_owned()));
        }
        match &self.following {
            Some(following) => following.ready(patience).await,
            None => Ok(()),
        }
    }

    async fn query<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, StoreError> {
        self.run(async |connection| pipeline.query_async(connection).await)
            .await
    }

    async fn run<T>(
        &self,
        command: impl AsyncFnOnce(&mut MultiplexedConnection) -> redis::RedisResult<T>,
    ) -> Result<T, StoreError> {
        let mut connection = self.connection.current().await?;
        match command(&mut connection.inner).await {
            Ok(value) => {
                connection.answered();
                Ok(value)
            }
            Err(error) => Err(connection.failed(&error)),
        }
    }
}

#[async_trait]
impl RevocationStore for RedisStore {
    fn view(&self) -> Option<&View> {
        self.following.as_ref().map(|following| &*following.view)
    }

    fn registry(&self) -> Option<&dyn TokenRegistry> {
        Some(self)
    }

    async fn lookup(&self, keys: &[RevocationKey]) -> Result<Vec<Option<Cutoff>>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        // GET and not MGET: for a key of another type, MGET answers "nothing", while GET returns an error.
        let mut pipeline = redis::pipe();
        for key in keys {
            pipeline
                .get(key.rendered())
                .get(StoredKey::restored(key.hash()));
        }
        self.look_up(pipeline, |answers| {
            let values = answers.map(Option::<Vec<u8>>::from_redis_value);
            let values = values.collect::<Result<Vec<_>, _>>()?;
            let pairs = values.chunks_exact(2);
            let both = pairs.map(|pair| format::cutoff(pair[0].as_deref(), pair[1].as_deref()));
            Ok(both.collect())
        })
        .await
    }

    async fn lookup_foreign(&self, keys: &[ForeignKey]) -> Result<Vec<Option<Cutoff>>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = redis::pipe();
        for key in keys {
            applications::ask(&mut pipeline, key);
        }
        let now = self.clock.now();
        self.look_up(pipeline, |mut answers| {
            let keys = keys.iter();
            keys.map(|key| applications::answer(&mut answers, key, now, self.metrics.as_ref()))
                .collect()
        })
        .await
    }

    async fn revoke(&self, revocation: &Revocation) -> Result<Durability, StoreError> {
        let life = revocation.expires_at.since(self.clock.now()).as_millis();
        if life == 0 || revocation.means_nothing() {
            return Ok(Durability::default());
        }
        self.write_revocation(revocation, life).await
    }

    async fn unrevoke(&self, key: &RevocationKey) -> Result<bool, StoreError> {
        self.write_unrevocation(key).await
    }

    async fn get(&self, key: &RevocationKey) -> Result<Option<Revocation>, StoreError> {
        Ok(self.read(vec![key.clone()]).await?.pop())
    }

    async fn prune(&self, now: Timestamp) -> Result<u64, StoreError> {
        // Redis expires keys itself. It does not report to the feed what expired while the feed was
        // disconnected, or under another name.
        Ok(self.view().map_or(0, |view| view.prune(now) as u64))
    }

    async fn list(&self, after: Option<&str>, limit: usize) -> Result<Page, StoreError> {
        let mut cursor: u64 = match after {
            Some(text) => text
                .parse()
                .map_err(|_| StoreError::Failed("`after` is none of our cursors".to_owned()))?,
            None => 0,
        };
        let mut revocations = Vec::new();
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(format!("{PREFIX}*"));
            scan.arg("COUNT").arg(SCAN_COUNT);
            let mut pipeline = redis::pipe();
            pipeline.add_command(scan);
            let ((next, found),): ((u64, Vec<Vec<u8>>),) = self.query(&pipeline).await?;
            let keys = found
                .iter()
                .filter_map(|k| RevocationKey::parse(str::from_utf8(k).ok()?));
            revocations.extend(self.read(keys.collect()).await?);
            cursor = next;
            if cursor == 0 || revocations.len() >= limit {
                let next = (cursor != 0).then(|| cursor.to_string());
                return Ok(Page { revocations, next });
            }
        }
    }
}

/// Why a direct read gave no answer.
enum LookupError {
    Redis(redis::RedisError),
    Untrusted,
}

impl RedisStore {
    /// Sends a pipeline and reads the answers. If there is a view, only the server that the view was last
    /// complete with is believed.
    async fn look_up<T>(
        &self,
        pipeline: Pipeline,
        read: impl FnOnce(std::vec::IntoIter<redis::Value>) -> Result<T, redis::ParsingError>,
    ) -> Result<T, StoreError> {
        let mut connection = self.connection.current().await?;
        match self.send(&mut connection, pipeline).await {
            Ok(Some(answers)) => match read(answers.into_iter()) {
                Ok(answer) => {
                    connection.answered();
                    Ok(answer)
                }
                Err(error) => Err(connection.failed(&error.into())),
            },
            Ok(None) => Err(connection.unfit("the server has become a replica")),
            // A new connection queries the server's identity again.
            Err(LookupError::Untrusted) => Err(connection.unfit(
                "not the Redis process, or not the history, that the view was last complete with",
            )),
            Err(LookupError::Redis(error)) => Err(connection.failed(&error)),
        }
    }

    /// Sends a pipeline. Returns `None` if the server is not the primary.
    async fn send(
        &self,
        connection: &mut Borrowed<'_>,
        mut pipeline: Pipeline,
    ) -> Result<Option<Vec<redis::Value>>, LookupError> {
        if let Some(following) = &self.following {
            if !following.trusted.include(&connection.identity) {
                return Err(LookupError::Untrusted);
            }
            // Queries the role in the same pipeline: a replica answers readily, and may be behind, or follow
            // another primary.
            pipeline.add_command(server::hello(server::RespVersion::Resp2));
        }
        let asked = pipeline.query_async::<Vec<redis::Value>>(&mut connection.inner);
        let mut answers = asked.await.map_err(LookupError::Redis)?;
        if self.following.is_some() {
            let hello = answers.pop().unwrap_or(redis::Value::Nil);
            let hello = HashMap::from_redis_value(hello);
            let hello = hello.map_err(|e| LookupError::Redis(e.into()))?;
            if !server::is_primary_role(&hello) {
                return Ok(None);
            }
        }
        Ok(Some(answers))
    }

    /// Reads the live revocations under `keys`, values and expiries in one transaction.
    async fn read(&self, keys: Vec<RevocationKey>) -> Result<Vec<Revocation>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = redis::pipe();
        pipeline.atomic();
        for key in &keys {
            let restored = StoredKey::restored(key.hash());
            pipeline
                .get(key.rendered())
                .pttl(key.rendered())
                .get(&restored)
                .pttl(&restored);
        }
        let answers: Vec<redis::Value> = self.query(&pipeline).await?;
        let now = self.clock.now();
        let mut revocations = Vec::with_capacity(keys.len());
        for (key, answer) in keys.into_iter().zip(answers.chunks_exact(4)) {
            let wrong = |_| StoreError::Failed("an answer of an unexpected type".to_owned());
            let whole = |at: usize| {
                let value = FromRedisValue::from_redis_value(answer[at].clone()).map_err(wrong)?;
                let left = FromRedisValue::from_redis_value(answer[at + 1].clone());
                Ok::<_, StoreError>(format::whole(value, left.map_err(wrong)?, now))
            };
            let (native, restored) = (whole(0)?, whole(2)?);
            revocations.extend(format::revocation(key, native.as_ref(), restored.as_ref()));
        }
        Ok(revocations)
    }
}
