//! Stores in PostgreSQL to try: asked on every call, and with a view.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use revoxy::clock::{Clock as _, ManualClock, Timestamp};
use revoxy::metrics::{CheckLabels, Metrics};
use revoxy::revocation::{
    Cutoff, Deletions, FeedSettings, Lookups, Page, PostgresStore, Revocation, RevocationKey,
    RevocationStore, StoreError, View,
};

use super::fixture::{Durable, Fixture, Store, manual};
use crate::support::{PATIENCE, Postgres, Scratch, eventually};

pub struct InPostgres {
    pub postgres: Postgres,
    clock: Arc<ManualClock>,
    store: Store,
    scratch: Scratch,
}

impl Fixture for InPostgres {
    async fn start() -> Self {
        let (scratch, clock) = (Scratch::new(), manual());
        let postgres = Postgres::start(&scratch).await;
        let (options, time) = (postgres.options(), Arc::clone(&clock) as _);
        let store = PostgresStore::open(&options, PATIENCE, time).await.unwrap();
        Self {
            store: Arc::new(store),
            postgres,
            clock,
            scratch,
        }
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

impl Durable for InPostgres {
    async fn restart(&mut self) {
        self.postgres.kill();
        self.postgres.restart(&self.scratch).await;
        // The store has to find its way back by itself: one call meets the connection that is no more.
        eventually("a store that is back", async || {
            self.store.list(None, 1).await.ok()
        })
        .await;
    }
}

/// With a view, and patient: what it takes back, its view has heard of when it says so, as the contract looks there.
pub struct InFollowedPostgres {
    postgres: Postgres,
    clock: Arc<ManualClock>,
    store: Arc<Patient>,
    scratch: Scratch,
}

struct Patient(PostgresStore);

impl Fixture for InFollowedPostgres {
    async fn start() -> Self {
        let (scratch, clock) = (Scratch::new(), manual());
        let postgres = Postgres::start(&scratch).await;
        let labels = CheckLabels {
            outcomes: &[],
            policies: &[],
        };
        let metrics = Metrics::new(&labels, &StoreError::LABELS).unwrap().feed;
        let settings = FeedSettings {
            max_staleness: Duration::from_secs(1),
            deletions: Deletions::Honour,
            compare_every: Duration::from_secs(3600),
            lookups: Lookups::default(),
        };
        let (options, time) = (postgres.options(), Arc::clone(&clock) as _);
        let store = PostgresStore::with_view(&options, settings, PATIENCE, time, metrics).await;
        Self {
            store: Arc::new(Patient(store.unwrap())),
            postgres,
            clock,
            scratch,
        }
    }

    fn store(&self) -> Store {
        Arc::clone(&self.store) as _
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn pass_a_moment(&self) {
        self.clock.advance(self.moment());
    }
}

impl Durable for InFollowedPostgres {
    async fn restart(&mut self) {
        self.postgres.kill();
        self.postgres.restart(&self.scratch).await;
        let back = Instant::now();
        eventually("a view as of now", async || {
            let age = self.store.view()?.age(Instant::now())?;
            (age < back.elapsed()).then_some(())
        })
        .await;
        // And with direct reads: one meets the connection that is no more.
        let _ = self.store.list(None, 1).await;
    }
}

#[async_trait]
impl RevocationStore for Patient {
    fn view(&self) -> Option<&View> {
        self.0.view()
    }

    async fn lookup(&self, keys: &[RevocationKey]) -> Result<Vec<Option<Cutoff>>, StoreError> {
        self.0.lookup(keys).await
    }

    async fn revoke(&self, revocation: &Revocation) -> Result<(), StoreError> {
        self.0.revoke(revocation).await
    }

    async fn unrevoke(&self, key: &RevocationKey) -> Result<bool, StoreError> {
        let there = self.0.unrevoke(key).await?;
        let asked = Instant::now();
        while there && self.view().unwrap().age(Instant::now()) > Some(asked.elapsed()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
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
