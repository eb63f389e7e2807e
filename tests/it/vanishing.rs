//! Keys vanish while a replica reads them: they are flushed, or evicted. What the replica writes back says no more than what
//! was stated, so that a user whose sessions were ended can log in again.

use std::time::{Duration, Instant};

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use crate::support::tokens::now;
use crate::support::{
    Checks, Config, Mood, Proxy, Redis, Revoxy, Scratch, SigningKey, Token, eventually,
};

/// How often the keys vanish.
const ROUNDS: usize = 3;
/// Whose sessions are ended in each round: so many that a replica cannot ask about all of them in one packet.
const SUBJECTS: usize = 400;
/// By how much each packet to a replica is late: other commands come between two packets.
const LATE: Duration = Duration::from_millis(30);

struct Scene {
    scratch: Scratch,
    key: SigningKey,
    redis: Redis,
}

/// Behind a connection that can be slow.
struct Replica {
    proxy: Proxy,
    revoxy: Revoxy,
    checks: Checks,
}

fn name_of(round: usize, subject: usize) -> String {
    format!("user-{subject}-of-round-{round}")
}

impl Scene {
    async fn set() -> Self {
        let scratch = Scratch::new();
        Self {
            key: SigningKey::generate(Algorithm::ES256),
            redis: Redis::start(&scratch).await,
            scratch,
        }
    }

    async fn replicas(&self, deletions: &str) -> Vec<Replica> {
        let mut replicas = Vec::new();
        for _ in 0..3 {
            let proxy = Proxy::before(self.redis.port()).await;
            let config = Config::trusting(&self.key, &self.scratch)
                .store(proxy.store())
                .revocation(deletions)
                .revocation("compare_every: 1s");
            let revoxy = Revoxy::start(&self.scratch, &config).await;
            let checks = revoxy.checks().await;
            replicas.push(Replica {
                proxy,
                revoxy,
                checks,
            });
        }
        replicas
    }

    /// Ends all sessions of these subjects up to now, all at once.
    fn end_all_sessions(&self, round: usize) {
        let mut sets = redis::pipe();
        let value = json!({ "not_before": now() }).to_string();
        for subject in 0..SUBJECTS {
            let key = format!("revoxy:sub:shop:{}", name_of(round, subject));
            let set = sets.cmd("SET").arg(key).arg(&value);
            set.arg("EX").arg(3600).ignore();
        }
        let client = redis::Client::open(self.redis.url()).unwrap();
        let () = sets.query(&mut client.get_connection().unwrap()).unwrap();
    }

    /// The restored keys that say nothing about which tokens they mean, and so revoke all.
    fn restored_without_a_cutoff(&self) -> Vec<String> {
        let keys: Vec<String> = self.redis.run(&["KEYS", "revoxy:restored:*"]);
        let says_all = |key: &String| {
            let value: Option<String> = self.redis.run(&["GET", key]);
            value.is_some_and(|value| {
                let value: Value = serde_json::from_str(&value).unwrap();
                value["not_before"].is_null()
            })
        };
        keys.into_iter().filter(says_all).collect()
    }

    /// Whether somebody who is pushed changes has asked for lives, and not yet for the values.
    fn is_half_asked(&self) -> bool {
        let clients: String = self.redis.run(&["CLIENT", "LIST"]);
        let half = |line: &str| line.contains(" resp=3") && line.contains(" cmd=pttl ");
        clients.lines().any(half)
    }

    /// Ends all sessions, and returns while the first replica reads the cutoffs. The others have read them by then, so that
    /// nothing is lost to everybody.
    async fn all_sessions_end_while_one_is_slow(&self, replicas: &[Replica], round: usize) {
        replicas[0].proxy.set(Mood::Hanging);
        self.end_all_sessions(round);
        for fast in &replicas[1..] {
            eventually("all subjects in a view", async || {
                fast.has_read(round).await.then_some(())
            })
            .await;
        }
        replicas[0].proxy.set(Mood::Delaying(LATE));
        eventually("a replica in the middle of reading", async || {
            (self.is_half_asked() || replicas[0].has_read(round).await).then_some(())
        })
        .await;
    }

    fn session(&self, subject: &str, since: i64) -> String {
        let token = Token::access(&format!("{subject}-{since}"));
        token
            .with("sub", subject)
            .with("iat", since)
            .sign(&self.key)
    }

    /// With nothing wrong any more: a session that began after the cutoff is let through by everybody, one from before it
    /// by nobody, and nothing in the store says otherwise.
    async fn new_sessions_are_allowed(&self, replicas: &[Replica]) {
        let ended = now();
        eventually("a second after the cutoff", async || {
            (now() > ended).then_some(())
        })
        .await;
        for (index, replica) in replicas.iter().enumerate() {
            replica.proxy.set(Mood::Passing);
            replica.catches_up().await;
            // What vanished before this replica had read it is back with the next comparison of another (docs/promise.md).
            eventually("all subjects in the view", async || {
                replica.has_read(ROUNDS - 1).await.then_some(())
            })
            .await;
            let mut locked_out = Vec::new();
            for subject in 0..ROUNDS * SUBJECTS {
                let name = name_of(subject / SUBJECTS, subject % SUBJECTS);
                let old = self.session(&name, ended - 60);
                let answer = replica.checks.bearer(&old).await;
                assert_eq!(answer.reason(), "revoked", "replica {index}, {name}");
                let new = self.session(&name, now());
                let answer = replica.checks.bearer(&new).await;
                if answer.reason() == "revoked" {
                    locked_out.push(name);
                }
            }
            let first = locked_out.first();
            assert_eq!(
                locked_out.len(),
                0,
                "replica {index} refuses new sessions of so many users, such as {first:?}"
            );
        }
        assert_eq!(self.restored_without_a_cutoff(), [""; 0]);
    }
}

impl Replica {
    /// Waits until it has heard everything that has happened by now.
    async fn catches_up(&self) {
        let since = Instant::now();
        eventually("a replica that has caught up", async || {
            let age = self
                .revoxy
                .metric("revoxy_revocation_view_age_seconds")
                .await;
            (age < since.elapsed().as_secs_f64()).then_some(())
        })
        .await;
    }

    /// Whether it holds what stands about every subject of this round and those before.
    async fn has_read(&self, round: usize) -> bool {
        let entries = self.revoxy.metric("revoxy_revocation_view_entries").await;
        entries > ((round + 1) * SUBJECTS) as f64 - 0.5
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_while_cutoffs_are_read_locks_nobody_out() {
    let scene = Scene::set().await;
    let replicas = scene.replicas("deletions: ignore").await;
    for round in 0..ROUNDS {
        let ended = scene.all_sessions_end_while_one_is_slow(&replicas, round);
        ended.await;
        let () = scene.redis.run(&["FLUSHDB"]);
    }
    scene.new_sessions_are_allowed(&replicas).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_eviction_while_cutoffs_are_read_locks_nobody_out() {
    let scene = Scene::set().await;
    let replicas = scene.replicas("deletions: honour").await;
    let set = |name: &str, value: &str| {
        let () = scene.redis.run(&["CONFIG", "SET", name, value]);
    };
    set("maxmemory-policy", "allkeys-random");
    for round in 0..ROUNDS {
        let ended = scene.all_sessions_end_while_one_is_slow(&replicas, round);
        ended.await;
        set("maxmemory", "1mb");
        eventually("an eviction", async || {
            let left: usize = scene.redis.run(&["DBSIZE"]);
            (left < SUBJECTS / 2).then_some(())
        })
        .await;
        set("maxmemory", "0");
    }
    scene.new_sessions_are_allowed(&replicas).await;
}
