//! Three primaries with a replica each, which the Revoxy replicas reach at the addresses that the cluster
//! announces.
//!
//! A revocation counts as acknowledged when the owner of its slot and the owner's replica have it, or when
//! the owner has no replica: what only a primary has is lost with it, in Redis Cluster for everybody.
//! Moreover, two other nodes, queried after that, must name that owner: what is written to an owner that has
//! been replaced is lost, too.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use revoxy::clock::SystemClock;
use revoxy::revocation::{RedisStore, RevocationStore};

use super::backing::{Backing, Writer};
use super::faults::{Fault, Kind};
use crate::support::cluster::{Cluster, Flavour};
use crate::support::{Mood, PATIENCE, Scratch, eventually};

/// How long a manual failover may take: `CLUSTER_MF_TIMEOUT` is 5 s, and the replica must have noticed.
const MANUAL_FAILOVER: Duration = Duration::from_secs(6);
/// How long a writer waits for an answer.
const PATIENCE_OF_WRITERS: Duration = Duration::from_millis(300);

/// With Redis 7, whose slots move key by key.
pub struct OverRedisCluster(Backed);

/// With Valkey 9, whose slots move atomically.
pub struct OverValkeyCluster(Backed);

struct Backed {
    cluster: Cluster,
    flavour: Flavour,
    /// Incremented, so that every primary is chosen in turn.
    turn: usize,
}

/// Writes to the node that it is redirected to.
pub struct ClusterWriter {
    ports: Vec<u16>,
    next: usize,
    connections: HashMap<u16, MultiplexedConnection>,
}

impl Backed {
    async fn start(scratch: &Scratch, flavour: Flavour) -> Self {
        Self {
            cluster: Cluster::with_replicas(scratch, flavour).await,
            flavour,
            turn: 0,
        }
    }

    fn kinds(&self) -> Vec<Kind> {
        use Kind::*;
        let moves = match self.flavour {
            Flavour::Redis => MoveSlots,
            Flavour::Valkey => MoveSlotsAtOnce,
        };
        vec![
            Pause, Kill, Doze, ClientKill, Flood, Restart, FailOver, Sleep, Usurp, Usurp, moves,
            moves,
        ]
    }

    /// Returns the next primary in turn, and its replica.
    async fn victim(&mut self) -> (usize, usize) {
        let primaries = self.cluster.primaries();
        let primary = primaries[self.turn % primaries.len()];
        self.turn += 1;
        let replica = eventually("a replica", async || self.cluster.replica_of(primary)).await;
        (primary, replica)
    }

    async fn is_whole(&self) {
        for node in 0..self.cluster.nodes.len() {
            self.cluster.works(node).await;
        }
        // For a moment, an old primary and its successor both claim to be primaries.
        eventually("as many primaries as replicas", async || {
            let primaries = self.cluster.primaries();
            let followed = |primary: &usize| self.cluster.replica_of(*primary).is_some();
            (primaries.len() == 3 && primaries.iter().all(followed)).then_some(())
        })
        .await;
    }

    async fn takes_over(&self, replica: usize) {
        eventually("a replica that takes over", async || {
            self.has_taken_over(replica)
        })
        .await;
    }

    fn has_taken_over(&self, replica: usize) -> Option<()> {
        let role: String = self.cluster.try_run(replica, &["INFO", "replication"])?;
        role.contains("role:master").then_some(())
    }

    /// Returns some slots of this primary that contain keys.
    fn slots_of(&self, primary: usize, count: usize) -> Vec<u16> {
        let keys = (0..400).map(|n| format!("revoxy:jti:shop:safety-{n}"));
        let slots = keys.map(|key| self.cluster.slot_of(&key));
        slots
            .filter(|slot| self.cluster.owner(*slot) == Some(primary))
            .take(count)
            .collect()
    }

    async fn suffer(&mut self, fault: Fault, scratch: &Scratch) {
        let wait = tokio::time::sleep;
        let (primary, replica) = self.victim().await;
        match fault {
            Fault::Pause(time) => {
                self.cluster.pause(primary);
                wait(time).await;
                self.cluster.resume(primary);
            }
            Fault::Kill(time) => {
                self.cluster.kill(primary);
                self.takes_over(replica).await;
                wait(time).await;
                self.cluster.restart(primary, scratch);
            }
            Fault::Sleep(time) => {
                // It continues as a primary, and learns of its successor from the others.
                self.cluster.pause(primary);
                self.takes_over(replica).await;
                wait(time).await;
                self.cluster.resume(primary);
            }
            Fault::Usurp(time) => {
                self.cluster.cut_off(primary);
                self.takes_over(replica).await;
                wait(time).await;
                let info: String = self.cluster.run(primary, &["CLUSTER", "INFO"]);
                assert!(info.contains("cluster_state:ok"), "{info}");
                self.cluster.reconnect(primary);
                eventually("an old primary that follows the new one", async || {
                    let info: String = self.cluster.run(primary, &["INFO", "replication"]);
                    info.contains("role:slave").then_some(())
                })
                .await;
            }
            Fault::FailOver => {
                // Redis abandons a manual failover that takes five seconds, and reports that to nobody.
                let asked = Cell::new(None::<Instant>);
                eventually("a replica that takes over", async || {
                    if asked.get().is_none_or(|at| at.elapsed() > MANUAL_FAILOVER) {
                        let _: Option<()> = self.cluster.try_run(replica, &["CLUSTER", "FAILOVER"]);
                        asked.set(Some(Instant::now()));
                    }
                    self.has_taken_over(replica)
                })
                .await;
            }
            Fault::ClientKill => {
                for node in 0..self.cluster.nodes.len() {
                    let kill = ["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"];
                    let _ = self.cluster.try_run::<redis::Value>(node, &kill);
                }
            }
            Fault::MoveSlots => {
                let to = self.victim().await.0;
                for slot in self.slots_of(primary, 15) {
                    let pace = async || wait(Duration::from_millis(5)).await;
                    self.cluster.move_slot(slot, primary, to, pace).await;
                }
            }
            Fault::MoveSlotsAtOnce => {
                let to = self.victim().await.0;
                for slot in self.slots_of(primary, 3) {
                    self.cluster
                        .move_slots_at_once(slot, slot, primary, to)
                        .await;
                }
            }
            other => panic!("{other:?} is no fault of a cluster"),
        }
        self.is_whole().await;
    }

    fn writer(&self) -> ClusterWriter {
        ClusterWriter {
            ports: self.cluster.nodes.iter().map(|n| n.port).collect(),
            next: 0,
            connections: HashMap::new(),
        }
    }

    async fn direct(&self) -> Arc<dyn RevocationStore> {
        let options = self.cluster.options();
        let store = RedisStore::new(&options, Arc::new(SystemClock)).unwrap();
        store.ready(PATIENCE).await.unwrap();
        Arc::new(store)
    }

    async fn flood(&self, count: usize) {
        let primaries = self.cluster.primaries();
        for primary in &primaries {
            let tag = (0..).find(|n| {
                let slot = self.cluster.slot_of(&format!("{{{n}}}"));
                self.cluster.owner(slot) == Some(*primary)
            });
            let mut pipeline = redis::pipe();
            for n in 0..count / primaries.len() {
                let key = format!("revoxy:jti:shop:{{{}}}flood-{n}", tag.unwrap());
                let set = pipeline.cmd("SET").arg(key).arg("");
                set.arg("PX").arg(60_000 + n).ignore();
            }
            let client = redis::Client::open(self.cluster.url(*primary)).unwrap();
            if let Ok(mut connection) = client.get_multiplexed_async_connection().await {
                let _: Result<(), _> = pipeline.query_async(&mut connection).await;
            }
        }
    }
}

/// The common code of both flavours.
macro_rules! backing {
    ($over:ident, $flavour:expr) => {
        impl Backing for $over {
            type Writer = ClusterWriter;

            async fn start(scratch: &Scratch, _: usize) -> Self {
                Self(Backed::start(scratch, $flavour).await)
            }

            fn kinds(&self) -> Vec<Kind> {
                self.0.kinds()
            }

            fn store(&self, _: usize) -> String {
                self.0.cluster.store()
            }

            fn set_mood(&self, _: usize, mood: Mood) {
                panic!("{mood:?}: there are no proxies before a cluster");
            }

            fn writer(&self) -> ClusterWriter {
                self.0.writer()
            }

            fn pace(&self) -> Duration {
                Duration::from_millis(60)
            }

            async fn direct(&self) -> Arc<dyn RevocationStore> {
                self.0.direct().await
            }

            async fn flood(&self, count: usize) {
                self.0.flood(count).await;
            }

            async fn suffer(&mut self, fault: Fault, scratch: &Scratch) {
                self.0.suffer(fault, scratch).await;
            }
        }
    };
}

backing!(OverRedisCluster, Flavour::Redis);
backing!(OverValkeyCluster, Flavour::Valkey);

/// The node that a redirect names.
struct Onward {
    port: u16,
    asking: bool,
}

impl ClusterWriter {
    async fn connection(&mut self, port: u16) -> Option<MultiplexedConnection> {
        if let Some(connection) = self.connections.get(&port) {
            return Some(connection.clone());
        }
        let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
        let connecting = client.get_multiplexed_async_connection();
        let made = tokio::time::timeout(PATIENCE_OF_WRITERS, connecting).await;
        let connection = made.ok()?.ok()?;
        self.connections.insert(port, connection.clone());
        Some(connection)
    }

    /// Returns whether two other nodes say that this one is a primary with slots.
    async fn is_named(&mut self, port: u16) -> bool {
        let mut named = 0;
        for other in self.ports.clone().into_iter().filter(|p| *p != port) {
            let Some(mut connection) = self.connection(other).await else {
                continue;
            };
            let mut ask = redis::cmd("CLUSTER");
            let table = ask.arg("NODES").query_async::<String>(&mut connection);
            match tokio::time::timeout(PATIENCE_OF_WRITERS, table).await {
                Ok(Ok(table)) => {
                    let at = format!(":{port}@");
                    let line = table.lines().find(|line| line.contains(&at));
                    let words = |line: &str| line.split(' ').map(str::to_owned).collect();
                    let words: Vec<String> = line.map(words).unwrap_or_default();
                    named += usize::from(words.len() > 8 && words[2] == "master");
                }
                _ => drop(self.connections.remove(&other)),
            }
            if named == 2 {
                return true;
            }
        }
        false
    }

    /// Writes, and waits for a copy. Returns whether both succeeded; a redirect is an error.
    async fn write(&mut self, key: &str, at: &Onward) -> Result<bool, Onward> {
        let Some(mut connection) = self.connection(at.port).await else {
            self.next += 1;
            return Ok(false);
        };
        let writing = async {
            let mut set = redis::pipe();
            if at.asking {
                set.cmd("ASKING").ignore();
            }
            set.cmd("SET")
                .arg(key)
                .arg("")
                .arg("EX")
                .arg(4 * 3600)
                .ignore();
            set.query_async::<()>(&mut connection).await?;
            let mut copies = redis::cmd("WAIT");
            let copies = copies.arg(1).arg(200);
            let copies: i64 = copies.query_async(&mut connection).await?;
            let mut info = redis::cmd("INFO");
            let info = info.arg("replication");
            let info: String = info.query_async(&mut connection).await?;
            Ok::<_, redis::RedisError>(copies >= 1 || info.contains("connected_slaves:0"))
        };
        match tokio::time::timeout(PATIENCE_OF_WRITERS, writing).await {
            Ok(Ok(copied)) => Ok(copied && self.is_named(at.port).await),
            Ok(Err(error)) => {
                let sent_on = error.clone().into_server_errors().and_then(|errors| {
                    let (_, error) = errors.first()?;
                    let to = error.details()?.rsplit_once(':')?.1;
                    Some(Onward {
                        port: to.parse().ok()?,
                        asking: error.code() == "ASK",
                    })
                });
                match sent_on {
                    Some(onward) => Err(onward),
                    None => {
                        self.connections.remove(&at.port);
                        self.next += 1;
                        Ok(false)
                    }
                }
            }
            Err(_) => {
                self.connections.remove(&at.port);
                self.next += 1;
                Ok(false)
            }
        }
    }
}

impl Writer for ClusterWriter {
    async fn is_connected(&mut self) -> bool {
        let port = self.ports[self.next % self.ports.len()];
        let connected = self.connection(port).await.is_some();
        if !connected {
            self.next += 1;
        }
        connected
    }

    async fn revoke(&mut self, jti: &str) -> bool {
        let key = format!("revoxy:jti:shop:{jti}");
        let mut at = Onward {
            port: self.ports[self.next % self.ports.len()],
            asking: false,
        };
        for _ in 0..5 {
            match self.write(&key, &at).await {
                Ok(written) => return written,
                Err(onward) => at = onward,
            }
        }
        false
    }
}
