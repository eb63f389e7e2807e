//! Serves HTTP within limits: on the number of connections, on the time for the headers of a request and for
//! the whole request, and on the time for the client to read the answer.
//!
//! `axum::serve` has none of these: a client that sends a byte a minute, or reads none, would occupy a file
//! descriptor for ever. Each port has a limit of its own, and a new connection is always admitted, so probes
//! are answered whatever other clients do.

use std::future::Future;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};

use super::connection_limit::{ACCEPT_PAUSE, ConnectionLimit};
use super::guarded::{Guarded, Timeouts};

/// The maximum number of connections of ports that few clients use.
pub(super) const MAX_CONNECTIONS: usize = 256;
/// The maximum buffer for requests and answers, in addition to what the kernel buffers.
const BUFFER: usize = 64 << 10;
const HEADERS_WITHIN: Duration = Duration::from_secs(10);
/// Longer than the longest timeout of a store.
const REQUEST_WITHIN: Duration = Duration::from_secs(15);
/// The longest answer is a scrape, with a hundred kilobytes. Prometheus gives up after 10 s.
const TIMEOUTS: Timeouts = Timeouts {
    writing: Duration::from_secs(10),
    // `HEADERS_WITHIN` limits the wait for requests.
    greeting: None,
    silence: None,
};

/// Serves `router`, over at most so many connections, until `ending` resolves, then lets the requests in flight finish.
pub(super) async fn serve(
    name: &'static str,
    listener: TcpListener,
    router: Router,
    max_connections: usize,
    ending: impl Future<Output = ()> + Send,
) {
    let router = router.layer(from_fn(within_time));
    let (graceful, limit) = (
        GracefulShutdown::new(),
        ConnectionLimit::new(name, max_connections),
    );
    tokio::pin!(ending);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut ending => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                limit.accept_failed(&error);
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let stream = Guarded::new(stream, limit.take(), TIMEOUTS);
        let connection = graceful.watch(connection(stream, router.clone()));
        tokio::spawn(async move {
            // The client's errors are reported to the client.
            let _ = connection.await;
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

fn connection(
    stream: Guarded<TcpStream>,
    router: Router,
) -> http1::Connection<TokioIo<Guarded<TcpStream>>, TowerToHyperService<Router>> {
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
}

async fn within_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_WITHIN, next.run(request)).await {
        Ok(response) => response,
        Err(_) => StatusCode::REQUEST_TIMEOUT.into_response(),
    }
}
