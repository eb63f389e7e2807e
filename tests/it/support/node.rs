//! One node of a cluster.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use redis::FromRedisValue;

use super::redis::{answers_at, connect, redis_server, valkey_server};
use super::{Process, Scratch};

/// After this timeout, the other nodes consider a node as failed.
pub const NODE_TIMEOUT: Duration = Duration::from_millis(1500);

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Flavour {
    Redis,
    Valkey,
}

pub struct Node {
    pub process: Process,
    pub port: u16,
    pub bus: u16,
    /// The port at which other nodes reach its bus.
    pub way: u16,
    pub id: String,
    pub dir: PathBuf,
    /// Its TLS port, in addition to the plain one.
    pub tls: Option<Tls>,
}

/// What a node needs for TLS.
#[derive(Clone)]
pub struct Tls {
    pub port: u16,
    /// Its certificate, its key, and the authorities that it trusts.
    pub files: [PathBuf; 3],
}

impl Node {
    /// Waits until it answers. Returns `false` if it has ended because a port was in use.
    pub async fn answers(&mut self) -> bool {
        let port = self.port;
        self.process
            .answers(async |process| answers_at(port, process))
            .await
    }

    pub fn run<T: FromRedisValue>(&self, command: &[&str]) -> T {
        let mut call = redis::Cmd::new();
        call.arg(command);
        let mut connection = connect(self.port).unwrap();
        call.query(&mut connection)
            .unwrap_or_else(|e| panic!("{command:?}: {e}"))
    }

    pub fn try_run<T: FromRedisValue>(&self, command: &[&str]) -> Option<T> {
        let mut call = redis::Cmd::new();
        call.arg(command);
        call.query(&mut connect(self.port)?).ok()
    }
}

pub fn launch(
    scratch: &Scratch,
    flavour: Flavour,
    port: u16,
    (bus, way): (u16, u16),
    dir: &Path,
    tls: Option<&Tls>,
) -> Process {
    let mut command = Command::new(match flavour {
        Flavour::Redis => redis_server(),
        Flavour::Valkey => valkey_server(),
    });
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1"]);
    command.args(["--cluster-enabled", "yes", "--cluster-config-file"]);
    command.args(["nodes.conf", "--cluster-port", &bus.to_string()]);
    command.args(["--cluster-announce-bus-port", &way.to_string()]);
    let timeout = NODE_TIMEOUT.as_millis().to_string();
    command.args(["--cluster-node-timeout", &timeout, "--save", ""]);
    command.args(["--appendonly", "yes", "--appendfsync", "always"]);
    // A replica takes over however far behind it is, and synchronizes at once.
    command.args(["--cluster-replica-validity-factor", "0"]);
    command.args(["--repl-diskless-sync-delay", "0"]);
    command.arg("--dir").arg(dir);
    if let Some(tls) = tls {
        command.args(["--tls-port", &tls.port.to_string(), "--tls-cluster", "yes"]);
        for (name, file) in ["cert", "key", "ca-cert"].iter().zip(&tls.files) {
            command.arg(format!("--tls-{name}-file")).arg(file);
        }
        command.args(["--cluster-announce-hostname", "localhost"]);
        command.args(["--cluster-preferred-endpoint-type", "hostname"]);
    }
    Process::start("redis", &mut command, scratch)
}
