//! Stores in PostgreSQL to try: asked on every call, and with a view.

use std::sync::Arc;
use std::time::Instant;

use revoxy::clock::{Clock as _, ManualClock, Timestamp};
use revoxy::revocation::PostgresStore;

use super::fixture::{Durable, Fixture, Store, is_back, manual};
use super::viewed::{Patient, follows_again, metrics, settings};
use crate::support::{PATIENCE, Postgres, Scratch};

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
        // One call meets the connection that is no more.
        is_back(&*self.store).await;
    }
}

pub struct InFollowedPostgres {
    postgres: Postgres,
    clock: Arc<ManualClock>,
    store: Arc<Patient<PostgresStore>>,
    scratch: Scratch,
}

impl Fixture for InFollowedPostgres {
    async fn start() -> Self {
        let (scratch, clock) = (Scratch::new(), manual());
        let postgres = Postgres::start(&scratch).await;
        let (options, time) = (postgres.options(), Arc::clone(&clock) as _);
        let store = PostgresStore::with_view(&options, settings(), PATIENCE, time, metrics()).await;
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
        follows_again(&*self.store, Instant::now()).await;
        // And with direct reads: one meets the connection that is no more.
        is_back(&*self.store).await;
    }
}
