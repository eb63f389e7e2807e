//! A primary with two replicas, watched by three Sentinels. Each Revoxy replica reaches the Sentinels through
//! proxies, and the servers at the addresses that the Sentinels announce.
//!
//! A revocation counts as acknowledged when the primary and one replica have it and, queried after that,
//! every Sentinel that answers, at least two, names that primary. What is acknowledged by a primary that has
//! been replaced meanwhile is lost with Sentinel, for everybody.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use revoxy::clock::SystemClock;
use revoxy::revocation::{RedisStore, RevocationStore};

use super::backing::{Backing, Writer};
use super::faults::{Fault, Kind};
use crate::support::sentinel::{MASTER, Trio};
use crate::support::{Mood, PATIENCE, Proxy, Scratch, eventually};

/// How long a writer waits for an answer.
const PATIENCE_OF_WRITERS: Duration = Duration::from_millis(300);

pub struct OverSentinel {
    trio: Trio,
    /// For each Revoxy replica, the proxies to the Sentinels.
    proxies: Vec<Vec<Proxy>>,
}

/// Queries the Sentinels, and writes to the server that they name.
pub struct SentinelWriter {
    sentinels: Vec<Line>,
    /// Which Sentinel is queried next.
    next: usize,
    primary: Option<(u16, Line)>,
}

/// A connection that is established when it is needed.
struct Line {
    port: u16,
    connection: Option<MultiplexedConnection>,
}

impl Line {
    fn to(port: u16) -> Self {
        Self {
            port,
            connection: None,
        }
    }

    async fn ask<T: redis::FromRedisValue>(&mut self, command: &redis::Cmd) -> Option<T> {
        let asked = async {
            let mut connection = match self.connection.take() {
                Some(connection) => connection,
                None => {
                    let url = format!("redis://127.0.0.1:{}", self.port);
                    let client = redis::Client::open(url).unwrap();
                    client.get_multiplexed_async_connection().await.ok()?
                }
            };
            let answer = command.query_async(&mut connection).await.ok()?;
            Some((connection, answer))
        };
        let (connection, answer) = tokio::time::timeout(PATIENCE_OF_WRITERS, asked)
            .await
            .ok()??;
        self.connection = Some(connection);
        Some(answer)
    }

    async fn names(&mut self) -> Option<u16> {
        let mut ask = redis::cmd("SENTINEL");
        ask.arg("GET-MASTER-ADDR-BY-NAME").arg(MASTER);
        self.ask::<(String, u16)>(&ask).await.map(|(_, port)| port)
    }
}

impl OverSentinel {
    /// Waits until another server has replaced the primary, which is down or demoted, and everything is up
    /// again.
    async fn is_whole_again(&self, before: usize) {
        self.trio.successor_of(before).await;
        eventually("the old primary as a replica", async || {
            (self.trio.servers[before].role()? == "slave").then_some(())
        })
        .await;
        self.trio.is_whole().await;
    }
}

impl Backing for OverSentinel {
    type Writer = SentinelWriter;

    async fn start(_: &Scratch, replicas: usize) -> Self {
        let trio = Trio::start().await;
        let mut proxies = Vec::new();
        for _ in 0..replicas {
            let mut ways = Vec::new();
            for sentinel in &trio.sentinels {
                ways.push(Proxy::before(sentinel.port()).await);
            }
            proxies.push(ways);
        }
        Self { trio, proxies }
    }

    fn kinds(&self) -> Vec<Kind> {
        use Kind::*;
        vec![
            Pause,
            Kill,
            Doze,
            Cut,
            Hang,
            Orphan,
            Delay,
            ClientKill,
            Flood,
            Restart,
            FailOver,
            FailOverToDeaf,
            Usurp,
            Silence,
            Sleep,
        ]
    }

    fn store(&self, replica: usize) -> String {
        let node = |way: &Proxy| format!("127.0.0.1:{}", way.port());
        let nodes: Vec<_> = self.proxies[replica].iter().map(node).collect();
        format!("redis: {{ sentinel: {{ master: {MASTER}, nodes: {nodes:?} }} }}")
    }

    fn set_mood(&self, replica: usize, mood: Mood) {
        for way in &self.proxies[replica] {
            way.set(mood);
        }
    }

    fn writer(&self) -> SentinelWriter {
        let lines = self.trio.sentinels.iter().map(|s| Line::to(s.port()));
        SentinelWriter {
            sentinels: lines.collect(),
            next: 0,
            primary: None,
        }
    }

    fn pace(&self) -> Duration {
        Duration::from_millis(100)
    }

    async fn direct(&self) -> Arc<dyn RevocationStore> {
        let options = self.trio.options(Duration::from_secs(5));
        let store = RedisStore::new(&options, Arc::new(SystemClock)).unwrap();
        store.ready(PATIENCE).await.unwrap();
        eventually("a listing", async || store.list(None, 1).await.ok()).await;
        Arc::new(store)
    }

    async fn flood(&self, count: usize) {
        let primary = self.trio.primary().await;
        let mut pipeline = redis::pipe();
        for n in 0..count {
            let key = format!("revoxy:jti:shop:flood-{n}");
            let set = pipeline.cmd("SET").arg(key).arg("");
            set.arg("PX").arg(60_000 + n).ignore();
        }
        let client = redis::Client::open(self.trio.servers[primary].redis.url()).unwrap();
        if let Ok(mut connection) = client.get_multiplexed_async_connection().await {
            let _: Result<(), _> = pipeline.query_async(&mut connection).await;
        }
    }

    fn loses(&self, fault: Fault) -> bool {
        matches!(fault, Fault::FailOverToDeaf(_))
    }

    async fn prepare(&mut self, fault: Fault, _: &Scratch) {
        if let Fault::FailOverToDeaf(time) = fault {
            let primary = self.trio.primary().await;
            self.trio.lock_out_replicas_of(primary).await;
            tokio::time::sleep(time).await;
        }
    }

    async fn suffer(&mut self, fault: Fault, _: &Scratch) {
        let wait = tokio::time::sleep;
        let primary = self.trio.primary().await;
        match fault {
            Fault::Pause(time) => {
                self.trio.servers[primary].redis.pause();
                wait(time).await;
                self.trio.servers[primary].redis.resume();
            }
            Fault::Kill(time) => {
                self.trio.servers[primary].redis.kill();
                self.trio.successor_of(primary).await;
                wait(time).await;
                self.trio.servers[primary].restart().await;
                self.is_whole_again(primary).await;
            }
            Fault::ClientKill => {
                let kill = ["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"];
                let _ = self.trio.servers[primary]
                    .redis
                    .try_run::<redis::Value>(&kill);
            }
            Fault::FailOver => {
                self.trio.fail_over().await;
                self.is_whole_again(primary).await;
            }
            Fault::FailOverToDeaf(_) => {
                self.trio.fail_over().await;
                self.trio.successor_of(primary).await;
                self.trio.let_in();
                self.is_whole_again(primary).await;
            }
            Fault::Sleep(time) => {
                // It continues as a primary, with what was sent to it meanwhile, and learns of its successor
                // later.
                self.trio.servers[primary].redis.pause();
                self.trio
                    .is_replaced(self.trio.servers[primary].redis.port())
                    .await;
                wait(time / 4).await;
                self.trio.servers[primary].redis.resume();
                self.is_whole_again(primary).await;
            }
            Fault::Usurp(time) => {
                self.trio.cut_off(primary);
                self.trio.fail_over().await;
                self.trio.successor_of(primary).await;
                wait(time).await;
                assert_eq!(self.trio.servers[primary].role().unwrap(), "master");
                self.trio.reconnect(primary);
                self.is_whole_again(primary).await;
            }
            Fault::Silence(time) => {
                for sentinel in &self.trio.sentinels[1..] {
                    sentinel.pause();
                }
                wait(time).await;
                for sentinel in &self.trio.sentinels[1..] {
                    sentinel.resume();
                }
                self.trio.is_whole().await;
            }
            other => panic!("{other:?} is no fault of Sentinels and servers"),
        }
    }
}

impl Writer for SentinelWriter {
    async fn is_connected(&mut self) -> bool {
        if self.primary.is_none() {
            let asked = self.next % self.sentinels.len();
            self.next += 1;
            let named = self.sentinels[asked].names().await;
            self.primary = named.map(|port| (port, Line::to(port)));
        }
        self.primary.is_some()
    }

    async fn revoke(&mut self, jti: &str) -> bool {
        let Some((port, mut primary)) = self.primary.take() else {
            return false;
        };
        let mut set = redis::cmd("SET");
        set.arg(format!("revoxy:jti:shop:{jti}"));
        set.arg("").arg("EX").arg(4 * 3600);
        let mut copies = redis::cmd("WAIT");
        copies.arg(1).arg(200);
        let written = primary.ask::<String>(&set).await.is_some()
            && primary.ask::<i64>(&copies).await.is_some_and(|n| n >= 1);
        if !written {
            return false;
        }
        let mut named = Vec::new();
        for sentinel in &mut self.sentinels {
            named.extend(sentinel.names().await);
        }
        let stands = named.len() >= 2 && named.iter().all(|n| *n == port);
        if stands {
            self.primary = Some((port, primary));
        }
        stands
    }
}
