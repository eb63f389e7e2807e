//! Serves HTTP within bounds: so many connections, so long for the headers of a request, so long for all of it.
//!
//! `axum::serve` has none of these: a client that sends a byte a minute would hold a descriptor for ever, and enough of
//! them would leave none for Envoy's connections.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
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
use tokio::sync::Semaphore;

const MAX_CONNECTIONS: usize = 256;
const HEADERS_WITHIN: Duration = Duration::from_secs(10);
/// Longer than the slowest store is waited for.
const REQUEST_WITHIN: Duration = Duration::from_secs(15);
/// After an error of `accept`, such as too many open files, which does not pass by itself at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `router` until `ending` resolves, then lets the requests under way end.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    ending: impl Future<Output = ()> + Send,
) -> Result<(), Infallible> {
    let router = router.layer(from_fn(within_time));
    let (graceful, room) = (
        GracefulShutdown::new(),
        Arc::new(Semaphore::new(MAX_CONNECTIONS)),
    );
    tokio::pin!(ending);
    loop {
        // Room first: who finds none waits in the kernel's queue, which is bounded.
        let accepted = async {
            let place = Arc::clone(&room).acquire_owned().await.ok();
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            accepted = accepted => accepted,
            () = &mut ending => break,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let connection = graceful.watch(connection(stream, router.clone()));
        tokio::spawn(async move {
            // What a client does wrong is told to the client.
            let _ = connection.await;
            drop(place);
        });
    }
    drop(listener);
    graceful.shutdown().await;
    Ok(())
}

fn connection(
    stream: TcpStream,
    router: Router,
) -> http1::Connection<TokioIo<TcpStream>, TowerToHyperService<Router>> {
    let _ = stream.set_nodelay(true);
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
}

async fn within_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_WITHIN, next.run(request)).await {
        Ok(response) => response,
        Err(_) => StatusCode::REQUEST_TIMEOUT.into_response(),
    }
}
