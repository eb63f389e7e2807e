//! A redis-server of a test's own, which can be killed, paused and brought back.

use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};

use rustix::process::Signal;

use super::process::program;
use super::{Process, Scratch, eventually};

pub struct Redis {
    process: Process,
    port: u16,
    durable: bool,
}

/// Ports below those that the kernel gives to outgoing connections: nobody takes the port of a server that is down.
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
        Self::start_as(scratch, false).await
    }

    /// One that writes everything to disk before it answers.
    pub async fn durable(scratch: &Scratch) -> Self {
        Self::start_as(scratch, true).await
    }

    async fn start_as(scratch: &Scratch, durable: bool) -> Self {
        loop {
            let port = candidate();
            // A server that is there already would answer in the place of ours.
            if std::net::TcpListener::bind(("127.0.0.1", port)).is_err() {
                continue;
            }
            let mut redis = Self {
                process: launch(scratch, port, durable),
                port,
                durable,
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
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// What a configuration says to use it.
    pub fn store(&self) -> String {
        format!("redis: {{ url: {:?} }}", self.url())
    }

    /// What redis-cli would do.
    pub fn run<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        let mut call = redis::Cmd::new();
        call.arg(command);
        call.query(&mut self.connect().unwrap()).unwrap()
    }

    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// A new server on the port of the killed one.
    pub async fn restart(&mut self, scratch: &Scratch) {
        self.process = launch(scratch, self.port, self.durable);
        assert!(self.answers().await, "the port is taken");
    }

    /// From now on it takes connections (the kernel does) and answers nothing.
    pub fn pause(&self) {
        self.process.signal(Signal::STOP);
    }

    pub fn resume(&self) {
        self.process.signal(Signal::CONT);
    }
}

fn launch(scratch: &Scratch, port: u16, durable: bool) -> Process {
    let mut command = Command::new(program("redis-server", "REDIS_SERVER_BIN", &[]));
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1"]);
    command
        .arg("--dir")
        .arg(scratch.path())
        .args(["--save", ""]);
    if durable {
        command.args(["--appendonly", "yes", "--appendfsync", "always"]);
    }
    Process::start("redis", &mut command, scratch)
}
