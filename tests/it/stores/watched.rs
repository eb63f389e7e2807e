//! Redis found through Sentinels, and Valkey in its place.

use std::sync::Arc;
use std::time::{Duration, Instant};

use revoxy::clock::SystemClock;
use revoxy::revocation::{RedisOptions, RedisStore};

use super::fixture::{Durable, Fixture, Store, is_back};
use super::viewed::{Patient, follows_again, metrics, settings};
use crate::support::sentinel::Trio;
use crate::support::{PATIENCE, Redis, Scratch, eventually};

/// How long a Sentinel may be silent while the machine is busy with other tests.
const LONG: Duration = Duration::from_secs(5);

pub struct InSentinel {
    store: Store,
    trio: Trio,
}

pub struct InValkey {
    store: Store,
    _valkey: Redis,
    _scratch: Scratch,
}

async fn open(options: &RedisOptions) -> Store {
    let store = RedisStore::new(options, Arc::new(SystemClock)).unwrap();
    store.ready(PATIENCE).await.unwrap();
    let store = Arc::new(store) as Store;
    // The first answers of the Sentinels come a moment after the first connection.
    eventually("a listing", async || store.list(None, 1).await.ok()).await;
    store
}

impl Fixture for InSentinel {
    async fn start() -> Self {
        let trio = Trio::without_replicas().await;
        Self {
            store: open(&trio.options(LONG)).await,
            trio,
        }
    }

    fn store(&self) -> Store {
        Arc::clone(&self.store)
    }
}

impl Durable for InSentinel {
    async fn restart(&mut self) {
        self.trio.restart().await;
        is_back(&*self.store).await;
    }
}

/// The same with a view.
pub struct InFollowedSentinel {
    store: Arc<Patient<RedisStore>>,
    trio: Trio,
}

impl Fixture for InFollowedSentinel {
    async fn start() -> Self {
        let trio = Trio::without_replicas().await;
        let (options, clock) = (trio.options(LONG), Arc::new(SystemClock));
        let store = RedisStore::with_view(&options, settings(), clock, metrics()).unwrap();
        store.ready(PATIENCE).await.unwrap();
        is_back(&store).await;
        Self {
            store: Arc::new(Patient(store)),
            trio,
        }
    }

    fn store(&self) -> Store {
        Arc::clone(&self.store) as _
    }
}

impl Durable for InFollowedSentinel {
    async fn restart(&mut self) {
        self.trio.restart().await;
        follows_again(&*self.store, Instant::now()).await;
        is_back(&*self.store).await;
    }
}

impl Fixture for InValkey {
    async fn start() -> Self {
        let scratch = Scratch::new();
        let valkey = Redis::valkey(&scratch).await;
        Self {
            store: open(&valkey.options()).await,
            _valkey: valkey,
            _scratch: scratch,
        }
    }

    fn store(&self) -> Store {
        Arc::clone(&self.store)
    }
}
