//! A TCP proxy that misbehaves on demand: it closes, hangs or delays connections.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::AbortHandle;

use super::PATIENCE;

/// How bytes are forwarded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mood {
    Passing,
    /// Connections stay open, and nothing is forwarded: half open.
    Hanging,
    /// The same for every other connection, the odd or the even ones; the rest work.
    HangingHalf {
        odd: bool,
    },
    /// On connections from before this instant, nothing is forwarded from the client to the server. The other
    /// direction, and new connections, work.
    Unheard {
        before: Instant,
    },
    /// On connections from before this instant, nothing is forwarded in either direction. New connections
    /// work.
    Forgotten {
        before: Instant,
    },
    /// Everything is delayed by this much.
    Delaying(Duration),
    /// The server's answers are forwarded with one bit flipped.
    Garbling,
    /// New connections are refused, and open ones are closed.
    Cutting,
}

pub struct Proxy {
    address: SocketAddr,
    mood: Arc<watch::Sender<Mood>>,
    gate: Gate,
    task: AbortHandle,
}

/// Holds the next request that contains a text, if there is one to wait for.
type Gate = Arc<Mutex<Option<Wanted>>>;

/// A request to be held.
struct Wanted {
    text: String,
    found: oneshot::Sender<()>,
    release: oneshot::Receiver<()>,
}

/// A request that is to be held, or is held. Dropping this lets the request pass.
pub struct Held {
    found: oneshot::Receiver<()>,
    _release: oneshot::Sender<()>,
}

impl Held {
    /// Waits until the request has arrived.
    pub async fn arrives(&mut self) {
        let found = tokio::time::timeout(PATIENCE, &mut self.found).await;
        found
            .expect("no such request")
            .expect("the proxy has ended");
    }
}

impl Proxy {
    /// Starts a proxy to this port.
    pub async fn before(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mood = Arc::new(watch::channel(Mood::Passing).0);
        let moods = Arc::clone(&mood);
        let gate = Gate::default();
        let gates = Arc::clone(&gate);
        let task = tokio::spawn(async move {
            let mut odd = false;
            while let Ok((client, _)) = listener.accept().await {
                odd = !odd;
                let gate = Arc::clone(&gates);
                tokio::spawn(pass(client, port, odd, moods.subscribe(), gate));
            }
        });
        Self {
            address,
            mood,
            gate,
            task: task.abort_handle(),
        }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The configuration of a store that uses Redis through the proxy.
    pub fn store(&self) -> String {
        format!("redis: {{ url: \"redis://127.0.0.1:{}/0\" }}", self.port())
    }

    pub fn set(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }

    /// Holds the next request that contains this text, and all that follow it on its connection.
    pub fn hold(&self, text: &str) -> Held {
        let ((found, finds), (releases, release)) = (oneshot::channel(), oneshot::channel());
        *self.gate.lock().unwrap_or_else(PoisonError::into_inner) = Some(Wanted {
            text: text.to_owned(),
            found,
            release,
        });
        Held {
            found: finds,
            _release: releases,
        }
    }
}

/// Waits if this request is to be held.
async fn pass_gate(gate: &Gate, request: &[u8]) {
    let wanted = {
        let mut gate = gate.lock().unwrap_or_else(PoisonError::into_inner);
        let is_wanted = |wanted: &mut Wanted| {
            let text = wanted.text.as_bytes();
            request.windows(text.len()).any(|part| part == text)
        };
        gate.take_if(is_wanted)
    };
    if let Some(wanted) = wanted {
        let _ = wanted.found.send(());
        // Dropped, and never sent.
        let _ = wanted.release.await;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.mood.send_replace(Mood::Cutting);
    }
}

impl Mood {
    /// Whether nothing is forwarded in this direction of a connection.
    fn hangs(self, way: &Way) -> bool {
        match self {
            Self::Hanging => true,
            Self::HangingHalf { odd } => odd == way.odd,
            Self::Forgotten { before } => way.made < before,
            Self::Unheard { before } => !way.is_answer && way.made < before,
            Self::Passing | Self::Delaying(_) | Self::Garbling | Self::Cutting => false,
        }
    }
}

/// One direction of a connection.
#[derive(Clone, Copy)]
struct Way {
    odd: bool,
    made: Instant,
    /// From the server to the client.
    is_answer: bool,
}

async fn pass(client: TcpStream, port: u16, odd: bool, mood: watch::Receiver<Mood>, gate: Gate) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else {
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ((from_client, to_client), (from_server, to_server)) =
        (client.into_split(), server.into_split());
    let mut cut = mood.clone();
    let to = Way {
        odd,
        made: Instant::now(),
        is_answer: false,
    };
    let back = Way {
        is_answer: true,
        ..to
    };
    tokio::select! {
        () = copy(from_client, to_server, to, mood.clone(), Some(gate)) => {}
        () = copy(from_server, to_client, back, mood, None) => {}
        _ = cut.wait_for(|m| *m == Mood::Cutting) => {}
    }
}

async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    way: Way,
    mut mood: watch::Receiver<Mood>,
    gate: Option<Gate>,
) {
    let mut buffer = vec![0; 1 << 14];
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        if let Some(gate) = &gate {
            pass_gate(gate, &buffer[..n]).await;
        }
        let now = *mood.borrow();
        if let Mood::Delaying(by) = now {
            tokio::time::sleep(by).await;
        }
        if now == Mood::Garbling && way.is_answer {
            buffer[n - 1] ^= 1;
        }
        if mood.wait_for(|m| !m.hangs(&way)).await.is_err() {
            return;
        }
        if to.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }
}
