//! Two servers, of which one is the other's replica, and three Sentinels that know which is the primary.
//!
//! The Sentinels do not elect: what a schedule decides on happens, in the order in which real ones do it. The replica is promoted, and
//! the Sentinel that led the failover names it from that moment on; the others hear of it a little later; the old primary is
//! made a replica when it can be reached, and takes writes until then.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, sleep};

use crate::net::{Net, Socket};
use crate::resp::{Buffer, Reply, Version};

use super::machine::Machine;
use super::process::Role;
use super::replication::{SENT_EVERY, Stream, copy};

/// What the servers are called on the network.
pub const SERVERS: [&str; 2] = ["redis", "redis2"];
/// What the Sentinels are called.
pub const SENTINELS: [&str; 3] = ["sentinel0", "sentinel1", "sentinel2"];
/// What the Sentinels call the primary.
pub const MASTER: &str = "revocations";

/// What a Sentinel says: which server is the primary, since the failover of which epoch.
type Word = Arc<Mutex<(usize, u64)>>;

/// Servers and Sentinels.
pub struct Ensemble {
    servers: Vec<Machine>,
    words: Vec<Word>,
    primary: AtomicUsize,
    /// By how many milliseconds the replica lags behind.
    lag: AtomicU64,
    /// From the promotion of one server until the other is a replica.
    fails_over: AtomicBool,
}

impl Ensemble {
    /// Two running servers, the second of which becomes a replica of the first.
    pub fn start(net: &Net, servers: Vec<Machine>) -> Arc<Self> {
        let words: Vec<Word> = SENTINELS.iter().map(|_| Word::default()).collect();
        for (name, word) in SENTINELS.iter().zip(&words) {
            tokio::spawn(receive(net.clone(), name, Arc::clone(word)));
        }
        let ensemble = Arc::new(Self {
            servers,
            words,
            primary: AtomicUsize::new(0),
            lag: AtomicU64::new(0),
            fails_over: AtomicBool::new(false),
        });
        tokio::spawn(replicate(Arc::clone(&ensemble)));
        ensemble
    }

    /// The number of the primary, as the best informed Sentinel has it.
    pub fn primary(&self) -> usize {
        self.primary.load(Ordering::Relaxed)
    }

    /// How far the replica lags behind from now on.
    pub fn set_lag(&self, lag: Duration) {
        self.lag.store(lag.as_millis() as u64, Ordering::Relaxed);
    }

    /// Begins a failover. False if one is under way: a server has been promoted and the other is not its replica yet.
    pub fn begin_failover(&self) -> bool {
        !self.fails_over.swap(true, Ordering::Relaxed)
    }

    /// Promotes the replica. One Sentinel says so at once. Tells the number of the old primary.
    pub fn promote(&self, leader: usize) -> usize {
        let old = self.primary();
        let new = 1 - old;
        self.servers[new].with(|process, _| {
            process.role = Role::Primary;
            process.begin_history();
        });
        self.servers[new].disconnect();
        self.primary.store(new, Ordering::Relaxed);
        self.tell(leader);
        old
    }

    /// Another Sentinel hears who the primary is.
    pub fn tell(&self, sentinel: usize) {
        let mut word = self.words[sentinel]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if word.0 != self.primary() {
            *word = (self.primary(), word.1 + 1);
        }
    }

    /// The old primary becomes a replica: its data is the new one's at once.
    pub fn demote(&self, old: usize) {
        copy(&self.servers[1 - old], &self.servers[old]);
        self.servers[old].disconnect();
        self.fails_over.store(false, Ordering::Relaxed);
    }
}

/// Sends what changes on the primary to the replica, for ever.
async fn replicate(ensemble: Arc<Ensemble>) {
    let mut stream = Stream::default();
    loop {
        sleep(SENT_EVERY).await;
        let primary = ensemble.primary();
        let (from, to) = (&ensemble.servers[primary], &ensemble.servers[1 - primary]);
        if from.is_running() {
            let due = Instant::now() + Duration::from_millis(ensemble.lag.load(Ordering::Relaxed));
            stream.read(from, to, due, || to.disconnect());
        }
        stream.apply(to);
    }
}

/// Lets in who asks a Sentinel.
async fn receive(net: Net, name: &'static str, word: Word) {
    let door = net.door(name);
    door.set_open(true);
    loop {
        let arrived = std::future::poll_fn(|cx| {
            let arrived = door.accept(cx.waker());
            match arrived.is_empty() {
                true => Poll::Pending,
                false => Poll::Ready(arrived),
            }
        });
        for socket in arrived.await {
            tokio::spawn(answer(socket, Arc::clone(&word)));
        }
    }
}

/// Answers on one connection until it ends.
async fn answer(mut socket: Socket, word: Word) {
    let (mut buffer, mut chunk) = (Buffer::default(), [0; 1024]);
    loop {
        let mut out = Vec::new();
        while let Ok(Some(command)) = buffer.command() {
            let (server, epoch) = *word.lock().unwrap_or_else(PoisonError::into_inner);
            let word = |at: usize| command.get(at).map(|word| word.to_ascii_uppercase());
            let reply = match (word(0).as_deref(), word(1).as_deref()) {
                (Some(b"SENTINEL"), Some(b"MASTER")) => Reply::Array(vec![
                    Reply::bulk("config-epoch"),
                    Reply::bulk(epoch.to_string()),
                ]),
                (Some(b"SENTINEL"), Some(b"GET-MASTER-ADDR-BY-NAME")) => {
                    // A host is named by who connects and to whom.
                    let host = format!("{}.{}", socket.peer, SERVERS[server]);
                    Reply::Array(vec![Reply::bulk(host), Reply::bulk("6379")])
                }
                _ => Reply::error("ERR unknown command"),
            };
            reply.write(Version::Two, &mut out);
        }
        if socket.write_all(&out).await.is_err() {
            return;
        }
        match socket.read(&mut chunk).await {
            Ok(read) if read > 0 => buffer.push(&chunk[..read]),
            _ => return,
        }
    }
}
