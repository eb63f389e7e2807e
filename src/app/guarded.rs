//! A connection that is closed when its peer is silent or does not read, or when it is evicted.
//!
//! Otherwise, a client that sends requests and does not read the answers would keep its connection for ever,
//! and so would a client that connects and sends nothing.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tonic::transport::server::Connected;

use crate::ext_authz::ConnectionLoad;

use super::connection_limit::ConnectionPermit;

/// The timeouts of a connection.
#[derive(Clone, Copy)]
pub(super) struct Timeouts {
    /// From the first byte that cannot be sent until all bytes have been sent.
    pub writing: Duration,
    /// From accepting the connection until this many bytes have been received.
    pub greeting: Option<(usize, Duration)>,
    /// Between two receptions of bytes.
    pub silence: Option<Duration>,
}

/// A connection with these timeouts.
pub(super) struct Guarded<IO> {
    io: IO,
    permit: ConnectionPermit,
    timeouts: Timeouts,
    accepted: Instant,
    received: usize,
    last: Instant,
    reading: Option<Pin<Box<Sleep>>>,
    writing: Option<Pin<Box<Sleep>>>,
}

impl<IO> Guarded<IO> {
    /// Wraps `io`, which ends when its `permit` is revoked or one of the `timeouts` expires.
    pub fn new(io: IO, permit: ConnectionPermit, timeouts: Timeouts) -> Self {
        let now = Instant::now();
        Self {
            io,
            permit,
            timeouts,
            accepted: now,
            received: 0,
            last: now,
            reading: None,
            writing: None,
        }
    }

    /// Returns the deadline for the next byte.
    fn read_by(&self) -> Option<Instant> {
        match self.timeouts.greeting {
            Some((bytes, within)) if self.received < bytes => Some(self.accepted + within),
            _ => self.timeouts.silence.map(|silence| self.last + silence),
        }
    }

    fn still_ours(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let evicted = self.permit.evicted();
        if evicted.is_terminated() || Pin::new(evicted).poll(context).is_ready() {
            return Err(ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }

    /// Called when nothing could be received.
    fn in_silence(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(by) = self.read_by() else {
            return Poll::Pending;
        };
        let sleep = self
            .reading
            .get_or_insert_with(|| Box::pin(sleep_until(by)));
        // Resetting the timer at every byte would cost more than reading the clock when it fires.
        while sleep.as_mut().poll(context).is_ready() {
            if Instant::now() >= by {
                return Poll::Ready(Err(ErrorKind::TimedOut.into()));
            }
            sleep.as_mut().reset(by);
        }
        Poll::Pending
    }

    /// Called when something could not be sent.
    fn unsent(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let within = self.timeouts.writing;
        let sleep = self.writing.get_or_insert_with(|| Box::pin(sleep(within)));
        if sleep.as_mut().poll(context).is_ready() {
            return Err(ErrorKind::TimedOut.into());
        }
        Ok(())
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Guarded<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.still_ours(context)?;
        let before = buffer.filled().len();
        match Pin::new(&mut self.io).poll_read(context, buffer) {
            Poll::Pending => self.in_silence(context),
            Poll::Ready(result) => {
                let more = buffer.filled().len() - before;
                if more > 0 {
                    self.received = self.received.saturating_add(more);
                    let now = Instant::now();
                    self.last = now;
                    self.permit.touch(now.into_std());
                }
                Poll::Ready(result)
            }
        }
    }
}

impl<IO: AsyncWrite + Unpin> Guarded<IO> {
    fn sent<T>(
        &mut self,
        context: &mut Context<'_>,
        send: impl FnOnce(Pin<&mut IO>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        self.still_ours(context)?;
        match send(Pin::new(&mut self.io), context) {
            Poll::Pending => {
                self.unsent(context)?;
                Poll::Pending
            }
            ready => ready,
        }
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Guarded<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.sent(context, |io, context| io.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.sent(context, |io, context| {
            io.poll_write_vectored(context, bytes)
        })
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.sent(context, |io, context| io.poll_flush(context)))?;
        // Everything has been sent: hyper flushes when its buffer is empty.
        self.writing = None;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.sent(context, |io, context| io.poll_shutdown(context))
    }
}

impl<IO> Connected for Guarded<IO> {
    type ConnectInfo = ConnectionLoad;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.permit.load()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::super::connection_limit::ConnectionLimit;
    use super::*;

    fn guarded(timeouts: Timeouts) -> (Guarded<DuplexStream>, DuplexStream) {
        let (ours, theirs) = duplex(64);
        let permit = ConnectionLimit::new("test", 1).take();
        (Guarded::new(ours, permit, timeouts), theirs)
    }

    const TIMEOUTS: Timeouts = Timeouts {
        writing: Duration::from_secs(10),
        greeting: Some((8, Duration::from_secs(3))),
        silence: Some(Duration::from_secs(60)),
    };

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_read_is_cut_off_however_slowly_it_reads() {
        let (mut ours, mut theirs) = guarded(TIMEOUTS);
        let start = Instant::now();
        let drip = async {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                theirs.read_u8().await.unwrap();
            }
        };
        let written = tokio::select! {
            written = async { ours.write_all(&[0; 1024]).await } => written,
            () = drip => unreachable!(),
        };
        assert_eq!(written.unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(start.elapsed() >= TIMEOUTS.writing && start.elapsed() < TIMEOUTS.writing * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_reads_may_take_any_number_of_answers() {
        let (mut ours, mut theirs) = guarded(TIMEOUTS);
        for _ in 0..5 {
            let slowly = async {
                tokio::time::sleep(TIMEOUTS.writing * 9 / 10).await;
                theirs.read_exact(&mut [0; 100]).await
            };
            let answer = async {
                ours.write_all(&[0; 100]).await?;
                ours.flush().await
            };
            tokio::try_join!(answer, async { slowly.await.map(|_| ()) }).unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_says_nothing_is_cut_off() {
        let start = Instant::now();
        let (mut ours, mut theirs) = guarded(TIMEOUTS);
        theirs.write_all(&[0; 7]).await.unwrap();
        ours.read_exact(&mut [0; 7]).await.unwrap();
        assert_eq!(
            ours.read_u8().await.unwrap_err().kind(),
            ErrorKind::TimedOut
        );
        assert_eq!(start.elapsed().as_secs(), 3);

        let (mut ours, mut theirs) = guarded(TIMEOUTS);
        theirs.write_all(&[0; 8]).await.unwrap();
        ours.read_exact(&mut [0; 8]).await.unwrap();
        let start = Instant::now();
        let heartbeat = async {
            tokio::time::sleep(Duration::from_secs(40)).await;
            theirs.write_u8(1).await.unwrap();
        };
        let (read, ()) = tokio::join!(ours.read_u8(), heartbeat);
        assert_eq!(read.unwrap(), 1);
        assert_eq!(
            ours.read_u8().await.unwrap_err().kind(),
            ErrorKind::TimedOut
        );
        assert_eq!(start.elapsed().as_secs(), 100);
    }

    #[tokio::test]
    async fn a_peer_that_is_evicted_is_cut_off() {
        let (ours, _theirs) = duplex(64);
        let limit = ConnectionLimit::new("test", 1);
        let mut ours = Guarded::new(ours, limit.take(), TIMEOUTS);
        let _newcomer = limit.take();
        let read = ours.read_u8().await;
        assert_eq!(read.unwrap_err().kind(), ErrorKind::ConnectionAborted);
        let written = ours.write_all(b"x").await;
        assert_eq!(written.unwrap_err().kind(), ErrorKind::ConnectionAborted);
    }
}
