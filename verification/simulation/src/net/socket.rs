//! One end of a connection.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep_until};

use super::path::{Direction, Path};
use super::pipe::{Found, Pipe};

/// One end. Dropping it closes the connection.
pub struct Socket {
    reads: Arc<Pipe>,
    writes: Arc<Pipe>,
    path: Arc<Path>,
    /// Until what is under way arrives.
    arrival: Option<Pin<Box<Sleep>>>,
    /// The other end is not told when this one is dropped.
    vanishes: bool,
    /// Who has connected; empty at the end that did.
    pub peer: String,
}

impl Socket {
    /// Both ends of a new connection: the client's and the server's.
    pub(super) fn pair(path: &Arc<Path>) -> (Self, Self) {
        let (up, down) = (
            path.pipe(Direction::ToServer),
            path.pipe(Direction::ToClient),
        );
        let end = |reads: &Arc<Pipe>, writes: &Arc<Pipe>| Self {
            reads: Arc::clone(reads),
            writes: Arc::clone(writes),
            path: Arc::clone(path),
            arrival: None,
            vanishes: false,
            peer: String::new(),
        };
        (end(&down, &up), end(&up, &down))
    }

    /// Goes without a word: the other end believes in the connection until it gives up by itself.
    pub fn vanish(mut self) {
        self.vanishes = true;
    }

    /// Reads what has arrived; 0 is the end of the stream.
    pub fn try_read(&mut self, into: &mut [u8], cx: &mut Context<'_>) -> Poll<usize> {
        loop {
            match self.reads.read(into, cx.waker()) {
                Found::Bytes(count) => return Poll::Ready(count),
                Found::End => return Poll::Ready(0),
                Found::Nothing => return Poll::Pending,
                Found::Later(at) => {
                    let arrival = match &mut self.arrival {
                        Some(arrival) if arrival.deadline() == at => arrival,
                        Some(arrival) => {
                            arrival.as_mut().reset(at);
                            arrival
                        }
                        none => none.insert(Box::pin(sleep_until(at))),
                    };
                    if arrival.as_mut().poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    /// Sends bytes, in one piece or in two. `false` where the other end is gone.
    pub fn send(&self, bytes: &[u8]) -> bool {
        if bytes.is_empty() {
            return true;
        }
        let cut = self.path.cut(bytes.len());
        let (first, second) = bytes.split_at(cut);
        [first, second]
            .iter()
            .filter(|piece| !piece.is_empty())
            .all(|piece| self.writes.send(piece, self.path.delay()))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if !self.vanishes {
            self.writes.end(self.path.delay());
            self.reads.abandon();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let unfilled = into.initialize_unfilled();
        let count = std::task::ready!(self.try_read(unfilled, cx));
        into.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(match self.send(bytes) {
            true => Ok(bytes.len()),
            false => Err(io::ErrorKind::BrokenPipe.into()),
        })
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writes.end(self.path.delay());
        Poll::Ready(Ok(()))
    }
}
