//! A store, three replicas of Revoxy each behind a proxy, writers and readers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use jsonwebtoken::Algorithm;
use revoxy::revocation::{KeyKind, RevocationKey};
use tokio::sync::{RwLock, watch};
use tokio::task::JoinSet;

use super::backing::{Backing, Writer};
use super::faults::Fault;
use super::history::History;
use crate::support::{Checks, Config, Mood, Revoxy, Scratch, SigningKey, Token, eventually};

const REPLICAS: usize = 3;
const TOKENS: usize = 2000;
const MAX_STALENESS: Duration = Duration::from_millis(600);
/// Tokens that are never revoked, to see that everything works again.
const SPARED: usize = 50;

pub struct Scene<B> {
    pub history: Arc<History>,
    pub backing: B,
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

impl<B: Backing> Scene<B> {
    pub async fn set() -> Self {
        let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
        let backing = B::start(&scratch, REPLICAS).await;
        let mut config = Config::trusting(&key, &scratch)
            .revocation(&format!("max_staleness: {}ms", MAX_STALENESS.as_millis()))
            .revocation("compare_every: 1s");
        for line in backing.lines() {
            config = config.revocation(&line);
        }
        let (mut replicas, mut checks) = (Vec::new(), Vec::new());
        for replica in 0..REPLICAS {
            let config = config.clone().store(backing.store(replica));
            let replica = Revoxy::start(&scratch, &config).await;
            checks.push(RwLock::new(replica.checks().await));
            replicas.push(replica);
        }
        let tokens = (0..TOKENS)
            .map(|t| Token::access(&jti(t)).sign(&key))
            .collect();
        Self {
            history: Arc::new(History::of(TOKENS, MAX_STALENESS)),
            backing,
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
                (self.backing.writer(), self.backing.pace()),
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
        match fault {
            Fault::Cut(replica, time) => self.mood(replica, Mood::Cutting, time).await,
            Fault::Hang(replica, time) => self.mood(replica, Mood::Hanging, time).await,
            Fault::HangHalf(replica, odd, time) => {
                self.mood(replica, Mood::HangingHalf { odd }, time).await;
            }
            Fault::Delay(replica, time, by) => self.mood(replica, Mood::Delaying(by), time).await,
            Fault::Flood => self.backing.flood(3000).await,
            Fault::Restart(replica) => {
                self.replicas[replica].process.kill();
                let config = self.config.clone().store(self.backing.store(replica));
                self.replicas[replica] = Revoxy::start(&self.scratch, &config).await;
                *self.checks[replica].write().await = self.replicas[replica].checks().await;
            }
            of_the_store if self.backing.loses(of_the_store) => {
                self.catch_up().await;
                self.backing.suffer(of_the_store, &self.scratch).await;
                if self.backing.must_stand_again(of_the_store) {
                    self.stands_again().await;
                }
                self.resume().await;
            }
            of_the_store => self.backing.suffer(of_the_store, &self.scratch).await,
        }
        // Time for the next fault to meet it half recovered, or not.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    async fn mood(&self, replica: usize, mood: Mood, time: Duration) {
        self.backing.set_mood(replica, mood);
        tokio::time::sleep(time).await;
        self.backing.set_mood(replica, Mood::Passing);
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

    /// Waits until everything that was acknowledged stands in the store, under whatever name.
    async fn stands_again(&self) {
        let store = self.backing.direct().await;
        let acknowledged = (0..TOKENS).filter(|t| self.history.is_acknowledged(*t));
        let key = |token| RevocationKey::new(KeyKind::TokenId, "shop", &jti(token));
        let keys: Vec<_> = acknowledged.map(key).collect();
        eventually("all revocations in the store again", async || {
            let found = store.lookup(&keys).await.ok()?;
            found.iter().all(Option::is_some).then_some(())
        })
        .await;
    }

    async fn resume(&self) {
        // Those who hold what the server has lost write it back before anybody else may start without it.
        for replica in &self.replicas {
            eventually("a replica that follows the store", async || {
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
        let store = self.backing.direct().await;
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

/// Revokes token after token, and notes each acknowledgement.
async fn write(
    (mut writer, pace): (impl Writer, Duration),
    history: Arc<History>,
    next: Arc<AtomicUsize>,
    (mut rest, writing): (watch::Receiver<bool>, Arc<AtomicUsize>),
    over: Arc<AtomicBool>,
) {
    while !over.load(Ordering::SeqCst) {
        if *rest.borrow_and_update() {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        }
        writing.fetch_add(1, Ordering::SeqCst);
        // Asked to rest in between: the one who asked has seen the count, or will.
        if !*rest.borrow() && writer.is_connected().await && next.load(Ordering::SeqCst) < TOKENS {
            let token = next.fetch_add(1, Ordering::SeqCst).min(TOKENS - 1);
            if writer.revoke(&jti(token)).await {
                history.acknowledged(token);
            }
        }
        writing.fetch_sub(1, Ordering::SeqCst);
        tokio::time::sleep(pace).await;
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
