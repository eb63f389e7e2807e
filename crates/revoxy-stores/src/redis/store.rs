//! The store, over one server or a cluster.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use redis::{Cmd, Value, from_redis_value};

use crate::clock::{Clock, Timestamp};
use crate::metrics::FeedMetrics;

use super::super::effect::Effect;
use super::super::key::RevocationKey;
use super::super::lookups::ForeignKey;
use super::super::options::FeedSettings;
use super::super::options::{Endpoint, RedisOptions};
use super::super::statement::{Cutoff, Revocation};
use super::super::version::VersionClock;
use super::super::view::View;
use super::super::{Durability, Page, RevocationStore, StoreError, TokenRegistry};
use super::cluster::{BOUND, Router};
use super::connector::Connector;
use super::following::Following;
use super::local_replica::LocalReplica;
use super::one_server::OneServer;
use super::route::Route;
use super::stored_key::StoredKey;
use super::{applications, format};

/// Revocations in Redis: on one server, on the primary that Sentinels name, or in a cluster.
pub struct RedisStore {
    pub(super) route: Route,
    pub(super) replica: LocalReplica,
    metrics: Option<Arc<dyn FeedMetrics>>,
}

impl RedisStore {
    /// Creates a store that is queried on every check. It connects in the background: see
    /// [`RedisStore::ready`].
    pub fn new(options: &RedisOptions, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let connector = Connector::new(options)?;
        Ok(Self {
            route: route(connector, options, BOUND, false)?,
            replica: LocalReplica {
                clock,
                versions: Arc::default(),
                following: None,
            },
            metrics: None,
        })
    }

    /// Also counts application values that cannot be read.
    #[must_use]
    pub fn counting(self, metrics: Arc<dyn FeedMetrics>) -> Self {
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
        metrics: Arc<dyn FeedMetrics>,
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
            route: route(connector, options, bound, true)?,
            replica: LocalReplica {
                clock,
                versions,
                following: Some(following),
            },
            metrics: Some(metrics),
        })
    }

    /// Waits until the servers have answered and the view, if there is one, is complete. If they cannot be
    /// followed, or after `patience` without a connection, the error says why. Reading a large list may take longer.
    pub async fn ready(&self, patience: Duration) -> Result<(), StoreError> {
        self.route.ready(patience).await?;
        match &self.replica.following {
            Some(following) => following.ready(patience).await,
            None => Ok(()),
        }
    }

    /// Reads the live revocations under `keys`.
    async fn read(&self, keys: Vec<RevocationKey>) -> Result<Vec<Revocation>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let names = |key: &RevocationKey| {
            let restored = StoredKey::restored(key.hash());
            [key.rendered().to_owned(), restored]
        };
        let names: Vec<_> = keys.iter().flat_map(names).collect();
        let values = self.route.read(&names).await?;
        let now = self.replica.now();
        let whole = values
            .into_iter()
            .map(|(value, left)| format::whole(value, left, now));
        let whole: Vec<_> = whole.collect();
        let pairs = keys.into_iter().zip(whole.chunks_exact(2));
        let read = |(key, pair): (_, &[Option<format::Whole>])| {
            format::revocation(key, pair[0].as_ref(), pair[1].as_ref())
        };
        Ok(pairs.filter_map(read).collect())
    }
}

fn route(
    connector: Connector,
    options: &RedisOptions,
    bound: Duration,
    identify: bool,
) -> Result<Route, StoreError> {
    Ok(match options.endpoint {
        Endpoint::Cluster(_) => Route::Cluster(Router::start(connector, bound, identify)),
        Endpoint::Url(_) | Endpoint::Sentinel(_) => {
            Route::One(Box::new(OneServer::start(connector, options, identify)?))
        }
    })
}

/// Builds a command that reads a string. It is `GET` and not `MGET`, because `MGET` reports a key of another type
/// as absent, while `GET` returns an error.
fn get(key: &str) -> Cmd {
    let mut get = redis::cmd("GET");
    get.arg(key);
    get
}

#[async_trait]
impl RevocationStore for RedisStore {
    fn view(&self) -> Option<&View> {
        self.replica.view()
    }

    fn registry(&self) -> Option<&dyn TokenRegistry> {
        Some(self)
    }

    async fn lookup(&self, keys: &[RevocationKey]) -> Result<Vec<Option<Cutoff>>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let both = |key: &RevocationKey| {
            let restored = StoredKey::restored(key.hash());
            [get(key.rendered()), get(&restored)]
        };
        let commands = keys.iter().flat_map(both).collect();
        let parse = |answers: Vec<Value>| answers.into_iter().map(from_redis_value).collect();
        let asked = self.route.ask(commands, self.replica.trusted(), parse);
        let values: Vec<Option<Vec<u8>>> = asked.await?;
        let pairs = values.chunks_exact(2);
        let both = pairs.map(|pair| format::cutoff(pair[0].as_deref(), pair[1].as_deref()));
        Ok(both.collect())
    }

    async fn lookup_foreign(&self, keys: &[ForeignKey]) -> Result<Vec<Option<Effect>>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = redis::pipe();
        for key in keys {
            applications::ask(&mut pipeline, key);
        }
        let commands = pipeline.cmd_iter().cloned().collect();
        let now = self.replica.now();
        let parse = |answers: Vec<Value>| {
            let mut answers = answers.into_iter();
            let read = |key| applications::answer(&mut answers, key, now, self.metrics.as_deref());
            keys.iter().map(read).collect()
        };
        let asked = self.route.ask(commands, self.replica.trusted(), parse);
        asked.await
    }

    async fn revoke(&self, revocation: &Revocation) -> Result<Durability, StoreError> {
        let life = revocation.expires_at.since(self.replica.now()).as_millis();
        if life == 0 {
            return Ok(Durability::default());
        }
        self.route.revoke(&self.replica, revocation, life).await
    }

    async fn unrevoke(&self, key: &RevocationKey) -> Result<bool, StoreError> {
        self.route.unrevoke(&self.replica, key).await
    }

    async fn get(&self, key: &RevocationKey) -> Result<Option<Revocation>, StoreError> {
        Ok(self.read(vec![key.clone()]).await?.pop())
    }

    async fn prune(&self, now: Timestamp) -> Result<u64, StoreError> {
        // Redis expires keys itself. It does not report to the feed what expired while the feed was
        // disconnected, or under another name.
        Ok(self.view().map_or(0, |view| view.prune(now) as u64))
    }

    /// Lists a cluster node by node. A revocation that moves to another node during the listing may be listed
    /// twice, or not at all.
    async fn list(&self, after: Option<&str>, limit: usize) -> Result<Page, StoreError> {
        let mut position = after.map(str::to_owned);
        let mut revocations = Vec::new();
        loop {
            let (names, next) = self.route.scan(position.as_deref()).await?;
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
