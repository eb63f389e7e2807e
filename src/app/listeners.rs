//! The listeners: all are bound before the first is served, so that a port that is taken is found at start.

use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpSocket, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::transport::Server;
use tonic::transport::server::Router as GrpcRouter;

use crate::api::Api;
use crate::config::{Config, Listen, Problems};
use crate::ext_authz::{CheckServer, ExtAuthz, MemoryBudget};
use crate::operations::Operations;

use super::connection_limit::ConnectionLimit;
use super::http;
use super::shutdown::{Stage, reached};
use super::workers;

/// Checks under way on one connection. It must be more than Envoy sends: until it has received this limit, an Envoy goes
/// by its own, and what is beyond is refused, which is an error to it. By default Envoy has 1024 requests under way to a
/// cluster, counted without a lock, so sometimes a few more.
const MAX_STREAMS: u32 = 2048;
/// A check request is a few kilobytes; one connection carries those of a whole Envoy worker.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// All requests under way on all connections: 8,192 small ones.
const REQUESTS: usize = 64 << 20;
/// What the kernel holds for a client that does not read. By itself it would take several megabytes.
const SEND_BUFFER: u32 = 256 << 10;
/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;
/// Health checks have a message of a few bytes.
const MAX_HEALTH_MESSAGE: usize = 1024;
/// Longer than any check takes, and than `keys.wait` can be.
const REQUEST_WITHIN: Duration = Duration::from_secs(15);
/// Finds peers that vanished without a word.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Bound, not yet served.
pub(super) struct Listeners {
    check: CheckListener,
    operations: Option<TcpListener>,
    api: Option<TcpListener>,
    max_connections: usize,
    max_message: usize,
}

enum CheckListener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listeners {
    /// Binds all; those that cannot be bound are reported.
    pub async fn bind(config: &Config, problems: &mut Problems) -> Option<Self> {
        let server = &config.server;
        let check = match &server.check {
            Listen::Tcp(address) => tcp(config, "server.check", *address, problems)
                .await
                .map(CheckListener::Tcp),
            Listen::Unix(path) => match unix(path) {
                Ok(listener) => {
                    tracing::info!(listener = "check", address = %server.check, "listening");
                    Some(CheckListener::Unix(listener))
                }
                Err(error) => {
                    let message = format!("cannot listen on {}: {error}", path.display());
                    problems.push(config.document.problem("server.check", message));
                    None
                }
            },
        };
        let operations = tcp(config, "server.operations", server.operations, problems).await;
        let api = match server.api {
            Some(address) => Some(tcp(config, "server.api", address, problems).await?),
            None => None,
        };
        Some(Self {
            check: check?,
            operations: Some(operations?),
            api,
            max_connections: server.max_connections,
            max_message: server.max_message_bytes,
        })
    }

    /// Serves probes and scrapes, which are to be answered before anything else is ready.
    pub fn serve_operations(
        &mut self,
        operations: Operations,
        stages: &watch::Receiver<Stage>,
    ) -> JoinSet<()> {
        let mut servers = JoinSet::new();
        if let Some(listener) = self.operations.take() {
            let ending = reached(stages, Stage::Ending);
            servers.spawn(serve_http(
                "operations",
                listener,
                operations.router(),
                ending,
            ));
        }
        servers
    }

    /// Serves the others, each in a task of its own.
    pub fn serve(
        self,
        check: ExtAuthz,
        api: Api,
        stages: &watch::Receiver<Stage>,
        servers: &mut JoinSet<()>,
    ) {
        let ending = || reached(stages, Stage::Ending);
        let limit = ConnectionLimit::new("check", self.max_connections);
        let budget = MemoryBudget::new(REQUESTS, limit.evict_heaviest());
        let router = grpc(CheckServer::new(check, self.max_message, budget), stages);
        match self.check {
            CheckListener::Tcp(listener) => {
                servers.spawn(workers::serve(listener, router, limit, stages.clone()));
            }
            CheckListener::Unix(listener) => {
                servers.spawn(workers::serve(listener, router, limit, stages.clone()));
            }
        }
        if let Some(listener) = self.api {
            servers.spawn(serve_http("api", listener, api.router(), ending()));
        }
    }
}

async fn serve_http(
    name: &'static str,
    listener: TcpListener,
    router: Router,
    ending: impl Future<Output = ()> + Send + 'static,
) {
    ended(name, http::serve(name, listener, router, ending).await);
}

fn ended<E: std::fmt::Display>(listener: &str, result: Result<(), E>) {
    if let Err(error) = result {
        tracing::error!(listener, %error, "the server failed");
    }
}

fn grpc(check: CheckServer, stages: &watch::Receiver<Stage>) -> GrpcRouter {
    let (health, health_service) = tonic_health::server::health_reporter();
    let (running, unready) = (
        reached(stages, Stage::Running),
        reached(stages, Stage::Unready),
    );
    tokio::spawn(async move {
        health.set_not_serving::<CheckServer>().await;
        health
            .set_service_status("", tonic_health::ServingStatus::NotServing)
            .await;
        running.await;
        health
            .set_service_status("", tonic_health::ServingStatus::Serving)
            .await;
        health.set_serving::<CheckServer>().await;
        unready.await;
        health.set_not_serving::<CheckServer>().await;
        health
            .set_service_status("", tonic_health::ServingStatus::NotServing)
            .await;
    });
    Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .timeout(REQUEST_WITHIN)
        .add_service(health_service.max_decoding_message_size(MAX_HEALTH_MESSAGE))
        .add_service(check)
}

async fn tcp(
    config: &Config,
    path: &str,
    address: SocketAddr,
    problems: &mut Problems,
) -> Option<TcpListener> {
    let name = path.trim_start_matches("server.");
    let bound = async {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        // As `TcpListener::bind` does.
        socket.set_reuseaddr(true)?;
        socket.set_send_buffer_size(SEND_BUFFER)?;
        socket.bind(address)?;
        let listener = socket.listen(BACKLOG)?;
        let bound = listener.local_addr()?;
        tracing::info!(listener = name, address = %bound, "listening");
        std::io::Result::Ok(listener)
    };
    match bound.await {
        Ok(listener) => Some(listener),
        Err(error) => {
            let message = format!("cannot listen on {address}: {error}");
            problems.push(config.document.problem(path, message));
            None
        }
    }
}

/// Binds a Unix socket, in place of one that a former process left behind. Anything else at the path is left alone.
fn unix(path: &Path) -> std::io::Result<UnixListener> {
    match std::fs::symlink_metadata(path) {
        Ok(there) if there.file_type().is_socket() => {
            if std::os::unix::net::UnixStream::connect(path).is_ok() {
                return Err(std::io::ErrorKind::AddrInUse.into());
            }
            std::fs::remove_file(path)?;
        }
        Ok(_) => return Err(std::io::ErrorKind::AlreadyExists.into()),
        Err(_) => {}
    }
    UnixListener::bind(path)
}
