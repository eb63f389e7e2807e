//! A Redis Cluster of a test's own. Its nodes can be killed, paused and added, and its slots can be moved.

use std::path::PathBuf;

use redis::FromRedisValue;
use revoxy::revocation::RedisOptions;
use rustix::process::Signal;

use super::bus::Bus;
pub use super::node::{Flavour, NODE_TIMEOUT, Node};
use super::node::{Tls, launch};
use super::ports::{free_port, on_free_ports};
use super::redis::connect;
use super::{Authority, PATIENCE, Scratch, eventually};

const SLOTS: usize = 16384;
pub struct Cluster {
    pub nodes: Vec<Node>,
    flavour: Flavour,
    bus: Bus,
}

/// The role of a node when the cluster starts.
#[derive(Clone, Copy)]
enum Role {
    /// Owns slots, from the first number up to, but excluding, the second.
    Primary(usize, usize),
    ReplicaOf(usize),
}

/// The configuration of a cluster.
#[derive(Default)]
struct Plan {
    /// Whether each of the three primaries has a replica.
    replicas: bool,
    tls: Option<[PathBuf; 3]>,
    /// The port of the first node, if it matters.
    port: Option<u16>,
    /// How many configuration epochs the cluster has seen.
    epochs: usize,
}

impl Cluster {
    /// Starts three primaries.
    pub async fn start(scratch: &Scratch, flavour: Flavour) -> Self {
        Self::of(scratch, flavour, Plan::default()).await
    }

    /// Starts three primaries of another cluster, which has seen more epochs.
    pub async fn another(scratch: &Scratch) -> Self {
        Self::another_at(scratch, None).await
    }

    /// Like [`Self::another`], with the first primary at this port.
    pub async fn another_at(scratch: &Scratch, port: impl Into<Option<u16>>) -> Self {
        let plan = Plan {
            port: port.into(),
            epochs: 100,
            ..Plan::default()
        };
        Self::of(scratch, Flavour::Redis, plan).await
    }

    /// Starts three primaries that are announced as `localhost`, and use TLS among themselves and with
    /// clients that have a certificate.
    pub async fn with_tls(scratch: &Scratch, authority: &Authority) -> Self {
        let certified = authority.certify(scratch, "localhost", "node");
        let files = [
            certified.cert_file,
            certified.key_file,
            authority.write(scratch, "nodes-ca.crt"),
        ];
        let plan = Plan {
            tls: Some(files),
            ..Plan::default()
        };
        Self::of(scratch, Flavour::Redis, plan).await
    }

    /// Starts three primaries, and a replica of each: node 3 replicates node 0, and so on.
    pub async fn with_replicas(scratch: &Scratch, flavour: Flavour) -> Self {
        let plan = Plan {
            replicas: true,
            ..Plan::default()
        };
        Self::of(scratch, flavour, plan).await
    }

    async fn of(scratch: &Scratch, flavour: Flavour, plan: Plan) -> Self {
        let cluster = on_free_ports(async || {
            let mut cluster = Self::launch(scratch, flavour, &plan);
            for node in &mut cluster.nodes {
                if !node.answers().await {
                    return None;
                }
            }
            Some(cluster)
        });
        let cluster = cluster.await;
        for node in 0..cluster.nodes.len() {
            cluster.works(node).await;
        }
        cluster
    }

    fn launch(scratch: &Scratch, flavour: Flavour, plan: &Plan) -> Self {
        let (primaries, tls) = (3, &plan.tls);
        let share = |n: usize| SLOTS * n / primaries;
        let mut roles: Vec<Role> = (0..primaries)
            .map(|n| Role::Primary(share(n), share(n + 1)))
            .collect();
        if plan.replicas {
            roles.extend((0..primaries).map(Role::ReplicaOf));
        }
        let (bus_ways, mut places) = (Bus::new(), Vec::new());
        for n in 0..roles.len() {
            let (bus, id) = (free_port(), new_id());
            let way = bus_ways.leads_to(bus, &id);
            let tls = tls.clone().map(|files| Tls {
                port: free_port(),
                files,
            });
            let port = plan.port.filter(|_| n == 0).unwrap_or_else(free_port);
            places.push((port, way, id, bus, tls));
        }
        let mut nodes = Vec::new();
        for (port, way, id, bus, tls) in &places {
            let dir = scratch.file(&format!("cluster-{port}"));
            std::fs::create_dir_all(&dir).unwrap();
            // The nodes get the whole table at the start, which is faster than letting them meet.
            let mut table = String::new();
            for (n, (role, place)) in roles.iter().zip(&places).enumerate() {
                let myself = if place.0 == *port { "myself," } else { "" };
                let epoch = plan.epochs + n + 1;
                let (role, of, slots) = match role {
                    Role::Primary(from, to) => {
                        ("master", "-".to_owned(), format!(" {from}-{}", to - 1))
                    }
                    Role::ReplicaOf(of) => ("slave", places[*of].2.clone(), String::new()),
                };
                // If there are two ports, the table contains the one with TLS.
                let port = place.4.as_ref().map_or(place.0, |tls| tls.port);
                table += &format!(
                    "{} 127.0.0.1:{port}@{} {myself}{role} {of} 0 0 {epoch} connected{slots}\n",
                    place.2, place.1
                );
            }
            let epoch = plan.epochs + places.len();
            table += &format!("vars currentEpoch {epoch} lastVoteEpoch 0\n");
            std::fs::write(dir.join("nodes.conf"), table).unwrap();
            nodes.push(Node {
                process: launch(scratch, flavour, *port, (*bus, *way), &dir, tls.as_ref()),
                port: *port,
                bus: *bus,
                way: *way,
                id: id.clone(),
                dir,
                tls: tls.clone(),
            });
        }
        Self {
            nodes,
            flavour,
            bus: bus_ways,
        }
    }

    /// Waits until a node reports that the cluster works; for a replica, until it is in sync.
    pub async fn works(&self, node: usize) {
        eventually("a node of a working cluster", async || {
            let info: String = self.try_run(node, &["CLUSTER", "INFO"])?;
            let role: String = self.try_run(node, &["INFO", "replication"])?;
            let follows = role.contains("role:master") || role.contains("master_link_status:up");
            (info.contains("cluster_state:ok") && follows).then_some(())
        })
        .await;
    }

    /// Adds a primary without slots.
    pub async fn add(&mut self, scratch: &Scratch) -> usize {
        let mut node = on_free_ports(async || {
            let (bus, port) = (free_port(), free_port());
            let dir = scratch.file(&format!("cluster-{port}"));
            std::fs::create_dir_all(&dir).unwrap();
            let mut node = Node {
                process: launch(scratch, self.flavour, port, (bus, bus), &dir, None),
                port,
                bus,
                way: bus,
                id: String::new(),
                dir,
                tls: None,
            };
            node.answers().await.then_some(node)
        })
        .await;
        node.id = eventually("a new node", async || node.try_run(&["CLUSTER", "MYID"])).await;
        self.nodes.push(node);
        let new = self.nodes.len() - 1;
        let node = &self.nodes[new];
        let (port, bus) = (node.port.to_string(), node.bus.to_string());
        let () = self.run(0, &["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
        for node in 0..self.nodes.len() {
            self.knows(node, &self.nodes[new].id).await;
        }
        self.works(new).await;
        new
    }

    async fn knows(&self, node: usize, id: &str) {
        eventually("a node that knows the other", async || {
            let table: String = self.try_run(node, &["CLUSTER", "NODES"])?;
            let line = table.lines().find(|l| l.starts_with(id))?;
            (!line.contains("handshake")).then_some(())
        })
        .await;
    }

    /// Runs a command on one node, like redis-cli.
    pub fn run<T: FromRedisValue>(&self, node: usize, command: &[&str]) -> T {
        self.nodes[node].run(command)
    }

    pub fn try_run<T: FromRedisValue>(&self, node: usize, command: &[&str]) -> Option<T> {
        self.nodes[node].try_run(command)
    }

    /// Runs a command on the owner of a key, like `redis-cli -c`.
    pub async fn run_about<T: FromRedisValue>(&self, key: &str, command: &[&str]) -> T {
        eventually("an answer of the owner of a slot", async || {
            let mut asking = false;
            let mut port = self.nodes.iter().find_map(|n| {
                let _: String = n.try_run(&["PING"])?;
                Some(n.port)
            })?;
            for _ in 0..8 {
                let mut connection = connect(port)?;
                if asking {
                    let () = redis::cmd("ASKING").query(&mut connection).ok()?;
                }
                let mut call = redis::Cmd::new();
                call.arg(command);
                match call.query(&mut connection) {
                    Ok(answer) => return Some(answer),
                    Err(error) => {
                        asking = error.code() == Some("ASK");
                        port = error.redirect_node()?.0.rsplit_once(':')?.1.parse().ok()?;
                    }
                }
            }
            panic!("{key}: sent around in circles")
        })
        .await
    }

    /// Returns the node's own line in its `CLUSTER NODES`, if it is a primary: the ranges of its slots begin
    /// with the ninth field.
    fn own_line(&self, node: usize) -> Option<String> {
        let table: String = self.try_run(node, &["CLUSTER", "NODES"])?;
        let line = table.lines().find(|l| l.contains("myself,master"));
        line.map(str::to_owned)
    }

    /// Returns the node that says it owns a slot.
    pub fn owner(&self, slot: u16) -> Option<usize> {
        (0..self.nodes.len()).find(|node| {
            self.own_line(*node).is_some_and(|line| {
                line.split(' ').skip(8).any(|range| {
                    let (first, last) = range.split_once('-').unwrap_or((range, range));
                    let (first, last) = (first.parse::<u16>(), last.parse::<u16>());
                    matches!((first, last), (Ok(f), Ok(l)) if (f..=l).contains(&slot))
                })
            })
        })
    }

    /// Returns the nodes that say they own slots.
    pub fn primaries(&self) -> Vec<usize> {
        let owns = |node: &usize| {
            let line = self.own_line(*node);
            line.is_some_and(|line| line.split(' ').nth(8).is_some())
        };
        (0..self.nodes.len()).filter(owns).collect()
    }

    /// Returns a node that follows this primary.
    pub fn replica_of(&self, primary: usize) -> Option<usize> {
        let port = format!("master_port:{}\r", self.nodes[primary].port);
        (0..self.nodes.len()).find(|node| {
            let info: Option<String> = self.try_run(*node, &["INFO", "replication"]);
            let info = info.unwrap_or_default();
            info.contains("role:slave")
                && info.contains(&port)
                && info.contains("master_link_status:up")
        })
    }

    pub fn url(&self, node: usize) -> String {
        format!("redis://127.0.0.1:{}", self.nodes[node].port)
    }

    pub fn slot_of(&self, key: &str) -> u16 {
        let node =
            (0..self.nodes.len()).find_map(|node| self.try_run(node, &["CLUSTER", "KEYSLOT", key]));
        node.unwrap()
    }

    /// Waits until another node owns the slot, and every node that answers knows it.
    pub async fn fails_over(&self, slot: u16, from: usize) -> usize {
        let to = eventually("another owner of the slot", async || {
            self.owner(slot).filter(|owner| *owner != from)
        })
        .await;
        self.works(to).await;
        to
    }

    pub fn kill(&mut self, node: usize) {
        self.nodes[node].process.kill();
    }

    /// Starts a new process with the data of the killed one.
    pub fn restart(&mut self, node: usize, scratch: &Scratch) {
        let flavour = self.flavour;
        let node = &mut self.nodes[node];
        let (bus, tls) = ((node.bus, node.way), node.tls.as_ref());
        node.process = launch(scratch, flavour, node.port, bus, &node.dir, tls);
    }

    /// Kills every node, and restarts them all with their data.
    pub async fn restart_all(&mut self, scratch: &Scratch) {
        for node in 0..self.nodes.len() {
            self.kill(node);
        }
        for node in 0..self.nodes.len() {
            self.restart(node, scratch);
        }
        for node in 0..self.nodes.len() {
            self.works(node).await;
        }
    }

    /// Cuts this node off from the other nodes; clients and its replica still reach it. It does not notice
    /// for a minute, and so keeps serving.
    pub fn cut_off(&self, node: usize) {
        let () = self.run(node, &["CONFIG", "SET", "cluster-node-timeout", "60000"]);
        self.bus.cut_off(Some(&self.nodes[node].id));
    }

    /// Reconnects a node that was cut off.
    pub fn reconnect(&self, node: usize) {
        self.bus.cut_off(None);
        let timeout = NODE_TIMEOUT.as_millis().to_string();
        let () = self.run(node, &["CONFIG", "SET", "cluster-node-timeout", &timeout]);
    }

    pub fn pause(&self, node: usize) {
        self.nodes[node].process.signal(Signal::STOP);
    }

    pub fn resume(&self, node: usize) {
        self.nodes[node].process.signal(Signal::CONT);
    }

    /// The configuration of a store that uses this cluster.
    pub fn store(&self) -> String {
        store_at(self.nodes.iter().take(3).map(|n| n.port))
    }

    /// Does what `redis-cli --cluster del-node` does: the others forget a node, and the node forgets them;
    /// its process keeps running.
    pub async fn remove(&self, node: usize) {
        self.forget(node);
        let () = self.run(node, &["CLUSTER", "RESET", "SOFT"]);
        eventually("a node that is alone", async || {
            let info: String = self.try_run(node, &["CLUSTER", "INFO"])?;
            let alone = info.contains("cluster_known_nodes:1\r");
            (alone && info.contains("cluster_state:fail")).then_some(())
        })
        .await;
    }

    /// Makes all other nodes forget a node.
    pub fn forget(&self, node: usize) {
        for other in (0..self.nodes.len()).filter(|other| *other != node) {
            let () = self.run(other, &["CLUSTER", "FORGET", &self.nodes[node].id]);
        }
    }

    /// The configuration of a store that uses this cluster over TLS, with these additional lines.
    pub fn store_over_tls(&self, lines: &str) -> String {
        let ports = self.nodes.iter().filter_map(|n| Some(n.tls.as_ref()?.port));
        let nodes: Vec<_> = ports.map(|port| format!("\"localhost:{port}\"")).collect();
        let nodes = nodes.join(", ");
        format!("redis: {{ cluster: {{ nodes: [{nodes}] }}, tls: {{ {lines} }} }}")
    }

    /// The options of a library store that uses this cluster.
    pub fn options(&self) -> RedisOptions {
        let nodes = self.nodes.iter().map(|n| format!("127.0.0.1:{}", n.port));
        RedisOptions::cluster(nodes.collect(), PATIENCE)
    }
}

/// The configuration of a store that uses the cluster of the nodes at these ports.
pub fn store_at(ports: impl IntoIterator<Item = u16>) -> String {
    let nodes = ports
        .into_iter()
        .map(|port| format!("\"127.0.0.1:{port}\""));
    let nodes: Vec<_> = nodes.collect();
    format!("redis: {{ cluster: {{ nodes: [{}] }} }}", nodes.join(", "))
}

fn new_id() -> String {
    use std::hash::{BuildHasher as _, Hasher as _};
    let random = || std::hash::RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}{:08x}", random(), random(), random() >> 32)
}
