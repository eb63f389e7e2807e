//! Stores in PostgreSQL to try: asked on every call, and with a view.

use std::sync::Arc;
use std::time::Instant;

use revoxy::clock::{Clock as _, ManualClock, Timestamp};
use revoxy::revocation::{PostgresStore, RevocationStore as _};

use super::fixture::{Durable, Fixture, Store, manual};
use super::viewed::{Patient, metrics, settings};
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
