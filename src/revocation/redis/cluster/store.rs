//! The store on top of a cluster. Each key of a revocation is in a slot of its own, so no two of them change
//! atomically.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use redis::{Cmd, FromRedisValue, Value};

use crate::clock::{Clock, Timestamp};
use crate::metrics::FeedMetrics;

use super::super::super::feed_settings::FeedSettings;
use super::super::super::key::RevocationKey;
use super::super::super::lookups::ForeignKey;
use super::super::super::statement::{Cutoff, Revocation};
use super::super::super::version::VersionClock;
use super::super::super::view::View;
use super::super::super::{Durability, Page, RevocationStore, StoreError, TokenRegistry};
use super::super::applications;
use super::super::connector::Connector;
use super::super::feed::TrustedServers;
use super::super::following::Following;
use super::super::options::RedisOptions;
use super::super::stored_key::StoredKey;
use super::super::{format, script};
use super::queries::Question;
use super::router::Router;
use super::slot::slot_of;

/// The maximum age of the confirmation by a majority of primaries if nothing is configured, that is, without a view.
const BOUND: Duration = Duration::from_secs(1);

/// Revocations in a Redis Cluster.
pub struct RedisClusterStore {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) versions: Arc<VersionClock>,
    pub(super) router: Router,
    pub(super) following: Option<Following>,
    metrics: Option<FeedMetrics>,
}

impl RedisClusterStore {
    /// Creates a store that is queried on every check. It connects in the background: see
    /// [`RedisClusterStore::ready`].
    pub fn new(options: &RedisOptions, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        Ok(Self {
            clock,
            versions: Arc::default(),
            router: Router::start(Connector::new(options)?, BOUND, false),
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

    /// Creates a store with a view that is kept current in the background: see [`RedisClusterStore::ready`].
    pub fn with_view(
        options: &RedisOptions,
        settings: FeedSettings,
        clock: Arc<dyn Clock>,
        metrics: FeedMetrics,
    ) -> Result<Self, StoreError> {
        let connector = Connector::new(options)?;
        let bound = settings.max_staleness;
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
            router: Router::start(connector, bound, true),
            following: Some(following),
            metrics: Some(metrics),
        })
    }

    /// Waits until the cluster has answered and the view, if there is one, is complete. If the cluster cannot be
    /// followed, or after `patience` without a connection, the error says why. Reading a large list may take longer.
    pub async fn ready(&self, patience: Duration) -> Result<(), StoreError> {
        self.router.ready(patience).await?;
        match &self.following {
            Some(following) => following.ready(patience).await,
            None => Ok(()),
        }
    }

    pub(super) fn trusted(&self) -> Option<&TrustedServers> {
        self.following.as_ref().map(|f| &f.trusted)
    }

    /// Sends writes to the slot owners, trusted or not.
    pub(super) async fn write(
        &self,
        questions: &[Question],
    ) -> Result<Vec<Vec<Value>>, StoreError> {
        self.router.ask(questions, None).await
    }

    /// Reads the live revocations under `keys`.
    async fn read(&self, keys: Vec<RevocationKey>) -> Result<Vec<Revocation>, StoreError> {
        let read = |key: &RevocationKey| {
            let restored = StoredKey::restored(key.hash());
            [read_whole(key.rendered()), read_whole(&restored)]
        };
        let questions: Vec<_> = keys.iter().flat_map(read).collect();
        let answers = self.router.ask(&questions, None).await?;
        let now = self.clock.now();
        let mut revocations = Vec::with_capacity(keys.len());
        let mut answers = answers.into_iter();
        for key in keys {
            let mut next = || {
                let answer = answers.next().and_then(|mut answer| answer.pop());
                let (left, value, _): (i64, Option<Vec<u8>>, u64) =
                    read_as(answer.unwrap_or(Value::Nil))?;
                Ok::<_, StoreError>(format::whole(value, left, now))
            };
            let (native, restored) = (next()?, next()?);
            revocations.extend(format::revocation(key, native.as_ref(), restored.as_ref()));
        }
        Ok(revocations)
    }
}

#[async_trait]
impl RevocationStore for RedisClusterStore {
    fn view(&self) -> Option<&View> {
        self.following.as_ref().map(|following| &*following.view)
    }

    fn registry(&self) -> Option<&dyn TokenRegistry> {
        Some(self)
    }

    async fn lookup(&self, keys: &[RevocationKey]) -> Result<Vec<Option<Cutoff>>, StoreError> {
        let mut questions = Vec::with_capacity(keys.len() * 2);
        for key in keys {
            let restored = StoredKey::restored(key.hash());
            for name in [key.rendered(), &restored] {
                questions.push(about(name, vec![one("GET", name)]));
            }
        }
        let answers = self.router.ask(&questions, self.trusted()).await?;
        let mut values = Vec::with_capacity(answers.len());
        for mut answer in answers {
            let value: Option<Vec<u8>> = read_as(answer.pop().unwrap_or(Value::Nil))?;
            values.push(value);
        }
        let pairs = values.chunks_exact(2);
        let both = pairs.map(|pair| format::cutoff(pair[0].as_deref(), pair[1].as_deref()));
        Ok(both.collect())
    }

    async fn lookup_foreign(&self, keys: &[ForeignKey]) -> Result<Vec<Option<Cutoff>>, StoreError> {
        let mut pipeline = redis::pipe();
        for key in keys {
            applications::ask(&mut pipeline, key);
        }
        let commands = pipeline.cmd_iter().cloned();
        let questions: Vec<_> = commands.map(Question::of).collect();
        let answers = self.router.ask(&questions, self.trusted()).await?;
        let mut answers = answers.into_iter().flatten();
        let now = self.clock.now();
        let read = |key| {
            let answer = applications::answer(&mut answers, key, now, self.metrics.as_ref());
            answer.map_err(|_| unexpected())
        };
        keys.iter().map(read).collect()
    }

    async fn revoke(&self, revocation: &Revocation) -> Result<Durability, StoreError> {
        let life = revocation.expires_at.since(self.clock.now()).as_millis();
        if life == 0 || revocation.means_nothing() {
            return Ok(Durability::default());
        }
        self.write_revocation(revocation, life).await?;
        Ok(Durability::default())
    }

    async fn unrevoke(&self, key: &RevocationKey) -> Result<bool, StoreError> {
        self.write_unrevocation(key).await
    }

    async fn get(&self, key: &RevocationKey) -> Result<Option<Revocation>, StoreError> {
        Ok(self.read(vec![key.clone()]).await?.pop())
    }

    async fn prune(&self, now: Timestamp) -> Result<u64, StoreError> {
        // As with one server, nothing reports to the feed what expired while the feed was disconnected.
        Ok(self.view().map_or(0, |view| view.prune(now) as u64))
    }

    /// Lists node by node. A revocation that moves to another node during the listing may be listed twice, or
    /// not at all.
    async fn list(&self, after: Option<&str>, limit: usize) -> Result<Page, StoreError> {
        let mut position = after.map(str::to_owned);
        let mut revocations = Vec::new();
        loop {
            let (names, next) = self.router.scan(position.as_deref()).await?;
            let keys = names
                .iter()
                .filter_map(|k| RevocationKey::parse(str::from_utf8(k).ok()?));
            revocations.extend(self.read(keys.collect()).await?);
            if next.is_none() || revocations.len() >= limit {
                return Ok(Page { revocations, next });
            }
            position = next;
        }
    }
}

pub(super) fn about(key: &str, commands: Vec<Cmd>) -> Question {
    Question {
        slot: slot_of(key.as_bytes()),
        commands,
    }
}

fn one(command: &str, key: &str) -> Cmd {
    let mut command = redis::cmd(command);
    command.arg(key);
    command
}

/// Reads life and value of a key atomically.
pub(super) fn read_whole(key: &str) -> Question {
    let mut eval = redis::cmd("EVAL");
    eval.arg(script::READ).arg(1).arg(key);
    about(key, vec![eval])
}

fn unexpected() -> StoreError {
    StoreError::Failed("an answer of an unexpected type".to_owned())
}

pub(super) fn read_as<T: FromRedisValue>(value: Value) -> Result<T, StoreError> {
    T::from_redis_value(value).map_err(|_| unexpected())
}
