//! Somebody at the server: `redis-cli`, one connection a command.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::net::Net;
use crate::resp::{Buffer, Reply, encode};

/// How long somebody waits for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// A connection that answers one command after the other.
pub struct Session<S> {
    stream: S,
    buffer: Buffer,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// Over a stream.
    pub fn over(stream: S) -> Self {
        Self {
            stream,
            buffer: Buffer::default(),
        }
    }

    /// Sends a command.
    pub async fn send<A: AsRef<[u8]>>(&mut self, command: &[A]) -> std::io::Result<()> {
        self.stream.write_all(&encode(command)).await
    }

    /// The next that the server says.
    pub async fn hear(&mut self) -> std::io::Result<Reply> {
        let mut chunk = vec![0; 4096];
        loop {
            match self.buffer.reply() {
                Ok(Some(reply)) => return Ok(reply),
                Ok(None) => {}
                Err(_) => return Err(std::io::ErrorKind::InvalidData.into()),
            }
            match self.stream.read(&mut chunk).await? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                read => self.buffer.push(&chunk[..read]),
            }
        }
    }

    /// The answer to a command.
    pub async fn ask<A: AsRef<[u8]>>(&mut self, command: &[A]) -> std::io::Result<Reply> {
        self.send(command).await?;
        self.hear().await
    }
}

/// How often somebody is sent on to another node of a cluster.
const MOST_HOPS: usize = 5;

/// The answer to a command that somebody gives to a cluster, beginning at a machine, and the machine that gave it: `redis-cli -c`.
pub async fn give_on(
    net: &Net,
    from: &str,
    first: &str,
    command: &[String],
) -> Option<(Reply, String)> {
    let asked = async {
        let (mut to, mut asking) = (first.to_owned(), false);
        for _ in 0..MOST_HOPS {
            let socket = net
                .clone()
                .connect(from.to_owned(), to.clone())
                .await
                .ok()?;
            let mut session = Session::over(socket);
            if asking {
                session.ask(&["ASKING"]).await.ok()?;
            }
            let reply = session.ask(command).await.ok()?;
            let Reply::Error(text) = &reply else {
                return Some((reply, to));
            };
            // A host is named by who connects and to whom.
            let mut words = text.split(' ');
            let (code, at) = (words.next()?, words.nth(1)?);
            asking = code == "ASK";
            if !asking && code != "MOVED" {
                return None;
            }
            let (host, _) = at.rsplit_once(':')?;
            host.split_once('.')?.1.clone_into(&mut to);
        }
        None
    };
    timeout(PATIENCE, asked).await.ok().flatten()
}

/// The answer to a command that somebody gives to a machine; `None` where there was none in time, or an error.
pub async fn give(net: &Net, from: &str, to: &str, command: &[String]) -> Option<Reply> {
    let asked = async {
        let socket = net.clone().connect(from.to_owned(), to.to_owned()).await?;
        Session::over(socket).ask(command).await
    };
    match timeout(PATIENCE, asked).await {
        Ok(Ok(Reply::Error(_)) | Err(_)) | Err(_) => None,
        Ok(Ok(reply)) => Some(reply),
    }
}
