//! A TCP proxy that misbehaves on demand: cuts, hangs, delays.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// How bytes are passed on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mood {
    Passing,
    /// Connections stay open, and nothing comes through: half open.
    Hanging,
    /// So are every other connection, the odd ones or the even ones, while the rest passes.
    HangingHalf {
        odd: bool,
    },
    /// What a client says on a connection that was made before does not come through. What the server says does, and new
    /// connections pass.
    Unheard {
        before: Instant,
    },
    /// Nothing comes through on a connection that was made before, in either direction; new ones pass.
    Forgotten {
        before: Instant,
    },
    /// Everything comes through this much later.
    Delaying(Duration),
    /// What the server says comes through with a bit turned.
    Garbling,
    /// Connections are refused, open ones closed.
    Cutting,
}

pub struct Proxy {
    address: SocketAddr,
    mood: Arc<watch::Sender<Mood>>,
    task: AbortHandle,
}

impl Proxy {
    /// One in front of this port.
    pub async fn before(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mood = Arc::new(watch::channel(Mood::Passing).0);
        let moods = Arc::clone(&mood);
        let task = tokio::spawn(async move {
            let mut odd = false;
            while let Ok((client, _)) = listener.accept().await {
                odd = !odd;
                tokio::spawn(pass(client, port, odd, moods.subscribe()));
            }
        });
        Self {
            address,
            mood,
            task: task.abort_handle(),
        }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// What a configuration says to reach Redis through it.
    pub fn store(&self) -> String {
        format!("redis: {{ url: \"redis://127.0.0.1:{}/0\" }}", self.port())
    }

    pub fn set(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.mood.send_replace(Mood::Cutting);
    }
}

impl Mood {
    /// Whether nothing comes through in this direction of a connection.
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

async fn pass(client: TcpStream, port: u16, odd: bool, mood: watch::Receiver<Mood>) {
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
        () = copy(from_client, to_server, to, mood.clone()) => {}
        () = copy(from_server, to_client, back, mood) => {}
        _ = cut.wait_for(|m| *m == Mood::Cutting) => {}
    }
}

async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    way: Way,
    mut mood: watch::Receiver<Mood>,
) {
    let mut buffer = vec![0; 1 << 14];
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
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
