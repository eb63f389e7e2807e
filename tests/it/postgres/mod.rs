//! PostgreSQL as a store, beyond the contract: its schema, rows written by hand, TLS, and the feed that keeps a view.

mod by_hand;
mod following;
mod pool;
mod refused;
mod schema;
mod service;
mod tls;

use std::sync::Arc;
use std::time::{Duration, Instant};

use revoxy::clock::{Clock as _, Moment, SystemClock, Timestamp};
use revoxy::metrics::{CheckLabels, FeedCounters, Metrics};
use revoxy::revocation::{
    Cutoff, Deletions, FeedSettings, KeyKind, Lookups, PostgresOptions, PostgresStore, Revocation,
    RevocationKey, RevocationStore as _, StoreError,
};

use crate::support::{PATIENCE, Postgres, eventually};

const HOUR: Duration = Duration::from_secs(3600);

fn key(value: &str) -> RevocationKey {
    RevocationKey::new(KeyKind::TokenId, "shop", value)
}

fn revocation(value: &str) -> Revocation {
    let now = SystemClock.now();
    Revocation {
        key: key(value),
        cutoff: Cutoff::All,
        expires_at: now.plus(HOUR),
        reason: None,
        actor: None,
        revoked_at: now,
    }
}

/// A store with a view, and what it counts.
struct Followed {
    store: PostgresStore,
    feed: Arc<FeedCounters>,
}

impl Followed {
    /// One that compares so seldom that no test waits for it.
    async fn start(postgres: &Postgres) -> Self {
        Self::comparing(&postgres.options(), HOUR).await.unwrap()
    }

    async fn comparing(options: &PostgresOptions, every: Duration) -> Result<Self, StoreError> {
        let labels = CheckLabels {
            outcomes: &[],
            policies: &[],
        };
        let feed = Metrics::new(&labels, &StoreError::LABELS).unwrap().feed;
        let settings = FeedSettings {
            max_staleness: Duration::from_secs(1),
            deletions: Deletions::Honour,
            compare_every: every,
            lookups: Lookups::default(),
            issuers: Vec::new(),
        };
        let (clock, metrics) = (Arc::new(SystemClock), feed.clone());
        let store = PostgresStore::with_view(options, settings, PATIENCE, clock, metrics).await?;
        Ok(Self { store, feed })
    }

    /// What the view holds under this key.
    fn holds(&self, key: &RevocationKey) -> Option<Cutoff> {
        self.store.view().unwrap().lookup(key, SystemClock.now())
    }

    fn len(&self) -> usize {
        self.store.view().unwrap().len()
    }

    /// Waits until the view says this of the token.
    async fn comes_to(&self, value: &str, expected: Option<Cutoff>) {
        let what = format!("{expected:?} for {value} in the view");
        eventually(&what, async || {
            (self.holds(&key(value)) == expected).then_some(())
        })
        .await;
    }

    /// How long ago the view is known to have been complete.
    fn age(&self) -> Duration {
        self.store.view().unwrap().age(Moment::now()).unwrap()
    }

    /// Waits until the view is known to contain everything that was acknowledged before now.
    async fn catches_up(&self) {
        let now = Instant::now();
        eventually("a view as of now", async || {
            (self.age() < now.elapsed()).then_some(())
        })
        .await;
    }

    /// Waits until the feed has lost the server, or been refused by it, once more than `times`.
    async fn is_interrupted(&self, times: u64) {
        eventually("an interrupted feed", async || {
            (self.feed.reconnects.get() > times).then_some(())
        })
        .await;
    }
}

fn up_to(secs: i64) -> Option<Cutoff> {
    Some(Cutoff::IssuedUpTo(Timestamp::from_secs(secs)))
}
