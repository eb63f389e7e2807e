//! A replica of Revoxy: the real store with its view, and the real checker.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use revoxy::clock::{Clock as _, Moment};
use revoxy::jwt::TokenType;
use revoxy::metrics::{CheckLabels, Metrics};
use revoxy::revocation::{
    CheckedTypes, Checker, CheckerSettings, Credentials, Endpoint, FeedSettings, Lookup, Lookups,
    RedisOptions, RedisStore, RevocationStore, SentinelOptions, StoreError, TokenKeys,
};

use crate::judge::Verdict;
use crate::redis::{MASTER, NODES, SENTINELS, SERVERS};
use crate::world::Wall;

use super::plan::{Over, Plan};

const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
const CHECK_DEADLINE: Duration = Duration::from_millis(200);

/// A running replica.
pub struct Running {
    /// Its number for the judge.
    pub number: usize,
    /// The store.
    pub store: Arc<dyn RevocationStore>,
    redis: Arc<RedisStore>,
    checker: Checker,
    wall: Wall,
}

/// A replica, with its clock and its place on the network.
pub struct Replica {
    /// Its name on the network.
    pub name: String,
    /// Its clock.
    pub wall: Wall,
    running: Mutex<Option<Arc<Running>>>,
    /// How often it was started.
    starts: AtomicU64,
}

/// All replicas of all schedules count together: nobody looks at the counts.
fn metrics() -> &'static Metrics {
    static METRICS: OnceLock<Metrics> = OnceLock::new();
    METRICS.get_or_init(|| {
        let labels = CheckLabels {
            outcomes: &[],
            policies: &[],
        };
        Metrics::new(&labels, &StoreError::LABELS).unwrap_or_else(|why| panic!("{why}"))
    })
}

impl Replica {
    /// A replica that does not run yet.
    pub fn new(name: String, ahead: i64) -> Self {
        let wall = Wall::new();
        wall.set_ahead(ahead);
        Self {
            name,
            wall,
            running: Mutex::new(None),
            starts: AtomicU64::new(0),
        }
    }

    /// Starts it, in the place of the one that ran. It answers checks as soon as its view is complete.
    pub fn start(self: &Arc<Self>, number: usize, plan: &Plan) {
        self.end();
        let start = self.starts.fetch_add(1, Ordering::Relaxed) + 1;
        let settings = FeedSettings {
            max_staleness: plan.max_staleness,
            deletions: plan.deletions,
            compare_every: plan.compare_every,
            lookups: Lookups::default(),
            issuers: Vec::new(),
        };
        let options = self.options(plan);
        let feed_metrics = metrics().feed.clone();
        let clock = Arc::new(self.wall.clone());
        let redis = RedisStore::with_view(&options, settings, clock, feed_metrics);
        let redis = Arc::new(redis.unwrap_or_else(|why| panic!("no store: {why}")));
        let store = Arc::clone(&redis) as Arc<dyn RevocationStore>;
        let checks = CheckerSettings {
            types: CheckedTypes {
                access: true,
                refresh: true,
            },
            deadline: CHECK_DEADLINE,
            max_staleness: plan.max_staleness,
        };
        let checker = Checker::new(Arc::clone(&store), checks, metrics().store.clone());
        let running = Arc::new(Running {
            number,
            store,
            redis,
            checker,
            wall: self.wall.clone(),
        });
        let replica = Arc::downgrade(self);
        tokio::spawn(async move {
            while running.redis.ready(Duration::from_secs(1)).await.is_err() {
                let is_wanted = |r: Arc<Self>| r.starts.load(Ordering::Relaxed) == start;
                if !replica.upgrade().is_some_and(is_wanted) {
                    return;
                }
            }
            if let Some(replica) = replica.upgrade()
                && replica.starts.load(Ordering::Relaxed) == start
            {
                *replica.lock() = Some(running);
            }
        });
    }

    fn options(&self, plan: &Plan) -> RedisOptions {
        let url = format!("redis://{}.{}:6379", self.name, SERVERS[0]);
        let options = RedisOptions::url(url, CONNECT_TIMEOUT);
        let node = |sentinel: &&str| format!("{}.{sentinel}:26379", self.name);
        match plan.over {
            Over::Redis => options,
            Over::Cluster => {
                let node = |node: &&str| format!("{}.{node}:6379", self.name);
                RedisOptions {
                    endpoint: Endpoint::Cluster(
                        NODES[..plan.cluster.seeds].iter().map(node).collect(),
                    ),
                    ..options
                }
            }
            Over::Sentinel => RedisOptions {
                endpoint: Endpoint::Sentinel(SentinelOptions {
                    master: MASTER.to_owned(),
                    nodes: SENTINELS.iter().map(node).collect(),
                    credentials: Credentials::default(),
                    tls: None,
                    database: 0,
                    confirmed_within: plan.max_staleness,
                }),
                ..options
            },
        }
    }

    /// Ends it at once, as `kill -9` does.
    pub fn end(&self) {
        self.lock().take();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Arc<Running>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The replica, where it is ready.
    pub fn running(&self) -> Option<Arc<Running>> {
        self.lock().clone()
    }
}

impl Running {
    /// What memory says about a token; `None` where the store has to be asked.
    pub fn look(&self, keys: &TokenKeys) -> Option<Verdict> {
        match self.checker.check(TokenType::Access, keys, self.wall.now()) {
            Lookup::Clear => Some(Verdict::Allowed),
            Lookup::Revoked(_) => Some(Verdict::Refused),
            Lookup::Ask => None,
            Lookup::Unidentified => Some(Verdict::Undecided),
        }
    }

    /// What the store says about a token.
    pub async fn ask(&self, keys: &TokenKeys) -> Verdict {
        match self.checker.ask(keys, self.wall.now()).await {
            Ok(None) => Verdict::Allowed,
            Ok(Some(_)) => Verdict::Refused,
            Err(_) => Verdict::Undecided,
        }
    }

    /// For how long the view has not been known to be complete.
    pub fn age(&self) -> Option<Duration> {
        self.store.view()?.age(Moment::now())
    }
}
