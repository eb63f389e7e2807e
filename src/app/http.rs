//! Serves HTTP within bounds: so many connections, so long for the headers of a request, so long for all of it, so long
//! for the client to read the answer.
//!
//! `axum::serve` has none of these: a client that sends a byte a minute, or reads none, would hold a descriptor for ever.
//! Each port has a budget of its own, and a new connection always gets in: a probe is answered whatever others do.

use std::convert::Infallible;
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

use super::connection_limit::ConnectionLimit;
use super::guarded::{Guarded, Timeouts};

const MAX_CONNECTIONS: usize = 256;
/// For requests and answers, besides what the kernel buffers.
const BUFFER: usize = 64 << 10;
const HEADERS_WITHIN: Duration = Duration::from_secs(10);
/// Longer than the slowest store is waited for.
const REQUEST_WITHIN: Duration = Duration::from_secs(15);
/// A scrape, the longest answer, has a hundred kilobytes. Prometheus gives up after 10 s.
const TIMEOUTS: Timeouts = Timeouts {
    writing: Duration::from_secs(10),
    // `HEADERS_WITHIN` says how long requests may be waited for.
    greeting: None,
    silence: None,
};
/// After an error of `accept`, such as too many open files, which does not pass by itself at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `router` until `ending` resolves, then lets the requests under way end.
pub(super) async fn serve(
    name: &'static str,
    listener: TcpListener,
    router: Router,
    ending: impl Future<Output = ()> + Send,
) -> Result<(), Infallible> {
    let router = router.layer(from_fn(within_time));
    let (graceful, limit) = (
        GracefulShutdown::new(),
        ConnectionLimit::new(name, MAX_CONNECTIONS),
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
                limit.make_room(&error);
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let stream = Guarded::new(stream, limit.take(), TIMEOUTS);
        let connection = graceful.watch(connection(stream, router.clone()));
        tokio::spawn(async move {
            // What a client does wrong is told to the client.
            let _ = connection.await;
        });
    }
    drop(listener);
    graceful.shutdown().await;
    Ok(())
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
