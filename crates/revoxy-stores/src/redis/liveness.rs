//! Liveness of a connection while a call waits for a long answer.
//!
//! The caller cannot distinguish a server that is busy with the answer from a server that never received the
//! request: a connection that a router has dropped stays open forever. So a `PING` is sent while the call waits.
//! Redis answers in order, and the long answer comes first; therefore every byte received counts as a sign of life,
//! whatever it belongs to.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::select_all;
use redis::aio::MultiplexedConnection;
use tokio::time::{sleep, timeout};

use super::observed_stream::Observer;

/// Counts the reads that have completed on a connection.
#[derive(Clone, Default)]
pub(super) struct ReadCounter(Arc<AtomicU64>);

impl ReadCounter {
    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Observer for ReadCounter {
    fn received(&mut self, _: Result<&[u8], &io::Error>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// The liveness of one connection.
#[derive(Clone)]
pub(super) struct Pulse {
    pub connection: MultiplexedConnection,
    pub reads: ReadCounter,
}

impl Pulse {
    /// Waits until nothing has been received for `patience` after a `PING`.
    async fn stops(mut self, patience: Duration) {
        loop {
            // Most answers arrive sooner, and need no `PING`.
            sleep(patience).await;
            let before = self.reads.count();
            let ping = redis::cmd("PING");
            let answer = ping.query_async::<()>(&mut self.connection);
            // If the connection is closed, the call that waits on it reports that.
            if timeout(patience, answer).await.is_err() && self.reads.count() == before {
                return;
            }
        }
    }
}

/// Waits until one of the connections shows no sign of life.
pub(super) async fn any_is_silent(pulses: Vec<Pulse>, patience: Duration) {
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

    use super::super::observed_stream::ObservedStream;
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(1);

    /// Returns a pulse, and the server's end of its connection.
    async fn pulse() -> (Pulse, DuplexStream) {
        let (stream, server) = duplex(4096);
        let reads = ReadCounter::default();
        let stream = ObservedStream {
            stream,
            observer: reads.clone(),
        };
        let settings = RedisConnectionInfo::default().set_skip_set_lib_name();
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let made = MultiplexedConnection::new_with_config(&settings, stream, config);
        let (connection, driver) = made.await.unwrap();
        tokio::spawn(driver);
        (Pulse { connection, reads }, server)
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_says_nothing_is_given_up_after_twice_the_patience() {
        let (pulse, _server) = pulse().await;
        let asked = Instant::now();
        any_is_silent(vec![pulse], PATIENCE).await;
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
            () = any_is_silent(vec![pulse], PATIENCE) => panic!("it was given up"),
            told = slowly => told.unwrap(),
        }
    }
}
