//! A PostgreSQL of a test's own, which can be killed, paused and restarted.
//!
//! PostgreSQL does not run as root, which tests often do: then it runs as nobody.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use revoxy::revocation::PostgresOptions;
use rustix::process::{Pid, Signal, geteuid, kill_process};
use sqlx::{Connection as _, PgConnection, Row as _};
use tokio::time::timeout;

use super::cleanup::ends_with_us;
use super::ports::{free_port, on_free_ports};
use super::process::program;
use super::{PATIENCE, Process, Scratch, eventually};

/// Settings of all servers in the tests: minimal resources, and no waiting for the disk.
const SETTINGS: [&str; 7] = [
    "listen_addresses=127.0.0.1",
    "shared_buffers=16MB",
    "max_connections=60",
    "autovacuum=off",
    "log_min_messages=warning",
    "fsync=off",
    // In the data directory, not in /dev/shm, where it would outlive a server that is killed.
    "dynamic_shared_memory_type=mmap",
];

pub struct Postgres {
    process: Process,
    port: u16,
    data: PathBuf,
    settings: Vec<String>,
}

impl Postgres {
    /// Starts a server that loses nothing when it is killed, and does not wait for the disk.
    pub async fn start(scratch: &Scratch) -> Self {
        Self::start_with(scratch, &[]).await
    }

    /// Starts a server with additional or different settings, `name=value`.
    pub async fn start_with(scratch: &Scratch, settings: &[&str]) -> Self {
        let data = scratch.unused("postgres-data");
        new_cluster(scratch, &data);
        Self::start_on(scratch, data, settings).await
    }

    /// Starts a server on an existing data directory.
    pub async fn start_on(scratch: &Scratch, data: PathBuf, settings: &[&str]) -> Self {
        let settings = SETTINGS.iter().chain(settings);
        let settings: Vec<_> = settings.map(|s| (*s).to_owned()).collect();
        on_free_ports(async || {
            let port = free_port();
            let mut postgres = Self {
                process: launch(scratch, port, &data, &settings),
                port,
                data: data.clone(),
                settings: settings.clone(),
            };
            postgres.answers().await.then_some(postgres)
        })
        .await
    }

    /// Waits until the server answers, and is ours and not another one at its port. Returns `false` if it has
    /// ended because the port was in use.
    async fn answers(&mut self) -> bool {
        let (port, data) = (self.port, self.data.to_string_lossy().into_owned());
        self.process
            .answers(async |_| {
                let mut connection = connect(port).await?;
                let query = sqlx::query("SHOW data_directory");
                let row = query.fetch_one(&mut connection).await.ok()?;
                (row.get::<String, _>(0) == data).then_some(())
            })
            .await
    }

    pub async fn connect(&self) -> Option<PgConnection> {
        connect(self.port).await
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

    /// The configuration of a store that uses this server.
    pub fn store(&self) -> String {
        store(self.port)
    }

    /// The options of a library store that uses this server.
    pub fn options(&self) -> PostgresOptions {
        options(self.url())
    }

    /// Runs a statement, like psql.
    pub async fn run(&self, sql: &str) {
        let mut connection = self.connect().await.unwrap();
        let done = sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
            .execute(&mut connection)
            .await;
        done.unwrap_or_else(|e| panic!("{sql}: {e}"));
    }

    /// Returns the single value that a query yields, as text.
    pub async fn ask(&self, sql: &str) -> String {
        let mut connection = self.connect().await.unwrap();
        let query = sqlx::query(sqlx::AssertSqlSafe(sql));
        let row = query.fetch_one(&mut connection).await;
        row.unwrap_or_else(|e| panic!("{sql}: {e}")).get(0)
    }

    /// Sends SIGKILL to all its processes, as if the machine had failed.
    pub fn kill(&mut self) {
        // Stopped first, so that it starts no more processes.
        self.process.signal(Signal::STOP);
        let children = self.children();
        self.process.kill();
        for child in children {
            let _ = kill_process(child, Signal::KILL);
        }
    }

    /// Starts a new server with the port and the data of the killed one.
    pub async fn restart(&mut self, scratch: &Scratch) {
        // Starting fails until the kernel has removed what is left of the killed server.
        self.process = eventually("a PostgreSQL that has started again", async || {
            let mut process = launch(scratch, self.port, &self.data, &self.settings);
            let answers = eventually(
                "an answer of PostgreSQL, or its end",
                async || match process.ended() {
                    Some(_) => Some(false),
                    None => self.connect().await.map(|_| true),
                },
            )
            .await;
            answers.then_some(process)
        })
        .await;
    }

    /// Makes the server answer nothing, although the kernel still accepts connections.
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

    /// Returns all its processes but the first.
    fn children(&self) -> Vec<Pid> {
        let pid = self.process.pid();
        let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let list = list.unwrap_or_default();
        let pids = list.split_whitespace().filter_map(|p| p.parse().ok());
        pids.filter_map(Pid::from_raw).collect()
    }
}

impl Drop for Postgres {
    /// Stops the server at once, but orderly: it releases its shared memory, and no child process keeps the
    /// directory in use.
    fn drop(&mut self) {
        if self.process.ended().is_none() {
            self.resume();
            self.process.signal(Signal::QUIT);
            if !self.process.ends_within(PATIENCE) {
                self.kill();
            }
        }
        remove_shared_memory(&self.data);
    }
}

/// Returns the shared memory of a server, as named in its lock file: the second number of line 7. A server
/// that has stopped leaves no such file.
pub fn shared_memory(data: &Path) -> Option<String> {
    let lock = std::fs::read_to_string(data.join("postmaster.pid")).ok()?;
    let segment = lock.lines().nth(6)?.split_whitespace().nth(1)?;
    Some(segment.to_owned())
}

/// Removes the shared memory of a server that was killed and not restarted.
fn remove_shared_memory(data: &Path) {
    if let Some(segment) = shared_memory(data) {
        // The command fails if there is none.
        let _ = Command::new("ipcrm").args(["-m", &segment]).output();
    }
}

/// Connects as the owner. The kernel accepts connections even for a server that is paused, so waiting for an
/// answer has a timeout.
async fn connect(port: u16) -> Option<PgConnection> {
    let url = url(port);
    let connection = timeout(PATIENCE, PgConnection::connect(&url)).await;
    connection.ok()?.ok()
}

/// The owner's URL of the server on this port.
pub fn url(port: u16) -> String {
    format!("postgres://postgres@127.0.0.1:{port}/postgres?sslmode=disable")
}

/// The configuration of a store that uses the server on this port.
pub fn store(port: u16) -> String {
    format!("postgres: {{ url: {:?} }}", url(port))
}

/// The options of a library store that uses this URL.
pub fn options(url: String) -> PostgresOptions {
    PostgresOptions {
        url,
        password_file: None,
        max_connections: 8,
        connect_timeout: PATIENCE,
    }
}

/// Finds a program of PostgreSQL; Debian keeps them out of the PATH.
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

/// Makes a command that runs as a user that PostgreSQL accepts.
fn unprivileged(program: &Path) -> Command {
    if !geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]);
    command.arg(program);
    command
}

/// Gives a directory to the user that the server runs as.
pub fn hand_over(path: &Path) {
    if geteuid().is_root() {
        let mut chown = Command::new("chown");
        run(chown.args(["-R", "nobody:nogroup"]).arg(path));
    }
}

fn run(command: &mut Command) {
    let output = ends_with_us(command).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

/// Makes a data directory. Initializing one takes a second, so one is kept next to Cargo's build output, and
/// copied.
fn new_cluster(scratch: &Scratch, data: &Path) {
    static MAKING: Mutex<()> = Mutex::new(());
    // Another user must be able to reach the directory.
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
        // Copied to another name first: another test run may be doing the same.
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
