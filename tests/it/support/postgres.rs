//! A PostgreSQL of a test's own, which can be killed, paused and brought back.
//!
//! PostgreSQL does not run as root, which tests often do: then it runs as nobody.

use std::fs::Permissions;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, PoisonError};

use revoxy::revocation::PostgresOptions;
use rustix::process::{Pid, Signal, geteuid, kill_process};
use sqlx::{Connection as _, PgConnection, Row as _};

use super::process::program;
use super::{PATIENCE, Process, Scratch, eventually};

/// Settings of every server here: as little as will do, and quick to stop waiting for the disk.
const SETTINGS: [&str; 6] = [
    "listen_addresses=127.0.0.1",
    "shared_buffers=16MB",
    "max_connections=60",
    "autovacuum=off",
    "log_min_messages=warning",
    "fsync=off",
];

pub struct Postgres {
    process: Process,
    port: u16,
    data: PathBuf,
    settings: Vec<String>,
}

/// Ports below those that the kernel gives to outgoing connections, and apart from those of Redis.
fn free_port() -> u16 {
    const FIRST: u16 = 10_000;
    const COUNT: u16 = 10_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Another run of these tests at the same time most likely starts elsewhere.
    let start = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap();
    loop {
        let port = FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

impl Postgres {
    /// One that loses nothing when it is killed, and waits for no disk.
    pub async fn start(scratch: &Scratch) -> Self {
        Self::start_with(scratch, &[]).await
    }

    /// One with more settings, `name=value`, or other ones.
    pub async fn start_with(scratch: &Scratch, settings: &[&str]) -> Self {
        let data = scratch.unused("postgres-data");
        new_cluster(scratch, &data);
        Self::start_on(scratch, data, settings).await
    }

    /// One on a data directory that is there.
    pub async fn start_on(scratch: &Scratch, data: PathBuf, settings: &[&str]) -> Self {
        let settings = SETTINGS.iter().chain(settings);
        let settings: Vec<_> = settings.map(|s| (*s).to_owned()).collect();
        loop {
            let port = free_port();
            let mut postgres = Self {
                process: launch(scratch, port, &data, &settings),
                port,
                data: data.clone(),
                settings: settings.clone(),
            };
            if postgres.answers().await {
                return postgres;
            }
        }
    }

    /// Whether it answers; no, where it ended because its port is taken.
    async fn answers(&mut self) -> bool {
        eventually("an answer of PostgreSQL", async || {
            if let Some(status) = self.process.ended() {
                let output = self.process.output();
                let taken = output.contains("Address already in use");
                assert!(taken, "postgres: {status}\n{output}");
                return Some(false);
            }
            self.connect().await.map(|_| true)
        })
        .await
    }

    pub async fn connect(&self) -> Option<PgConnection> {
        PgConnection::connect(&self.url()).await.ok()
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn data(&self) -> &Path {
        &self.data
    }

    pub fn url(&self) -> String {
        url(self.port)
    }

    /// What a configuration says to use it.
    pub fn store(&self) -> String {
        store(self.port)
    }

    /// How a store of the library reaches it.
    pub fn options(&self) -> PostgresOptions {
        options(self.url())
    }

    /// What psql would do.
    pub async fn run(&self, sql: &str) {
        let mut connection = self.connect().await.unwrap();
        let done = sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
            .execute(&mut connection)
            .await;
        done.unwrap_or_else(|e| panic!("{sql}: {e}"));
    }

    /// The one value that a query gives, as text.
    pub async fn ask(&self, sql: &str) -> String {
        let mut connection = self.connect().await.unwrap();
        let query = sqlx::query(sqlx::AssertSqlSafe(sql));
        let row = query.fetch_one(&mut connection).await;
        row.unwrap_or_else(|e| panic!("{sql}: {e}")).get(0)
    }

    /// SIGKILL for all its processes, as when the machine goes down.
    pub fn kill(&mut self) {
        // Stopped first, so that it starts no more of them.
        self.process.signal(Signal::STOP);
        let children = self.children();
        self.process.kill();
        for child in children {
            let _ = kill_process(child, Signal::KILL);
        }
    }

    /// A new server on the port and the data of the killed one.
    pub async fn restart(&mut self, scratch: &Scratch) {
        // What is left of the killed one is refused until the kernel has put it away.
        self.process = eventually("a PostgreSQL that has started again", async || {
            let mut process = launch(scratch, self.port, &self.data, &self.settings);
            loop {
                if process.ended().is_some() {
                    return None;
                }
                if self.connect().await.is_some() {
                    return Some(process);
                }
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        })
        .await;
    }

    /// From now on it takes connections (the kernel does) and answers nothing.
    pub fn pause(&self) {
        self.process.signal(Signal::STOP);
        for child in self.children() {
            let _ = kill_process(child, Signal::STOP);
        }
    }

    pub fn resume(&self) {
        for child in self.children() {
            let _ = kill_process(child, Signal::CONT);
        }
        self.process.signal(Signal::CONT);
    }

    /// Its processes but the first.
    fn children(&self) -> Vec<Pid> {
        let pid = self.process.pid();
        let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let list = list.unwrap_or_default();
        let pids = list.split_whitespace().filter_map(|p| p.parse().ok());
        pids.filter_map(Pid::from_raw).collect()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // A server that was killed alone would leave its children, which hold the directory, for a moment longer.
        if self.process.ended().is_none() {
            self.kill();
        }
    }
}

/// How the owner reaches the one on this port.
pub fn url(port: u16) -> String {
    format!("postgres://postgres@127.0.0.1:{port}/postgres?sslmode=disable")
}

/// What a configuration says to use the one on this port.
pub fn store(port: u16) -> String {
    format!("postgres: {{ url: {:?} }}", url(port))
}

/// How a store of the library reaches this.
pub fn options(url: String) -> PostgresOptions {
    PostgresOptions {
        url,
        password_file: None,
        max_connections: 8,
        connect_timeout: PATIENCE,
    }
}

/// A program of PostgreSQL; Debian keeps them out of the PATH.
fn postgres_program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql");
    let versions = versions.into_iter().flatten().flatten();
    let mut places: Vec<_> = versions
        .map(|version| version.path().join("bin/postgres"))
        .collect();
    places.sort();
    places.reverse();
    program("postgres", "POSTGRES_BIN", &places)
        .canonicalize()
        .unwrap()
        .with_file_name(name)
}

/// The command, run by somebody that PostgreSQL puts up with.
fn unprivileged(program: &Path) -> Command {
    if !geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]);
    command.arg(program);
    command
}

/// Gives a directory to whom the server runs as.
pub fn hand_over(path: &Path) {
    if geteuid().is_root() {
        let mut chown = Command::new("chown");
        run(chown.args(["-R", "nobody:nogroup"]).arg(path));
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

/// A data directory. Making one takes a second, so one is kept beside what Cargo builds, and copied.
fn new_cluster(scratch: &Scratch, data: &Path) {
    static MAKING: Mutex<()> = Mutex::new(());
    // The way to the directory, for somebody else.
    std::fs::set_permissions(scratch.path(), Permissions::from_mode(0o711)).unwrap();
    let initdb = postgres_program("initdb");
    let version = initdb.parent().unwrap().to_string_lossy().replace('/', "-");
    let template = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("postgres{version}"));
    let making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    if !template.is_dir() {
        let fresh = scratch.unused("postgres-template");
        std::fs::create_dir(&fresh).unwrap();
        hand_over(&fresh);
        let mut initdb = unprivileged(&initdb);
        initdb.args(["-U", "postgres", "--auth=trust", "--no-sync"]);
        initdb.args(["--encoding=UTF8", "--locale=C", "--wal-segsize=1", "-D"]);
        run(initdb.arg(&fresh).current_dir(scratch.path()));
        // Beside it first: another run of the tests may be at the same.
        let beside = template.with_extension(format!("{}", std::process::id()));
        run(Command::new("cp").arg("-a").args([&fresh, &beside]));
        if std::fs::rename(&beside, &template).is_err() {
            std::fs::remove_dir_all(&beside).unwrap();
        }
    }
    drop(making);
    run(Command::new("cp")
        .arg("-a")
        .args([&template, &data.to_owned()]));
    hand_over(data);
}

fn launch(scratch: &Scratch, port: u16, data: &Path, settings: &[String]) -> Process {
    let mut command = unprivileged(&postgres_program("postgres"));
    command.arg("-D").arg(data).args(["-p", &port.to_string()]);
    command.arg("-c").arg("unix_socket_directories=");
    for setting in settings {
        command.args(["-c", setting]);
    }
    command.current_dir("/");
    Process::start("postgres", &mut command, scratch)
}
