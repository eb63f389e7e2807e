//! The listeners: all are bound before the first one is served, so that a port in use is found at start.

use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::transport::Server;
use tonic::transport::server::Router as GrpcRouter;

use crate::api::Api;
use crate::config::{Config, Listen, Problems};
use crate::ext_authz::{
    ARRIVES_WITHIN, CheckServer, DescribedBy, ExtAuthz, MemoryBudget, http_router,
};
use crate::keys::KeySource;
use crate::operations::Operations;

use super::connection_limit::ConnectionLimit;
use super::http;
use super::shutdown::{ShutdownStage, reached};
use super::workers;

/// The maximum number of checks in flight on one connection. It must be more than Envoy sends: until Envoy
/// has received this limit, it uses its own, and requests above our limit are refused, which Envoy treats as
/// errors. By default, Envoy has up to 1024 requests in flight per cluster, counted without a lock, so
/// sometimes a few more.
const MAX_STREAMS: u32 = 2048;
/// A check request is a few kilobytes; one connection carries those of a whole Envoy worker.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// The memory of all requests in flight on all connections: 5,461 requests of ordinary size.
const REQUESTS: usize = 64 << 20;
/// What the kernel buffers for a client that does not read. The default would be several megabytes.
const SEND_BUFFER: u32 = 256 << 10;
/// The number of connections that wait to be accepted.
const BACKLOG: u32 = 1024;
/// Health checks have a message of a few bytes.
const MAX_HEALTH_MESSAGE: usize = 1024;
/// How long a check may take, its waits excluded, before the call is ended with a gRPC error.
const WORK_WITHIN: Duration = Duration::from_secs(5);
/// Detects peers that vanished without closing the connection.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Listeners that are bound, but not yet served.
pub(super) struct Listeners {
    check: CheckListener,
    operations: Option<TcpListener>,
    api: Option<TcpListener>,
    http_check: Option<(TcpListener, DescribedBy)>,
    max_connections: usize,
    max_message: usize,
    check_within: Duration,
}

enum CheckListener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listeners {
    /// Binds all listeners, and reports those that cannot be bound.
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
        let http_check = match &server.http_check {
            Some(http) => {
                let bound = tcp(config, "server.http_check", http.listen, problems).await;
                Some((bound?, http.described_by))
            }
            None => None,
        };
        Some(Self {
            check: check?,
            operations: Some(operations?),
            api,
            http_check,
            max_connections: server.max_connections,
            max_message: server.max_message_bytes,
            check_within: check_within(config),
        })
    }

    /// Serves probes and scrapes, which have to be answered before anything else is ready.
    pub fn serve_operations(
        &mut self,
        operations: Operations,
        stages: &watch::Receiver<ShutdownStage>,
    ) -> JoinSet<()> {
        let mut servers = JoinSet::new();
        if let Some(listener) = self.operations.take() {
            let ending = reached(stages, ShutdownStage::Ending);
            let router = operations.router();
            servers.spawn(http::serve(
                "operations",
                listener,
                router,
                http::MAX_CONNECTIONS,
                ending,
            ));
        }
        servers
    }

    /// Serves the other listeners, each in a task of its own.
    pub fn serve(
        self,
        check: Arc<ExtAuthz>,
        api: Api,
        stages: &watch::Receiver<ShutdownStage>,
        servers: &mut JoinSet<()>,
    ) {
        let ending = || reached(stages, ShutdownStage::Ending);
        let limit = ConnectionLimit::new("check", self.max_connections);
        let budget = MemoryBudget::new(REQUESTS, limit.heaviest_evictor());
        if let Some((listener, by)) = self.http_check {
            let router = http_router(Arc::clone(&check), by);
            let most = self.max_connections;
            servers.spawn(http::serve("http_check", listener, router, most, ending()));
        }
        let check = CheckServer::new(check, self.max_message, budget);
        let router = grpc(check, self.check_within, stages);
        match self.check {
            CheckListener::Tcp(listener) => {
                servers.spawn(workers::serve(listener, router, limit, stages.clone()));
            }
            CheckListener::Unix(listener) => {
                servers.spawn(workers::serve(listener, router, limit, stages.clone()));
            }
        }
        if let Some(listener) = self.api {
            servers.spawn(http::serve(
                "api",
                listener,
                api.router(),
                http::MAX_CONNECTIONS,
                ending(),
            ));
        }
    }
}

/// Returns a timeout that is longer than any check takes: its waits have timeouts of their own, after which
/// the check is answered.
fn check_within(config: &Config) -> Duration {
    let waits = config.issuers.iter().map(|issuer| match &issuer.keys {
        KeySource::Remote(keys) => keys.timing.patience,
        KeySource::File(_) | KeySource::Proxy(_) => Duration::ZERO,
    });
    let keys = waits.max().unwrap_or_default();
    ARRIVES_WITHIN
        .saturating_add(keys)
        .saturating_add(config.revocation.timeout)
        .saturating_add(WORK_WITHIN)
}

fn grpc(
    check: CheckServer,
    within: Duration,
    stages: &watch::Receiver<ShutdownStage>,
) -> GrpcRouter {
    let (health, health_service) = tonic_health::server::health_reporter();
    let (running, unready) = (
        reached(stages, ShutdownStage::Running),
        reached(stages, ShutdownStage::Unready),
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
        .timeout(within)
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

/// Binds a Unix socket, replacing one that a former process left behind. Anything else at the path is left
/// alone.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_has_time_for_everything_that_it_may_wait_for() {
        let config = |wait: &str, timeout: &str| {
            let keys = format!("{{ jwks_url: \"https://a.example/jwks\", wait: {wait} }}");
            let yaml = format!(
                "issuers:\n  - {{ name: a, issuer: a, audiences: [a], algorithms: [ES256], keys: {keys} }}\n\
                 revocation: {{ store: {{ redis: {{ url: \"redis://127.0.0.1\", timeout: {timeout} }} }} }}\n"
            );
            Config::parse("revoxy.yaml", &yaml, []).unwrap()
        };
        let seconds = |wait, timeout| check_within(&config(wait, timeout)).as_secs();
        assert_eq!(seconds("1s", "1s"), 12);
        assert_eq!(seconds("10s", "30s"), 50);
    }
}
