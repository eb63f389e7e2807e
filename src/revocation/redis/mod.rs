//! The Redis store: one string key a revocation, `revoxy:<kind>:<issuer name>:<value>`, that expires by itself.
//!
//! So anybody can revoke with one line of `redis-cli`: `SET revoxy:jti:shop:<jti> "" EX <seconds>`. What the value may
//! say is in `format.rs`, the other keys are in `stored.rs` and `tokens.rs`.
//!
//! With a view, `feed.rs` keeps a copy of all of it in memory, and the server is asked only when that is too old.
//! Without, every check asks; that works with RESP2 and through any proxy.

mod applications;
mod cluster;
mod connection;
mod connector;
mod durable;
mod feed;
mod following;
mod format;
mod inventory;
mod judge;
mod keeper;
mod link;
mod merge;
mod moving;
mod options;
mod prefixes;
mod progress;
mod pulse;
mod pushes;
mod reconcile;
mod record;
mod restore;
mod rights;
mod script;
mod sentinel;
mod server;
mod session;
mod stored;
mod stream;
mod suspect;
mod tokens;
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

use super::foreign::ForeignKey;
use super::key::{PREFIX, RevocationKey};
use super::statement::{Cutoff, Revocation};
use super::version::VersionClock;
use super::view::View;
use super::{Durability, Page, RevocationStore, StoreError, TokenRegistry};

use connection::{Borrowed, Connection};
use connector::Connector;
use durable::Durable;
use following::Following;
use script::Scripts;
use stored::StoredKey;

pub use cluster::RedisClusterStore;
pub use feed::FeedSettings;
pub use options::{Credentials, Deletions, Endpoint, OptionsError, RedisOptions, SentinelOptions};
#[cfg(feature = "simulation")]
pub use script::text as script_text;

/// The longest expiry to give a key, in ms: what a Lua number holds exactly.
const LONGEST_LIFE: u64 = 1 << 53;
/// What is said of a server that has only some of the keys.
const IN_A_CLUSTER: &str =
    "the server is a node of a cluster: name some nodes in `cluster` instead of `url`";
/// How many keys a step of `SCAN` looks at.
const SCAN_COUNT: usize = 1000;

/// How long an un-revocation is remembered whose revocation has no known end.
const TOMBSTONE_LIFE: Duration = Duration::from_secs(24 * 3600);

/// Revocations in Redis.
pub struct RedisStore {
    clock: Arc<dyn Clock>,
    versions: Arc<VersionClock>,
    connection: Connection,
    /// Waits for replicas, where that is wanted.
    durable: Option<Durable>,
    scripts: Scripts,
    following: Option<Following>,
    metrics: Option<FeedMetrics>,
}

impl RedisStore {
    /// A store that is asked on every check. It connects in the background: see [`RedisStore::ready`].
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

    /// The same, counting here what it reads of applications and cannot make sense of.
    #[must_use]
    pub fn counting(self, metrics: FeedMetrics) -> Self {
        Self {
            metrics: Some(metrics),
            ..self
        }
    }

    /// A store with a view that is kept in the background: see [`RedisStore::ready`].
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

    /// Waits until the server has answered and the view, if there is one, is complete. After `patience` without a
    /// connection, or when the server cannot be followed, the error says why; reading a large list may take longer.
    pub async fn ready(&self, patience: Duration) -> Result<(), StoreError> {
        self.connection.ready(patience).await?;
        // A proxy that knows no such question is no node either.
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
        // GET and not MGET: MGET answers "nothing" for a key of another type, GET says that something is wrong.
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
        // Redis forgets by itself; what expired while the feed was away, or under another name, it tells nobody.
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
    /// Asks, and reads the answers; only of the server that the view was last complete with, where there is a view.
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
            // A connection made anew asks again whose data it has met.
            Err(LookupError::Untrusted) => Err(connection.unfit(
                "not the Redis process, or not the history, that the view was last complete with",
            )),
            Err(LookupError::Redis(error)) => Err(connection.failed(&error)),
        }
    }

    /// Sends a pipeline; `None` from a server that is not the primary.
    async fn send(
        &self,
        connection: &mut Borrowed<'_>,
        mut pipeline: Pipeline,
    ) -> Result<Option<Vec<redis::Value>>, LookupError> {
        if let Some(following) = &self.following {
            if !following.trusted.include(&connection.identity) {
                return Err(LookupError::Untrusted);
            }
            // The role in the same breath: a replica answers readily, and may be behind or somebody else's.
            pipeline.add_command(server::hello(server::Spoken::Resp2));
        }
        let asked = pipeline.query_async::<Vec<redis::Value>>(&mut connection.inner);
        let mut answers = asked.await.map_err(LookupError::Redis)?;
        if self.following.is_some() {
            let hello = answers.pop().unwrap_or(redis::Value::Nil);
            let hello = HashMap::from_redis_value(hello);
            let hello = hello.map_err(|e| LookupError::Redis(e.into()))?;
            if !server::says_primary(&hello) {
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
                .get(restored);
        }
        let answers: Vec<redis::Value> = self.query(&pipeline).await?;
        let now = self.clock.now();
        let mut revocations = Vec::with_capacity(keys.len());
        for (key, answer) in keys.into_iter().zip(answers.chunks_exact(3)) {
            let wrong = |_| StoreError::Failed("an answer of an unexpected type".to_owned());
            let text = |at: usize| Option::<Vec<u8>>::from_redis_value(answer[at].clone());
            let (value, restored) = (text(0).map_err(wrong)?, text(2).map_err(wrong)?);
            let left = i64::from_redis_value(answer[1].clone()).map_err(wrong)?;
            let expires_at = match u64::try_from(left) {
                Ok(ms) => now.plus(Duration::from_millis(ms)),
                Err(_) => Timestamp::NEVER,
            };
            let Some(value) = value else { continue };
            revocations.extend(format::revocation(
                key,
                &value,
                restored.as_deref(),
                expires_at,
            ));
        }
        Ok(revocations)
    }
}
