//! A primary, two replicas, and three Sentinels that watch them. Each of these can be killed, paused and
//! restarted.

use std::process::Command;
use std::time::Duration;

use revoxy::revocation::{Credentials, Endpoint, RedisOptions, SentinelOptions};
use rustix::process::Signal;

use super::ports::{free_port, on_free_ports};
use super::redis::{answers_at, redis_server};
use super::{PATIENCE, Process, Redis, Scratch, eventually, within};

/// The name of the primary in the Sentinels.
pub const MASTER: &str = "shop";
/// The configuration of a Sentinel, to which it also writes what it has found out.
pub const CONFIG: &str = "sentinel.conf";
/// The user that the Sentinels authenticate as.
const WATCHER: [&str; 6] = ["--user", "watcher", "on", ">watching", "&*", "~*"];
/// A Sentinel that was kept from running for two seconds takes no part in failovers for 30 s (TILT); on a
/// busy machine this may happen repeatedly.
const TILTED: Duration = Duration::from_secs(90);
/// How long a server must be silent to count as down: on a busy machine, even a healthy one is silent for a
/// while.
const DOWN_AFTER: Duration = Duration::from_secs(2);

pub struct Trio {
    pub servers: Vec<Member>,
    pub sentinels: Vec<Sentinel>,
}

/// A server, with a directory of its own.
pub struct Member {
    pub redis: Redis,
    scratch: Scratch,
}

impl Member {
    async fn start(replica_of: Option<u16>) -> Self {
        let scratch = Scratch::new();
        let mut arguments = WATCHER.to_vec();
        // Otherwise, waiting for full synchronizations would take most of a test's time.
        arguments.extend(["+@all", "--repl-diskless-sync-delay", "0"]);
        let primary = replica_of.map(|port| port.to_string());
        if let Some(port) = &primary {
            arguments.extend(["--replicaof", "127.0.0.1", port]);
        }
        Self {
            redis: Redis::with(&scratch, &arguments).await,
            scratch,
        }
    }

    pub async fn restart(&mut self) {
        self.redis.restart(&self.scratch).await;
    }

    /// Returns `master` or `slave`; `None` if the server is down.
    pub fn role(&self) -> Option<String> {
        let role: Vec<redis::Value> = self.redis.try_run(&["ROLE"])?;
        redis::from_redis_value(role[0].clone()).ok()
    }
}

pub struct Sentinel {
    process: Process,
    port: u16,
    scratch: Scratch,
}

impl Sentinel {
    async fn start(primary: u16) -> Self {
        on_free_ports(async || Self::start_at(free_port(), primary).await).await
    }

    /// Returns `None` if the port is in use.
    async fn start_at(port: u16, primary: u16) -> Option<Self> {
        let scratch = Scratch::new();
        let config = format!(
            "port {port}
bind 127.0.0.1
protected-mode no
dir {dir}
sentinel monitor {MASTER} 127.0.0.1 {primary} 2
sentinel auth-user {MASTER} watcher
sentinel auth-pass {MASTER} watching
sentinel down-after-milliseconds {MASTER} {down}
sentinel failover-timeout {MASTER} 3000
sentinel parallel-syncs {MASTER} 2
",
            dir = scratch.path().display(),
            down = DOWN_AFTER.as_millis()
        );
        scratch.write(CONFIG, config);
        let mut process = launch(&scratch);
        let answers = async |process: &Process| answers_at(port, process);
        process.answers(answers).await.then_some(Self {
            process,
            port,
            scratch,
        })
    }

    async fn three(primary: u16) -> Vec<Self> {
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            sentinels.push(Self::start(primary).await);
        }
        sentinels
    }

    /// Makes it poll the servers more often than by default, so that it soon notices changes. Redis before 7
    /// lacks the command, and its Sentinel notices changes later.
    fn looks_often(&self) {
        let often = ["info-period", "500", "publish-period", "500"];
        let _: Option<()> = self.run(&[&["SENTINEL", "DEBUG"][..], &often].concat());
    }

    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts a new process in place of the killed one, with the state that the killed one has written down.
    pub fn restart(&mut self) {
        self.process = launch(&self.scratch);
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Runs a command, like redis-cli. Returns `None` if there is no answer.
    pub fn run<T: redis::FromRedisValue>(&self, command: &[&str]) -> Option<T> {
        let url = format!("redis://127.0.0.1:{}", self.port);
        let client = redis::Client::open(url).ok()?;
        let wait = Duration::from_millis(300);
        let mut connection = client.get_connection_with_timeout(wait).ok()?;
        connection.set_read_timeout(Some(wait)).ok()?;
        redis::Cmd::new().arg(command).query(&mut connection).ok()
    }

    /// Returns the port of the primary that it names.
    pub fn names(&self) -> Option<u16> {
        let command = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER];
        self.run::<(String, u16)>(&command).map(|(_, port)| port)
    }

    pub fn pause(&self) {
        self.process.signal(Signal::STOP);
    }

    pub fn resume(&self) {
        self.process.signal(Signal::CONT);
    }
}

/// Starts a Sentinel with the configuration [`CONFIG`] in this directory.
pub fn launch(scratch: &Scratch) -> Process {
    let mut command = Command::new(redis_server());
    command.arg(scratch.file(CONFIG)).arg("--sentinel");
    Process::start("sentinel", &mut command, scratch)
}

impl Trio {
    /// Starts a primary without replicas, with its Sentinels: sufficient for tests without a failover.
    pub async fn without_replicas() -> Self {
        let primary = Member::start(None).await;
        let sentinels = Sentinel::three(primary.redis.port()).await;
        let servers = vec![primary];
        let trio = Self { servers, sentinels };
        trio.is_named_by_all().await;
        trio
    }

    async fn is_named_by_all(&self) {
        eventually("three Sentinels that name a primary", async || {
            let named = self.sentinels.iter().filter_map(Sentinel::names);
            (named.count() == 3).then_some(())
        })
        .await;
        for sentinel in &self.sentinels {
            sentinel.looks_often();
        }
    }

    /// Kills everything, and restarts it with its data.
    pub async fn restart(&mut self) {
        for sentinel in &mut self.sentinels {
            sentinel.kill();
        }
        for server in &mut self.servers {
            server.redis.kill();
        }
        for server in &mut self.servers {
            server.restart().await;
        }
        for sentinel in &mut self.sentinels {
            sentinel.restart();
        }
        self.is_named_by_all().await;
    }

    /// Starts everything, and waits until every Sentinel knows the others and both replicas, which are in
    /// sync.
    pub async fn start() -> Self {
        let first = Member::start(None).await;
        let port = first.redis.port();
        let mut servers = vec![first];
        for _ in 0..2 {
            servers.push(Member::start(Some(port)).await);
        }
        eventually("two replicas in step", async || {
            let info: String = servers[0].redis.run(&["INFO", "replication"]);
            (info.matches("state=online").count() == 2).then_some(())
        })
        .await;
        let sentinels = Sentinel::three(port).await;
        let trio = Self { servers, sentinels };
        trio.is_named_by_all().await;
        trio.is_whole().await;
        trio
    }

    /// Waits until every Sentinel considers everything as up.
    pub async fn is_whole(&self) {
        eventually(
            "Sentinels that know each other and both replicas",
            async || self.sentinels.iter().all(Sentinel::sees_all).then_some(()),
        )
        .await;
    }

    /// Waits until all running Sentinels name the same server, and returns it.
    pub async fn primary(&self) -> usize {
        self.primary_but(None).await
    }

    /// Like [`Self::primary`], but waits until it is another server than `before`.
    pub async fn successor_of(&self, before: usize) -> usize {
        self.primary_but(Some(before)).await
    }

    async fn primary_but(&self, before: Option<usize>) -> usize {
        within(
            TILTED,
            "a primary that the Sentinels agree upon",
            async || {
                let named: Vec<_> = self.sentinels.iter().filter_map(Sentinel::names).collect();
                let port = named.first().filter(|p| named.iter().all(|n| n == *p))?;
                let index = self.servers.iter().position(|s| s.redis.port() == *port)?;
                (Some(index) != before).then_some(index)
            },
        )
        .await
    }

    /// Makes the Sentinels replace the primary, although nothing is wrong with it.
    pub async fn fail_over(&self) {
        within(TILTED, "a failover that begins", async || {
            self.sentinels[0].run::<String>(&["SENTINEL", "FAILOVER", MASTER])
        })
        .await;
    }

    /// Prevents the Sentinels from making this server a replica: as if it were cut off from them, but not
    /// from us.
    pub fn cut_off(&self, server: usize) {
        let () = self.servers[server].redis.run(&[
            "ACL",
            "SETUSER",
            "watcher",
            "-slaveof",
            "-replicaof",
        ]);
    }

    pub fn reconnect(&self, server: usize) {
        let () = self.servers[server]
            .redis
            .run(&["ACL", "SETUSER", "watcher", "+@all"]);
    }

    /// Cuts the replicas of this primary off from it, while the Sentinels still take them for its replicas:
    /// what is written then is lost when one of them takes its place.
    pub async fn lock_out_replicas_of(&self, primary: usize) {
        for (index, server) in self.servers.iter().enumerate() {
            if index == primary {
                continue;
            }
            let redis = &server.redis;
            let () = redis.run(&[
                "CONFIG",
                "SET",
                "masteruser",
                "nobody",
                "masterauth",
                "wrong",
            ]);
            eventually("a replica that is locked out", async || {
                let _: u64 = redis.run(&["CLIENT", "KILL", "TYPE", "master"]);
                let info: String = redis.run(&["INFO", "replication"]);
                info.contains("master_link_status:down").then_some(())
            })
            .await;
        }
    }

    /// Lets all replicas follow their primary again.
    pub fn let_in(&self) {
        for server in &self.servers {
            let redis = &server.redis;
            let () = redis.run(&["CONFIG", "SET", "masteruser", "", "masterauth", ""]);
        }
    }

    /// Waits until the Sentinels agree that the primary is down: they are about to replace it.
    pub async fn is_known_to_be_down(&self) {
        type State = std::collections::HashMap<String, String>;
        let says_so = |sentinel: &Sentinel| {
            let state = sentinel.run::<State>(&["SENTINEL", "MASTER", MASTER]);
            state.is_some_and(|s| s["flags"].contains("o_down"))
        };
        eventually("a primary that is known to be down", async || {
            self.sentinels.iter().any(says_so).then_some(())
        })
        .await;
    }

    /// Waits until most Sentinels name another server than the one at this port.
    pub async fn is_replaced(&self, port: u16) {
        within(TILTED, "another primary", async || {
            let named = self.sentinels.iter().filter_map(Sentinel::names);
            (named.filter(|p| *p != port).count() >= 2).then_some(())
        })
        .await;
    }

    fn nodes(&self) -> Vec<String> {
        let node = |s: &Sentinel| format!("127.0.0.1:{}", s.port);
        self.sentinels.iter().map(node).collect()
    }

    /// The configuration of a store that uses these Sentinels.
    pub fn store(&self) -> String {
        format!(
            "redis: {{ sentinel: {{ master: {MASTER}, nodes: {:?} }} }}",
            self.nodes()
        )
    }

    /// The options of a library store that uses these Sentinels.
    pub fn options(&self, confirmed_within: Duration) -> RedisOptions {
        RedisOptions {
            endpoint: Endpoint::Sentinel(SentinelOptions {
                master: MASTER.to_owned(),
                nodes: self.nodes(),
                credentials: Credentials::default(),
                tls: None,
                database: 0,
                confirmed_within,
            }),
            credentials: Credentials::default(),
            tls: None,
            durable_replicas: None,
            connect_timeout: PATIENCE,
        }
    }
}

impl Sentinel {
    fn sees_all(&self) -> bool {
        type State = std::collections::HashMap<String, String>;
        let Some(state) = self.run::<State>(&["SENTINEL", "MASTER", MASTER]) else {
            return false;
        };
        let replicas = self.run::<Vec<State>>(&["SENTINEL", "REPLICAS", MASTER]);
        let up = |s: &State| s["flags"] == "slave" && s["master-link-status"] == "ok";
        state["flags"] == "master"
            && state["num-other-sentinels"] == "2"
            && replicas.is_some_and(|r| r.iter().filter(|s| up(s)).count() == 2)
    }
}
