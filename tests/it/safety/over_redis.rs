//! One Redis, each replica behind a proxy.

use std::sync::Arc;
use std::time::Duration;

use revoxy::clock::SystemClock;
use revoxy::revocation::{RedisStore, RevocationStore};

use super::backing::{Backing, Writer};
use super::faults::{Fault, Kind};
use crate::support::{Mood, Proxy, Redis, Scratch, eventually};

/// With `deletions: honour`, so the promise does not cover keys that somebody deletes.
pub struct OverRedis {
    redis: Redis,
    proxies: Vec<Proxy>,
    /// A copy of its data from a while ago.
    older: Option<Scratch>,
}

/// With `deletions: ignore`: the promise covers deleted keys.
pub struct OverRedisIgnoringDeletions(OverRedis);

/// The first value of a revocation: it does not apply to tokens of today, and expires soon.
const FIRST: (&str, u32) = ("{\"not_before\":1}", 5);
/// The last value: it applies to every token, and lasts longer than a run.
const LAST: (&str, u32) = ("", 4 * 3600);

/// Direct `SET`s with one connection, each key twice: the second value applies to every token.
pub struct RedisWriter {
    client: redis::Client,
    connection: Option<redis::aio::MultiplexedConnection>,
}

impl OverRedis {
    fn client(&self) -> redis::Client {
        redis::Client::open(self.redis.url()).unwrap()
    }

    fn run(&self, command: &[&str]) {
        let _: redis::Value = self.redis.run(command);
    }
}

impl Backing for OverRedis {
    type Writer = RedisWriter;

    async fn start(scratch: &Scratch, replicas: usize) -> Self {
        let redis = Redis::durable(scratch).await;
        let mut proxies = Vec::new();
        for _ in 0..replicas {
            proxies.push(Proxy::before(redis.port()).await);
        }
        Self {
            redis,
            proxies,
            older: None,
        }
    }

    fn kinds(&self) -> Vec<Kind> {
        use Kind::*;
        vec![
            Pause,
            Kill,
            KillAndForget,
            GoBack,
            Relapse,
            Doze,
            Cut,
            Hang,
            Orphan,
            Delay,
            ClientKill,
            Flood,
            Overflow,
            Restart,
            Demote,
            Evict,
        ]
    }

    fn store(&self, replica: usize) -> String {
        self.proxies[replica].store()
    }

    fn set_mood(&self, replica: usize, mood: Mood) {
        self.proxies[replica].set(mood);
    }

    fn writer(&self) -> RedisWriter {
        RedisWriter {
            client: self.client(),
            connection: None,
        }
    }

    async fn direct(&self) -> Arc<dyn RevocationStore> {
        Arc::new(RedisStore::new(&self.redis.options(), Arc::new(SystemClock)).unwrap())
    }

    async fn flood(&self, count: usize) {
        let Ok(mut connection) = self.client().get_multiplexed_async_connection().await else {
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

    fn loses(&self, fault: Fault) -> bool {
        matches!(
            fault,
            Fault::KillAndForget(_)
                | Fault::GoBack
                | Fault::Relapse(_)
                | Fault::Demote
                | Fault::Evict
                | Fault::FlushAll
                | Fault::SwapDb
        )
    }

    fn must_stand_again(&self, fault: Fault) -> bool {
        // The server remains the same one, so nothing tells a replica that starts that something is missing.
        matches!(fault, Fault::Evict | Fault::FlushAll | Fault::SwapDb)
    }

    async fn prepare(&mut self, fault: Fault, scratch: &Scratch) {
        if let Fault::Relapse(time) = fault {
            self.older = Some(self.redis.copy_of_data(scratch).await);
            tokio::time::sleep(time).await;
        }
    }

    async fn suffer(&mut self, fault: Fault, scratch: &Scratch) {
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
                self.redis.restart(scratch).await;
            }
            Fault::KillAndForget(time) => {
                self.redis.kill();
                wait(time).await;
                self.redis.restart_empty(scratch).await;
            }
            Fault::GoBack => {
                // Prepared elsewhere: the replicas must find it so from the start.
                let elsewhere = Scratch::new();
                let mut older = Redis::durable(&elsewhere).await;
                let keys: Vec<String> = self.redis.run(&["KEYS", "revoxy:jti:shop:safety-*"]);
                for key in &keys {
                    let _: redis::Value = older.run(&["SET", key, FIRST.0, "EX", "3600"]);
                }
                older.kill();
                self.redis.kill();
                self.redis.restart_with(&elsewhere, scratch).await;
            }
            Fault::Relapse(_) => {
                let older = self.older.take().expect("a copy was made");
                self.redis.kill();
                self.redis.restart_with(&older, scratch).await;
            }
            Fault::ClientKill => self.run(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]),
            Fault::Overflow(replica) => {
                let limit = |l: &str| self.run(&["CONFIG", "SET", "client-output-buffer-limit", l]);
                limit("normal 32768 0 0");
                self.set_mood(replica, Mood::Hanging);
                self.flood(3000).await;
                self.set_mood(replica, Mood::Passing);
                limit("normal 0 0 0");
            }
            Fault::Demote => {
                let other = Redis::start(scratch).await;
                self.run(&["REPLICAOF", "127.0.0.1", &other.port().to_string()]);
                eventually("the data of the other server", async || {
                    let info: String = self.redis.run(&["INFO", "replication"]);
                    info.contains("master_link_status:up").then_some(())
                })
                .await;
                self.run(&["REPLICAOF", "NO", "ONE"]);
            }
            Fault::Evict => {
                self.run(&["CONFIG", "SET", "maxmemory-policy", "allkeys-random"]);
                self.run(&["CONFIG", "SET", "maxmemory", "1mb"]);
                wait(Duration::from_millis(300)).await;
                self.run(&["CONFIG", "SET", "maxmemory", "0"]);
                self.run(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
            }
            Fault::FlushAll => self.run(&["FLUSHALL"]),
            Fault::SwapDb => {
                // An older list would bring back revocations that have been taken back: see docs/promise.md.
                let other = redis::Client::open(self.redis.url_of_database(1));
                let mut other = other.unwrap().get_connection().unwrap();
                let () = redis::cmd("FLUSHDB").query(&mut other).unwrap();
                self.run(&["SWAPDB", "0", "1"]);
            }
            other => panic!("{other:?} is no fault of a Redis"),
        }
    }
}

impl Backing for OverRedisIgnoringDeletions {
    type Writer = RedisWriter;

    async fn start(scratch: &Scratch, replicas: usize) -> Self {
        Self(OverRedis::start(scratch, replicas).await)
    }

    fn kinds(&self) -> Vec<Kind> {
        let mut kinds = self.0.kinds();
        kinds.extend([Kind::FlushAll, Kind::SwapDb]);
        kinds
    }

    fn store(&self, replica: usize) -> String {
        self.0.store(replica)
    }

    fn lines(&self) -> Vec<String> {
        vec!["deletions: ignore".to_owned()]
    }

    fn set_mood(&self, replica: usize, mood: Mood) {
        self.0.set_mood(replica, mood);
    }

    fn writer(&self) -> RedisWriter {
        self.0.writer()
    }

    async fn direct(&self) -> Arc<dyn RevocationStore> {
        self.0.direct().await
    }

    async fn flood(&self, count: usize) {
        self.0.flood(count).await;
    }

    fn loses(&self, fault: Fault) -> bool {
        self.0.loses(fault)
    }

    fn must_stand_again(&self, fault: Fault) -> bool {
        self.0.must_stand_again(fault)
    }

    async fn prepare(&mut self, fault: Fault, scratch: &Scratch) {
        self.0.prepare(fault, scratch).await;
    }

    async fn suffer(&mut self, fault: Fault, scratch: &Scratch) {
        self.0.suffer(fault, scratch).await;
    }
}

impl Writer for RedisWriter {
    async fn is_connected(&mut self) -> bool {
        if self.connection.is_none() {
            self.connection = self.client.get_multiplexed_async_connection().await.ok();
        }
        self.connection.is_some()
    }

    async fn revoke(&mut self, jti: &str) -> bool {
        let Some(connection) = &mut self.connection else {
            return false;
        };
        let key = format!("revoxy:jti:shop:{jti}");
        let mut done = true;
        for (value, life) in [FIRST, LAST] {
            let mut set = redis::cmd("SET");
            set.arg(&key).arg(value).arg("EX").arg(life);
            done = done && set.query_async::<()>(connection).await.is_ok();
        }
        if !done {
            self.connection = None;
        }
        done
    }
}
