//! The scene: a store, three Revoxy replicas, each behind a proxy, and writers and readers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use jsonwebtoken::Algorithm;
use revoxy::revocation::{KeyKind, RevocationKey};
use rustix::process::Signal;
use tokio::sync::{RwLock, watch};
use tokio::task::JoinSet;

use super::backing::Backing;
use super::cast::{BY_HAND, Cast, jti, subject};
use super::faults::{Fault, Random};
use super::history::History;
use super::judging::{Key, Origin, Rules, Says, Token, Verdict};
use super::readers::{Reader, verdict};
use super::writers::{ApiUser, Rest, write_by_hand};
use crate::support::{Checks, Config, Mood, Revoxy, Scratch, SigningKey, admin, eventually};

const REPLICAS: usize = 3;
const MAX_STALENESS: Duration = Duration::from_millis(600);
/// The number of direct writers, of users of the API, and of readers per replica.
const WRITERS: usize = 2;
const API_USERS: usize = 4;
const READERS: usize = 2;

/// How many times slower than in a short run the direct writers are, so that tokens are left for the last
/// fault.
fn pace_for(faults: u64) -> u32 {
    u32::try_from(faults / 50).unwrap().max(1)
}

pub struct Scene<B> {
    pub history: Arc<History>,
    pub backing: B,
    replicas: Vec<Revoxy>,
    checks: Arc<Vec<RwLock<Checks>>>,
    apis: Arc<RwLock<Vec<String>>>,
    config: Config,
    cast: Arc<Cast>,
    /// Writers pause while it is true.
    rest: watch::Sender<bool>,
    writing: Arc<AtomicUsize>,
    scratch: Scratch,
}

/// The tasks of writers and readers.
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

impl<B: Backing> Scene<B> {
    pub async fn set() -> Self {
        let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
        let backing = B::start(&scratch, REPLICAS).await;
        let mut config = Config::trusting(&key, &scratch)
            .revocation(&format!("max_staleness: {}ms", MAX_STALENESS.as_millis()))
            .revocation("compare_every: 1s")
            .section(&admin::section(&scratch));
        for line in backing.lines() {
            config = config.revocation(&line);
        }
        let (mut replicas, mut checks, mut apis) = (Vec::new(), Vec::new(), Vec::new());
        for replica in 0..REPLICAS {
            let config = config.clone().store(backing.store(replica));
            let replica = Revoxy::start(&scratch, &config).await;
            checks.push(RwLock::new(replica.checks().await));
            apis.push(replica.api.clone());
            replicas.push(replica);
        }
        let rules = Rules {
            max_staleness: MAX_STALENESS,
            allow_list: backing.allow_list(),
        };
        let scene = Self {
            // One more: a replica that is started in the end.
            history: Arc::new(History::of(REPLICAS + 1, rules)),
            backing,
            replicas,
            checks: Arc::new(checks),
            apis: Arc::new(RwLock::new(apis)),
            config,
            cast: Arc::new(Cast::signed_by(key)),
            rest: watch::channel(false).0,
            writing: Arc::default(),
            scratch,
        };
        scene.register_all().await;
        scene
    }

    /// Registers every token, if only registered ones are accepted.
    async fn register_all(&self) {
        if !self.backing.allow_list() {
            return;
        }
        let tokens = self.cast.registered();
        let begin = |token: &Token| {
            let key = Key::Registration(*token);
            self.history.begins(key, Says::Registered, Origin::Hand)
        };
        let begun: Vec<_> = tokens.iter().map(begin).collect();
        let jtis: Vec<_> = tokens.into_iter().map(jti).collect();
        self.backing.register(&jtis).await;
        for making in &begun {
            self.history.acknowledged(making);
        }
    }

    /// Starts writers and readers, for about this many faults.
    pub fn put_to_work(&self, seed: u64, faults: u64) -> Work {
        let over = Arc::<AtomicBool>::default();
        let mut tasks = JoinSet::new();
        let rest = || Rest {
            rest: self.rest.subscribe(),
            writing: Arc::clone(&self.writing),
        };
        for _ in 0..WRITERS {
            let pace = self.backing.pace() * pace_for(faults);
            let writer = (self.backing.writer(), pace);
            let (cast, history) = (Arc::clone(&self.cast), Arc::clone(&self.history));
            tasks.spawn(write_by_hand(
                writer,
                cast,
                history,
                rest(),
                Arc::clone(&over),
            ));
        }
        for n in 0..API_USERS {
            let user = ApiUser {
                http: reqwest::Client::new(),
                apis: Arc::clone(&self.apis),
                cast: Arc::clone(&self.cast),
                history: Arc::clone(&self.history),
                random: Random::of(seed + n as u64),
                registers: self.backing.allow_list(),
            };
            tasks.spawn(user.write(rest(), Arc::clone(&over)));
        }
        for replica in 0..REPLICAS {
            for n in 0..READERS {
                // Different random numbers from those of the API users.
                let random = Random::of(!seed - (replica * READERS + n) as u64);
                tasks.spawn(self.reader(replica, random).read(Arc::clone(&over)));
            }
        }
        Work { tasks, over }
    }

    fn reader(&self, replica: usize, random: Random) -> Reader {
        Reader {
            replica,
            random,
            cast: Arc::clone(&self.cast),
            checks: Arc::clone(&self.checks),
            history: Arc::clone(&self.history),
            allow_list: self.backing.allow_list(),
        }
    }

    pub async fn suffer(&mut self, fault: Fault) {
        self.history.fault_began(fault);
        match fault {
            Fault::Cut(replica, time) => self.mood(replica, Mood::Cutting, time).await,
            Fault::Hang(replica, time) => self.mood(replica, Mood::Hanging, time).await,
            Fault::Orphan(replica, time) => {
                let before = Instant::now();
                self.backing.set_mood(replica, Mood::Forgotten { before });
                tokio::time::sleep(time).await;
            }
            Fault::HangHalf(replica, odd, time) => {
                self.mood(replica, Mood::HangingHalf { odd }, time).await;
            }
            Fault::Delay(replica, time, by) => self.mood(replica, Mood::Delaying(by), time).await,
            Fault::Flood => self.backing.flood(3000).await,
            Fault::Restart(replica) => self.restart(replica).await,
            Fault::Doze(replica, time) => {
                self.replicas[replica].process.signal(Signal::STOP);
                tokio::time::sleep(time).await;
                self.replicas[replica].process.signal(Signal::CONT);
            }
            of_the_store if self.backing.loses(of_the_store) => {
                self.backing.prepare(of_the_store, &self.scratch).await;
                self.catch_up().await;
                self.backing.suffer(of_the_store, &self.scratch).await;
                // From here on, the replicas recover.
                self.history.fault_ended();
                if self.backing.must_stand_again(of_the_store) {
                    self.stands_again().await;
                }
                self.resume().await;
            }
            of_the_store => self.backing.suffer(of_the_store, &self.scratch).await,
        }
        self.history.fault_ended();
        // Time for the next fault to happen during the recovery, or after it.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    async fn restart(&mut self, replica: usize) {
        self.replicas[replica].process.kill();
        let config = self.config.clone().store(self.backing.store(replica));
        self.replicas[replica] = Revoxy::start(&self.scratch, &config).await;
        *self.checks[replica].write().await = self.replicas[replica].checks().await;
        self.apis.write().await[replica] = self.replicas[replica].api.clone();
    }

    async fn mood(&self, replica: usize, mood: Mood, time: Duration) {
        self.backing.set_mood(replica, mood);
        tokio::time::sleep(time).await;
        self.backing.set_mood(replica, Mood::Passing);
    }

    /// Pauses the writers until every replica knows everything that was acknowledged.
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

    /// Waits until everything that is revoked is in the store, under whatever name.
    async fn stands_again(&self) {
        let store = self.backing.direct().await;
        eventually("all revocations in the store again", async || {
            // Computed anew each time: some revocations expire meanwhile.
            let revoked = self.cast.all().into_iter();
            let revoked = revoked.filter(|token| self.history.is_revoked(*token));
            let keys: Vec<_> = revoked.map(key_of).collect();
            let found = store.lookup(&keys).await.ok()?;
            found.iter().all(Option::is_some).then_some(())
        })
        .await;
    }

    fn revoked_by_hand(&self) -> impl Iterator<Item = Token> {
        let tokens = (0..BY_HAND).map(Token::Device);
        tokens.filter(|token| self.history.is_revoked(*token))
    }

    async fn resume(&self) {
        // The replicas that know what the server has lost must write it back before any replica may start
        // without it.
        for replica in &self.replicas {
            eventually("a replica that follows the store", async || {
                let age = replica.metric("revoxy_revocation_view_age_seconds").await;
                (age < MAX_STALENESS.as_secs_f64()).then_some(())
            })
            .await;
        }
        self.rest.send_replace(false);
    }

    /// Verifies that, with no fault active, every replica, and one that is started now, answers as was stated
    /// last about every token.
    pub async fn recovers(&self) {
        let config = self.config.clone().store(self.backing.store(0));
        let newcomer = Revoxy::start(&self.scratch, &config).await;
        let mut checks = vec![newcomer.checks().await];
        for replica in self.checks.iter() {
            checks.insert(checks.len() - 1, replica.read().await.clone());
        }
        let asked = checks.iter().enumerate();
        join_all(asked.map(|(replica, checks)| self.is_right(replica, checks))).await;
    }

    async fn is_right(&self, replica: usize, checks: &Checks) {
        for token in self.cast.all() {
            let signed = self.cast.token(token, &self.history);
            // On a busy machine, even a healthy replica cannot decide for a moment.
            let (started, verdict) =
                eventually("a decision with nothing wrong any more", async || {
                    let started = Instant::now();
                    let verdict = verdict(&checks.bearer(&signed).await);
                    (verdict != Verdict::Unsure).then_some((started, verdict))
                })
                .await;
            self.history
                .answered_at_rest(token, replica, started, verdict);
        }
    }

    /// Verifies that what is un-revoked through the store is allowed again on every replica.
    pub async fn takes_back(&self) {
        let store = self.backing.direct().await;
        let revoked: Vec<_> = self.revoked_by_hand().take(20).collect();
        for token in &revoked {
            assert!(store.unrevoke(&key_of(*token)).await.unwrap(), "{token:?}");
        }
        for replica in 0..REPLICAS {
            let checks = self.checks[replica].read().await.clone();
            for token in &revoked {
                let signed = self.cast.token(*token, &self.history);
                eventually("a token that was taken back and is allowed", async || {
                    checks.bearer(&signed).await.allows().then_some(())
                })
                .await;
            }
        }
    }
}

fn key_of(token: Token) -> RevocationKey {
    match token {
        Token::Device(_) => RevocationKey::new(KeyKind::TokenId, "shop", &jti(token)),
        Token::Session { subject: of, .. } => {
            RevocationKey::new(KeyKind::Subject, "shop", &subject(of))
        }
    }
}
