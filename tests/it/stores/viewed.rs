//! Stores with a view, and patient: of what they take back, the view has heard when they say so, as the contract looks
//! there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use revoxy::clock::{Moment, SystemClock, Timestamp};
use revoxy::metrics::{CheckLabels, FeedCounters, Metrics};
use revoxy::revocation::{
    Cutoff, Deletions, Durability, FeedSettings, Lookups, Page, RedisStore, Revocation,
    RevocationKey, RevocationStore, StoreError, TokenRegistry, View,
};

use super::fixture::{Durable, Fixture, Store, is_back};
use crate::support::cluster::{Cluster, Flavour};
use crate::support::{PATIENCE, Redis, Scratch, eventually};

pub struct Patient<S>(pub S);

/// How a view follows here.
pub fn settings() -> FeedSettings {
    FeedSettings {
        max_staleness: Duration::from_secs(1),
        deletions: Deletions::Honour,
        compare_every: Duration::from_secs(3600),
        lookups: Lookups::default(),
        issuers: Vec::new(),
    }
}

pub fn metrics() -> Arc<FeedCounters> {
    let labels = CheckLabels {
        outcomes: &[],
        policies: &[],
    };
    Metrics::new(&labels, &StoreError::LABELS).unwrap().feed
}

/// Waits until a store's view is as of a moment after this.
pub async fn follows_again(store: &dyn RevocationStore, this: Instant) {
    eventually("a view as of now", async || {
        let age = store.view()?.age(Moment::now())?;
        (age < this.elapsed()).then_some(())
    })
    .await;
}

pub struct InFollowedRedis {
    store: Arc<Patient<RedisStore>>,
    redis: Redis,
    scratch: Scratch,
}

impl Fixture for InFollowedRedis {
    async fn start() -> Self {
        let scratch = Scratch::new();
        let redis = Redis::durable(&scratch).await;
        let clock = Arc::new(SystemClock);
        let store = RedisStore::with_view(&redis.options(), settings(), clock, metrics()).unwrap();
        store.ready(PATIENCE).await.unwrap();
        Self {
            store: Arc::new(Patient(store)),
            redis,
            scratch,
        }
    }

    fn store(&self) -> Store {
        Arc::clone(&self.store) as _
    }
}

impl Durable for InFollowedRedis {
    async fn restart(&mut self) {
        self.redis.kill();
        self.redis.restart(&self.scratch).await;
        follows_again(&*self.store, Instant::now()).await;
        is_back(&*self.store).await;
    }
}

pub struct InFollowedCluster {
    store: Arc<Patient<RedisStore>>,
    cluster: Cluster,
    scratch: Scratch,
}

impl Fixture for InFollowedCluster {
    async fn start() -> Self {
        let scratch = Scratch::new();
        let cluster = Cluster::start(&scratch, Flavour::Redis).await;
        let (options, clock) = (cluster.options(), Arc::new(SystemClock));
        let store = RedisStore::with_view(&options, settings(), clock, metrics()).unwrap();
        store.ready(PATIENCE).await.unwrap();
        Self {
            store: Arc::new(Patient(store)),
            cluster,
            scratch,
        }
    }

    fn store(&self) -> Store {
        Arc::clone(&self.store) as _
    }
}

impl Durable for InFollowedCluster {
    async fn restart(&mut self) {
        self.cluster.restart_all(&self.scratch).await;
        follows_again(&*self.store, Instant::now()).await;
        is_back(&*self.store).await;
    }
}

#[async_trait]
impl<S: RevocationStore> RevocationStore for Patient<S> {
    fn view(&self) -> Option<&View> {
        self.0.view()
    }

    fn registry(&self) -> Option<&dyn TokenRegistry> {
        self.0.registry()
    }

    async fn lookup(&self, keys: &[RevocationKey]) -> Result<Vec<Option<Cutoff>>, StoreError> {
        self.0.lookup(keys).await
    }

    async fn revoke(&self, revocation: &Revocation) -> Result<Durability, StoreError> {
        self.0.revoke(revocation).await
    }

    async fn unrevoke(&self, key: &RevocationKey) -> Result<bool, StoreError> {
        let there = self.0.unrevoke(key).await?;
        let asked = Instant::now();
        let hears = async {
            while there && self.view().unwrap().age(Moment::now()) > Some(asked.elapsed()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let heard = tokio::time::timeout(PATIENCE, hears).await;
        heard.expect("a view that hears of what was taken back");
        Ok(there)
    }

    async fn get(&self, key: &RevocationKey) -> Result<Option<Revocation>, StoreError> {
        self.0.get(key).await
    }

    async fn list(&self, after: Option<&str>, limit: usize) -> Result<Page, StoreError> {
        self.0.list(after, limit).await
    }

    async fn prune(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.0.prune(now).await
    }
}
