//! Redis, three replicas of Revoxy each behind a proxy, writers and readers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use jsonwebtoken::Algorithm;
use revoxy::clock::SystemClock;
use revoxy::revocation::{KeyKind, RedisStore, RevocationKey, RevocationStore as _};
use tokio::sync::{RwLock, watch};
use tokio::task::JoinSet;

use super::faults::Fault;
use super::history::History;
use crate::support::{
    Checks, Config, Mood, Proxy, Redis, Revoxy, Scratch, SigningKey, Token, eventually,
};

const REPLICAS: usize = 3;
const TOKENS: usize = 2000;
const MAX_STALENESS: Duration = Duration::from_millis(600);
/// Tokens that are never revoked, to see that everything works again.
const SPARED: usize = 50;

pub struct Scene {
    pub history: Arc<History>,
    redis: Redis,
    proxies: Vec<Proxy>,
    replicas: Vec<Revoxy>,
    checks: Arc<Vec<RwLock<Checks>>>,
    config: Config,
    tokens: Arc<Vec<String>>,
    /// Writers rest while it is true.
    rest: watch::Sender<bool>,
    writing: Arc<AtomicUsize>,
    next: Arc<AtomicUsize>,
    scratch: Scratch,
}

/// Writers and readers.
pub struct Work {
    tasks: JoinSet<()>,
    over: Arc<AtomicBool>,
}

impl Work {
    pub async fn stop(mut self) {
        self.over.store(true, Ordering::SeqCst);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }
}

fn jti(token: usize) -> String {
    format!("safety-{token}")
}

impl Scene {
    pub async fn set(deletions: &str) -> Self {
        let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
        let redis = Redis::durable(&scratch).await;
        let config = Config::trusting(&key, &scratch)
            .revocation(&format!("max_staleness: {}ms", MAX_STALENESS.as_millis()))
            .revocation("compare_every: 1s")
            .revocation(&format!("deletions: {deletions}"));
        let (mut proxies, mut replicas, mut checks) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..REPLICAS {
            let proxy = Proxy::before(redis.port()).await;
            let replica = Revoxy::start(&scratch, &through(&config, &proxy)).await;
            checks.push(RwLock::new(replica.checks().await));
            proxies.push(proxy);
            replicas.push(replica);
        }
        let tokens = (0..TOKENS)
            .map(|t| Token::access(&jti(t)).sign(&key))
            .collect();
        Self {
            history: Arc::new(History::of(TOKENS, MAX_STALENESS)),
            redis,
            proxies,
            replicas,
            checks: Arc::new(checks),
            config,
            tokens: Arc::new(tokens),
            rest: watch::channel(false).0,
            writing: Arc::default(),
            next: Arc::new(AtomicUsize::new(SPARED)),
            scratch,
        }
    }

    pub fn put_to_work(&self) -> Work {
        let over = Arc::<AtomicBool>::default();
        let mut tasks = JoinSet::new();
        for _ in 0..2 {
            tasks.spawn(write(
                redis::Client::open(self.redis.url()).unwrap(),
                Arc::clone(&self.history),
                Arc::clone(&self.next),
                (self.rest.subscribe(), Arc::clone(&self.writing)),
                Arc::clone(&over),
            ));
        }
        for replica in 0..REPLICAS {
            for n in 0..2 {
                let reader = Reader {
                    replica,
                    tokens: Arc::clone(&self.tokens),
                    checks: Arc::clone(&self.checks),
                    history: Arc::clone(&self.history),
                    next: Arc::clone(&self.next),
                };
                tasks.spawn(reader.read(replica * 7 + n * 3, Arc::clone(&over)));
            }
        }
        Work { tasks, over }
    }

    pub async fn suffer(&mut self, fault: Fault) {
        let wait = tokio::time::sleep;
        match fault {
            Fault::Pause(time) => {
                self.redis.pause();
                wait(time).await;
                self.redis.resume();
            }
            Fault::Kill(time) => {
                self.redis.kill();
                wait(time).await;
                self.redis.restart(&self.scratch).await;
            }
            Fault::KillAndForget(time) => {
                self.catch_up().await;
                self.redis.kill();
                wait(time).await;
                self.redis.restart_empty(&self.scratch).await;
                self.resume().await;
            }
            Fault::Cut(replica, time) => self.mood(replica, Mood::Cutting, time).await,
            Fault::Hang(replica, time) => self.mood(replica, Mood::Hanging, time).await,
            Fault::Delay(replica, time, by) => self.mood(replica, Mood::Delaying(by), time).await,
            Fault::ClientKill => {
                let _: i64 = self
                    .redis
                    .run(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
            }
            Fault::Flood => self.flood(3000).await,
            Fault::Overflow(replica) => {
                let limit = |l: &str| {
                    let () = self
                        .redis
                        .run(&["CONFIG", "SET", "client-output-buffer-limit", l]);
                };
                limit("normal 32768 0 0");
                self.proxies[replica].set(Mood::Hanging);
                self.flood(3000).await;
                self.proxies[replica].set(Mood::Passing);
                limit("normal 0 0 0");
            }
            Fault::Restart(replica) => {
                self.replicas[replica].process.kill();
                let config = through(&self.config, &self.proxies[replica]);
                self.replicas[replica] = Revoxy::start(&self.scratch, &config).await;
                *self.checks[replica].write().await = self.replicas[replica].checks().await;
            }
            Fault::Demote => {
                self.catch_up().await;
                let other = Redis::start(&self.scratch).await;
                let () = self
                    .redis
                    .run(&["REPLICAOF", "127.0.0.1", &other.port().to_string()]);
                eventually("the data of the other server", async || {
                    let info: String = self.redis.run(&["INFO", "replication"]);
                    info.contains("master_link_status:up").then_some(())
                })
                .await;
                let () = self.redis.run(&["REPLICAOF", "NO", "ONE"]);
                self.resume().await;
            }
            Fault::Evict => {
                self.catch_up().await;
                let () = self
                    .redis
                    .run(&["CONFIG", "SET", "maxmemory-policy", "allkeys-random"]);
                let () = self.redis.run(&["CONFIG", "SET", "maxmemory", "1mb"]);
                wait(Duration::from_millis(300)).await;
                let () = self.redis.run(&["CONFIG", "SET", "maxmemory", "0"]);
                let () = self
                    .redis
                    .run(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
                // A replica that starts before the comparison has written back what is missing knows nothing of it.
                self.stands_again().await;
                self.resume().await;
            }
            Fault::FlushAll => {
                self.catch_up().await;
                let () = self.redis.run(&["FLUSHALL"]);
                self.resume().await;
            }
            Fault::SwapDb => {
                self.catch_up().await;
                let () = self.redis.run(&["SWAPDB", "0", "1"]);
                self.resume().await;
            }
        }
        // Time for the next fault to meet it half recovered, or not.
        wait(Duration::from_millis(200)).await;
    }

    async fn mood(&self, replica: usize, mood: Mood, time: Duration) {
        self.proxies[replica].set(mood);
        tokio::time::sleep(time).await;
        self.proxies[replica].set(Mood::Passing);
    }

    /// Revokes many at once, which nobody checks, and waits for the acknowledgements.
    async fn flood(&self, count: usize) {
        let Ok(mut connection) = connect(&redis::Client::open(self.redis.url()).unwrap()).await
        else {
            return;
        };
        let mut pipeline = redis::pipe();
        for n in 0..count {
            let key = format!("revoxy:jti:shop:flood-{n}");
            pipeline
                .cmd("SET")
                .arg(key)
                .arg("")
                .arg("PX")
                .arg(60_000 + n)
                .ignore();
        }
        let _: Result<(), _> = pipeline.query_async(&mut connection).await;
    }

    /// Lets the writers rest until every replica knows everything that was acknowledged.
    async fn catch_up(&self) {
        self.rest.send_replace(true);
        eventually("writers that rest", async || {
            (self.writing.load(Ordering::SeqCst) == 0).then_some(())
        })
        .await;
        let resting = Instant::now();
        for replica in &self.replicas {
            eventually("a replica that has caught up", async || {
                let rested = resting.elapsed().as_secs_f64();
                let age = replica.metric("revoxy_revocation_view_age_seconds").await;
                (age < rested).then_some(())
            })
            .await;
        }
    }

    /// Waits until everything that was acknowledged stands in Redis, under whatever name.
    async fn stands_again(&self) {
        let store = RedisStore::new(&self.redis.options(), Arc::new(SystemClock)).unwrap();
        let acknowledged = (0..TOKENS).filter(|t| self.history.is_acknowledged(*t));
        let key = |token| RevocationKey::new(KeyKind::TokenId, "shop", &jti(token));
        let keys: Vec<_> = acknowledged.map(key).collect();
        eventually("all revocations in Redis again", async || {
            let found = store.lookup(&keys).await.ok()?;
            found.iter().all(Option::is_some).then_some(())
        })
        .await;
    }

    async fn resume(&self) {
        // Those who hold what the server has lost write it back before anybody else may start without it.
        for replica in &self.replicas {
            eventually("a replica that follows Redis", async || {
                let age = replica.metric("revoxy_revocation_view_age_seconds").await;
                (age < MAX_STALENESS.as_secs_f64()).then_some(())
            })
            .await;
        }
        self.rest.send_replace(false);
    }

    /// With nothing wrong any more, every replica allows what was spared and denies what was revoked.
    pub async fn recovers(&self) {
        for replica in 0..REPLICAS {
            let checks = self.checks[replica].read().await.clone();
            eventually("a replica that allows what was never revoked", async || {
                checks.bearer(&self.tokens[0]).await.allows().then_some(())
            })
            .await;
            for token in (0..TOKENS).filter(|t| self.history.is_acknowledged(*t)) {
                let started = Instant::now();
                let answer = checks.bearer(&self.tokens[token]).await;
                self.history
                    .answered(token, replica, started, answer.allows(), answer.reason());
            }
        }
    }

    /// What is taken back through the store is allowed again, everywhere.
    pub async fn takes_back(&self) {
        let store = RedisStore::new(&self.redis.options(), Arc::new(SystemClock)).unwrap();
        let revoked: Vec<_> = (0..TOKENS)
            .filter(|t| self.history.is_acknowledged(*t))
            .take(20)
            .collect();
        for token in &revoked {
            let key = RevocationKey::new(KeyKind::TokenId, "shop", &jti(*token));
            assert!(store.unrevoke(&key).await.unwrap(), "{token} was revoked");
        }
        for replica in 0..REPLICAS {
            let checks = self.checks[replica].read().await.clone();
            for token in &revoked {
                eventually("a token that was taken back and is allowed", async || {
                    checks
                        .bearer(&self.tokens[*token])
                        .await
                        .allows()
                        .then_some(())
                })
                .await;
            }
        }
    }
}

fn through(config: &Config, proxy: &Proxy) -> Config {
    let url = format!("redis://127.0.0.1:{}/0", proxy.port());
    config.clone().store(format!("redis: {{ url: {url:?} }}"))
}

async fn connect(client: &redis::Client) -> redis::RedisResult<redis::aio::MultiplexedConnection> {
    client.get_multiplexed_async_connection().await
}

/// Revokes token after token, and notes each acknowledgement.
async fn write(
    client: redis::Client,
    history: Arc<History>,
    next: Arc<AtomicUsize>,
    (mut rest, writing): (watch::Receiver<bool>, Arc<AtomicUsize>),
    over: Arc<AtomicBool>,
) {
    let mut connection = None;
    while !over.load(Ordering::SeqCst) {
        if *rest.borrow_and_update() {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        }
        writing.fetch_add(1, Ordering::SeqCst);
        // Asked to rest in between: the one who asked has seen the count, or will.
        if !*rest.borrow() {
            if connection.is_none() {
                connection = connect(&client).await.ok();
            }
            let token = next.load(Ordering::SeqCst);
            if let Some(live) = &mut connection
                && token < TOKENS
            {
                let token = next.fetch_add(1, Ordering::SeqCst).min(TOKENS - 1);
                let key = format!("revoxy:jti:shop:{}", jti(token));
                let mut set = redis::cmd("SET");
                let set = set.arg(key).arg("").arg("EX").arg(3600);
                match set.query_async::<()>(live).await {
                    Ok(()) => history.acknowledged(token),
                    Err(_) => connection = None,
                }
            }
        }
        writing.fetch_sub(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
}

/// Checks tokens on one replica, mostly those revoked of late.
struct Reader {
    replica: usize,
    tokens: Arc<Vec<String>>,
    checks: Arc<Vec<RwLock<Checks>>>,
    history: Arc<History>,
    next: Arc<AtomicUsize>,
}

impl Reader {
    async fn read(self, mut step: usize, over: Arc<AtomicBool>) {
        while !over.load(Ordering::SeqCst) {
            step = step.wrapping_mul(31).wrapping_add(17);
            let newest = self.next.load(Ordering::SeqCst).min(TOKENS - 1);
            let token = match step % 4 {
                0 => step / 4 % (newest + 1),
                // Not revoked yet: that it is allowed shows that something is.
                1 => (newest + step / 4 % 40).min(TOKENS - 1),
                _ => newest - (step / 4 % 60).min(newest),
            };
            let checks = self.checks[self.replica].read().await.clone();
            let started = Instant::now();
            match checks.try_bearer(&self.tokens[token]).await {
                Some(answer) => {
                    let (allows, reason) = (answer.allows(), answer.reason().to_owned());
                    self.history
                        .answered(token, self.replica, started, allows, &reason);
                }
                // The replica is down.
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}
