//! Serves the checks: one thread per core, each with its own single-threaded runtime, and each connection on
//! one of them.
//!
//! A check rarely waits, so nothing would be gained by moving it to another core. On a single-threaded
//! runtime, checks that have arrived together are answered together, with one write to the connection; the
//! multi-threaded runtime writes after every single answer, which costs nearly as much as the rest of a
//! check. A proxy opens a connection for each of its own threads; connections are assigned to the workers
//! round-robin.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use futures_util::future::{join_all, select_all};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Router;

use super::connection_limit::{ACCEPT_PAUSE, ConnectionLimit, ConnectionPermit};
use super::guarded::{Guarded, Timeouts};
use super::shutdown::{ShutdownStage, reached};

/// The number of connections that are accepted and not yet taken by their worker.
const WAITING: usize = 64;

const TIMEOUTS: Timeouts = Timeouts {
    writing: Duration::from_secs(10),
    // The HTTP/2 connection preface and an empty SETTINGS frame (RFC 9113 §3.4).
    greeting: Some((24 + 9, Duration::from_secs(10))),
    // Longer than the time until a keep-alive ping must have been answered.
    silence: Some(Duration::from_secs(60)),
};

/// A source of connections.
pub(super) trait Listener: Send + 'static {
    /// A connection that is not bound to a runtime yet.
    type Detached: Send + 'static;
    /// A connection that is bound to the runtime of a worker.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Waits for the next connection.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Detached>> + Send;

    /// Binds a connection to the current runtime.
    fn attach(connection: Self::Detached) -> io::Result<Self::Stream>;
}

impl Listener for TcpListener {
    type Detached = std::net::TcpStream;
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<Self::Detached> {
        let (stream, _) = Self::accept(self).await?;
        // Otherwise, an answer waits up to 40 ms for an acknowledgement (Nagle's algorithm).
        stream.set_nodelay(true)?;
        stream.into_std()
    }

    fn attach(connection: Self::Detached) -> io::Result<Self::Stream> {
        TcpStream::from_std(connection)
    }
}

impl Listener for UnixListener {
    type Detached = std::os::unix::net::UnixStream;
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<Self::Detached> {
        let (stream, _) = Self::accept(self).await?;
        stream.into_std()
    }

    fn attach(connection: Self::Detached) -> io::Result<Self::Stream> {
        UnixStream::from_std(connection)
    }
}

/// Serves the connections to `listener` until the end. If this future is dropped earlier, all connections are
/// closed.
pub(super) async fn serve<L: Listener>(
    listener: L,
    router: Router,
    limit: Arc<ConnectionLimit>,
    stages: watch::Receiver<ShutdownStage>,
) {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let (mut connections, mut ended) = (Vec::new(), Vec::new());
    for _ in 0..cores {
        match start::<L>(router.clone(), stages.clone()) {
            Ok(worker) => {
                connections.push(worker.connections);
                ended.push(worker.ended);
            }
            Err(error) => {
                tracing::error!(%error, "cannot start a thread that serves checks");
                return;
            }
        }
    }
    tokio::select! {
        // Polled first, because the workers end at this stage, too.
        biased;
        () = reached(&stages, ShutdownStage::Ending) => {}
        _ = select_all(&mut ended) => return,
        () = deal(&listener, &connections, &limit) => return,
    }
    drop((listener, connections));
    join_all(ended).await;
}

/// Assigns connections to the workers in turn, until a worker is gone.
async fn deal<L: Listener>(
    listener: &L,
    workers: &[mpsc::Sender<(L::Detached, ConnectionPermit)>],
    limit: &Arc<ConnectionLimit>,
) {
    for worker in workers.iter().cycle() {
        let connection = loop {
            match listener.accept().await {
                Ok(connection) => break connection,
                Err(error) => {
                    limit.accept_failed(&error);
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        };
        if worker.send((connection, limit.take())).await.is_err() {
            return;
        }
    }
}

/// A thread that serves connections.
struct Worker<L: Listener> {
    connections: mpsc::Sender<(L::Detached, ConnectionPermit)>,
    /// Resolves when all its connections have been served to the end.
    ended: oneshot::Receiver<()>,
}

fn start<L: Listener>(
    router: Router,
    stages: watch::Receiver<ShutdownStage>,
) -> io::Result<Worker<L>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (connections, incoming) = mpsc::channel(WAITING);
    let (mut ending, ended) = oneshot::channel();
    let run = move || {
        runtime.block_on(async {
            let attach = |(connection, permit)| {
                L::attach(connection).map(|stream| Guarded::new(stream, permit, TIMEOUTS))
            };
            let incoming = ReceiverStream::new(incoming).map(attach);
            let end = reached(&stages, ShutdownStage::Ending);
            tokio::select! {
                result = router.serve_with_incoming_shutdown(incoming, end) => {
                    if let Err(error) = result {
                        tracing::error!(listener = "check", %error, "the server failed");
                    }
                }
                // The receiver has been dropped, because the time to drain is over.
                () = ending.closed() => {}
            }
        });
        // An error means that the receiver has been dropped.
        let _ = ending.send(());
    };
    thread::Builder::new()
        .name("checks".to_owned())
        .spawn(run)?;
    Ok(Worker { connections, ended })
}
