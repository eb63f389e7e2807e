//! Signs of life of a connection on which somebody waits for a long answer.
//!
//! Who waits cannot tell a server that is busy with the answer from one that has never heard the question: a connection that a
//! router has forgotten stays open for ever. So it is asked something short meanwhile. Redis answers in order, and a long
//! answer comes first: therefore every byte counts as a sign of life, whatever it belongs to.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::select_all;
use redis::aio::MultiplexedConnection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{sleep, timeout};

/// How often something has been heard on a connection.
#[derive(Clone, Default)]
pub(super) struct Heard(Arc<AtomicU64>);

impl Heard {
    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A stream that counts how often it hears something.
pub(super) struct Attentive<S> {
    pub stream: S,
    pub heard: Heard,
}

impl<S: AsyncRead + Unpin> AsyncRead for Attentive<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, into);
        if read.is_ready() {
            self.heard.0.fetch_add(1, Ordering::Relaxed);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Attentive<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The sign of life of one connection.
#[derive(Clone)]
pub(super) struct Pulse {
    pub connection: MultiplexedConnection,
    pub heard: Heard,
}

impl Pulse {
    /// Waits until nothing has been heard for so long after something was asked.
    async fn stops(mut self, patience: Duration) {
        loop {
            // Most answers come sooner, and need no question in between.
            sleep(patience).await;
            let before = self.heard.count();
            let ping = redis::cmd("PING");
            let answer = ping.query_async::<()>(&mut self.connection);
            // That the connection is closed is said by whoever waits on it.
            if timeout(patience, answer).await.is_err() && self.heard.count() == before {
                return;
            }
        }
    }
}

/// Waits until one of them has stopped.
pub(super) async fn one_stops(pulses: Vec<Pulse>, patience: Duration) {
    if pulses.is_empty() {
        return std::future::pending().await;
    }
    let stops = |pulse: Pulse| Box::pin(pulse.stops(patience));
    select_all(pulses.into_iter().map(stops)).await;
}

#[cfg(test)]
mod tests {
    use redis::{AsyncConnectionConfig, RedisConnectionInfo};
    use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::time::Instant;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(1);

    /// A pulse, and what the server says and hears.
    async fn pulse() -> (Pulse, DuplexStream) {
        let (stream, server) = duplex(4096);
        let heard = Heard::default();
        let stream = Attentive {
            stream,
            heard: heard.clone(),
        };
        let settings = RedisConnectionInfo::default().set_skip_set_lib_name();
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let made = MultiplexedConnection::new_with_config(&settings, stream, config);
        let (connection, driver) = made.await.unwrap();
        tokio::spawn(driver);
        (Pulse { connection, heard }, server)
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_says_nothing_is_given_up_after_twice_the_patience() {
        let (pulse, _server) = pulse().await;
        let asked = Instant::now();
        one_stops(vec![pulse], PATIENCE).await;
        assert_eq!(asked.elapsed(), PATIENCE * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_slowly_giving_a_long_answer_is_waited_for() {
        let (pulse, mut server) = pulse().await;
        let slowly = tokio::spawn(async move {
            server.write_all(b"$1000\r\n").await.unwrap();
            for _ in 0..100 {
                sleep(PATIENCE * 9 / 10).await;
                server.write_all(b"x").await.unwrap();
            }
        });
        tokio::select! {
            () = one_stops(vec![pulse], PATIENCE) => panic!("it was given up"),
            told = slowly => told.unwrap(),
        }
    }
}
