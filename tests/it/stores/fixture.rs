//! Stores to try: each started anew, with a clock that the test moves or a short time to wait.

use std::sync::Arc;
use std::time::Duration;

use revoxy::clock::{Clock, ManualClock, SystemClock, Timestamp};
use revoxy::revocation::{MemoryStore, RedisStore, RevocationStore, SqliteStore, StoreError};

use super::contract::key;
use crate::support::cluster::{Cluster, Flavour};
use crate::support::{PATIENCE, Redis, Scratch, eventually};

pub type Store = Arc<dyn RevocationStore>;

/// A store under test.
pub trait Fixture: Send + Sync + Sized {
    async fn start() -> Self;
    fn store(&self) -> Store;
    /// The time of its clock: the system's, unless the test has the clock.
    fn now(&self) -> Timestamp {
        SystemClock.now()
    }
    /// How long it keeps what has expired before it is swept.
    fn grace(&self) -> Duration {
        Duration::ZERO
    }
    /// Lets a [`Fixture::moment`] pass.
    async fn pass_a_moment(&self) {
        // Redis expires a key once its last millisecond is over.
        let end = self.now().plus(self.moment() + Duration::from_millis(2));
        eventually("the end of a moment", async || {
            (self.now() > end).then_some(())
        })
        .await;
    }
    /// Long enough for a few calls to the store, short enough to be waited for.
    fn moment(&self) -> Duration {
        Duration::from_secs(1)
    }
}

/// A store that keeps what it was told.
pub trait Durable: Fixture {
    /// Ends it without warning and starts it again on the same data.
    async fn restart(&mut self);
}

pub struct InMemory {
    clock: Arc<ManualClock>,
    store: Store,
}

pub fn manual() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(SystemClock.now()))
}

/// Waits until a store has found its way back by itself, to every server that it has.
pub async fn is_back(store: &dyn RevocationStore) {
    // As many as there are nodes to ask, and more.
    let keys: Vec<_> = (0..64).map(|n| key(&format!("nothing {n}"))).collect();
    eventually("a store that is back", async || {
        let answer = tokio::time::timeout(PATIENCE, store.lookup(&keys)).await;
        let listed = tokio::time::timeout(PATIENCE, store.list(None, 1000)).await;
        (answer.ok()?.is_ok() && listed.ok()?.is_ok()).then_some(())
    })
    .await;
}

impl Fixture for InMemory {
    async fn start() -> Self {
        let clock = manual();
        let store = Arc::new(MemoryStore::new(Arc::clone(&clock) as _));
        Self { clock, store }
    }

    fn store(&self) -> Store {
        Arc::clone(&self.store)
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn pass_a_moment(&self) {
        self.clock.advance(self.moment());
    }
}

pub struct InSqlite {
    pub clock: Arc<ManualClock>,
    store: Option<Store>,
    scratch: Scratch,
}

impl InSqlite {
    async fn open(&self) -> Result<Store, StoreError> {
        let clock = Arc::clone(&self.clock) as _;
        let store = SqliteStore::open(&self.scratch.file("revoxy.db"), clock).await?;
        Ok(Arc::new(store))
    }
}

impl Fixture for InSqlite {
    async fn start() -> Self {
        let mut fixture = Self {
            clock: manual(),
            store: None,
            scratch: Scratch::new(),
        };
        fixture.store = Some(fixture.open().await.unwrap());
        fixture
    }

    fn store(&self) -> Store {
        self.store.clone().unwrap()
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn grace(&self) -> Duration {
        Duration::from_secs(3600)
    }

    async fn pass_a_moment(&self) {
        self.clock.advance(self.moment());
    }
}

impl Durable for InSqlite {
    async fn restart(&mut self) {
        self.store = None;
        // The pool lets go of the file in the background.
        self.store = Some(eventually("an unlocked file", async || self.open().await.ok()).await);
    }
}

pub struct InRedis {
    pub redis: Redis,
    store: Arc<RedisStore>,
    scratch: Scratch,
}

impl Fixture for InRedis {
    async fn start() -> Self {
        let scratch = Scratch::new();
        let redis = Redis::durable(&scratch).await;
        let store = RedisStore::new(&redis.options(), Arc::new(SystemClock)).unwrap();
        store.ready(PATIENCE).await.unwrap();
        Self {
            redis,
            store: Arc::new(store),
            scratch,
        }
    }

    fn store(&self) -> Store {
        Arc::clone(&self.store) as _
    }
}

impl Durable for InRedis {
    async fn restart(&mut self) {
        self.redis.kill();
        self.redis.restart(&self.scratch).await;
        is_back(&*self.store).await;
    }
}

pub struct InCluster {
    store: Arc<RedisStore>,
    cluster: Cluster,
    scratch: Scratch,
}

impl Fixture for InCluster {
    async fn start() -> Self {
        let scratch = Scratch::new();
        let cluster = Cluster::start(&scratch, Flavour::Redis).await;
        let store = RedisStore::new(&cluster.options(), Arc::new(SystemClock)).unwrap();
        store.ready(PATIENCE).await.unwrap();
        Self {
            store: Arc::new(store),
            cluster,
            scratch,
        }
    }

    fn store(&self) -> Store {
        Arc::clone(&self.store) as _
    }
}

impl Durable for InCluster {
    async fn restart(&mut self) {
        self.cluster.restart_all(&self.scratch).await;
        is_back(&*self.store).await;
    }
}
