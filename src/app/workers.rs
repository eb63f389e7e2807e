//! Serves the checks: one thread a core, each with a runtime of its own, and each connection on one of them.
//!
//! A check seldom waits for anything, so there is nothing to be gained from moving it to another core. And on a runtime
//! of one thread the checks that have arrived together are answered together, with one write to the connection; the
//! runtime of many threads writes after every single answer, which costs nearly as much as all the rest of a check.
//! A proxy opens a connection for each of its own threads; they are dealt out in turn.

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

use super::connection_limit::{ConnectionLimit, ConnectionPermit};
use super::guarded::{Guarded, Timeouts};
use super::shutdown::{Stage, reached};

/// After a failure that the next attempt may well meet too: no file descriptors left.
const PAUSE: Duration = Duration::from_millis(100);
/// Connections accepted and not yet taken up by their worker.
const WAITING: usize = 64;

const TIMEOUTS: Timeouts = Timeouts {
    writing: Duration::from_secs(10),
    // The preface of HTTP/2 and an empty SETTINGS frame (RFC 9113 §3.4).
    greeting: Some((24 + 9, Duration::from_secs(10))),
    // Longer than until the answer to a keep-alive ping has to be here.
    silence: Some(Duration::from_secs(60)),
};

/// Something that connections come from.
pub(super) trait Listener: Send + 'static {
    /// A connection that belongs to no runtime yet.
    type Detached: Send + 'static;
    /// A connection that belongs to the runtime of a worker.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Waits for the next connection.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Detached>> + Send;

    /// Gives a connection to the present runtime.
    fn attach(connection: Self::Detached) -> io::Result<Self::Stream>;
}

impl Listener for TcpListener {
    type Detached = std::net::TcpStream;
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<Self::Detached> {
        let (stream, _) = Self::accept(self).await?;
        // Without it, an answer waits up to 40 ms for an acknowledgement (Nagle's algorithm).
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

/// Serves the connections to `listener` until the end. Dropped before, it closes them all.
pub(super) async fn serve<L: Listener>(
    listener: L,
    router: Router,
    limit: Arc<ConnectionLimit>,
    stages: watch::Receiver<Stage>,
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
        // First, because workers end then too.
        biased;
        () = reached(&stages, Stage::Ending) => {}
        _ = select_all(&mut ended) => return,
        () = deal(&listener, &connections, &limit) => return,
    }
    drop((listener, connections));
    join_all(ended).await;
}

/// Gives each worker a connection in turn, until a worker is gone.
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
                    tracing::warn!(listener = "check", %error, "cannot accept a connection");
                    limit.make_room(&error);
                    tokio::time::sleep(PAUSE).await;
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
    /// Resolves when everything is served to its end.
    ended: oneshot::Receiver<()>,
}

fn start<L: Listener>(router: Router, stages: watch::Receiver<Stage>) -> io::Result<Worker<L>> {
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
            let end = reached(&stages, Stage::Ending);
            tokio::select! {
                result = router.serve_with_incoming_shutdown(incoming, end) => {
                    if let Err(error) = result {
                        tracing::error!(listener = "check", %error, "the server failed");
                    }
                }
                // Nobody waits for the end any more: the time to drain is over.
                () = ending.closed() => {}
            }
        });
        // An error means that nobody waits for it.
        let _ = ending.send(());
    };
    thread::Builder::new()
        .name("checks".to_owned())
        .spawn(run)?;
    Ok(Worker { connections, ended })
}
