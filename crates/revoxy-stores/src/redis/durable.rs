//! Waits until replicas of the server have received a write, and have it on disk.
//!
//! `WAIT` and `WAITAOF` wait for what the same connection has written, and block all other commands on that
//! connection. So durable writes use a connection of their own, so that no check waits behind them.

use std::time::Duration;

use redis::RedisResult;
use redis::aio::MultiplexedConnection;

use super::super::options::RedisOptions;
use super::super::{Durability, StoreError};
use super::connection::Connection;
use super::connector::Connector;
use super::error::has_code;

/// How long replicas may take to receive a write.
const WRITING: Duration = Duration::from_millis(900);
/// How long replicas and the server may take to have the write on disk. With `appendfsync everysec` that takes
/// up to a second, so this does not always wait long enough.
const FLUSHING: Duration = Duration::from_millis(900);

/// The number of replicas that have to confirm a write, and the connection for such writes.
pub(super) struct Durable {
    pub connection: Connection,
    replicas: u64,
}

impl Durable {
    /// Connects in the background, if the options require durable replicas.
    pub(super) fn start(options: &RedisOptions) -> Result<Option<Self>, StoreError> {
        let Some(replicas) = options.durable_replicas else {
            return Ok(None);
        };
        let connection = Connection::start(Connector::new(options)?, false);
        Ok(Some(Self {
            connection,
            replicas,
        }))
    }

    /// Waits for the replicas to confirm what was written on this connection. Returns the durability that was
    /// reached.
    pub(super) async fn reach(
        &self,
        connection: &mut MultiplexedConnection,
    ) -> RedisResult<Durability> {
        let mut written = redis::cmd("WAIT");
        written
            .arg(self.replicas)
            .arg(WRITING.as_millis().to_string());
        let replicas = written.query_async(connection).await?;
        let mut reached = Durability {
            replicas: Some(replicas),
            flushed: false,
        };
        if replicas < self.replicas {
            return Ok(reached);
        }
        let mut flushed = redis::cmd("WAITAOF");
        flushed
            .arg(1)
            .arg(self.replicas)
            .arg(FLUSHING.as_millis().to_string());
        match flushed.query_async::<(u64, u64)>(connection).await {
            Ok((local, replicas)) => reached.flushed = local >= 1 && replicas >= self.replicas,
            // Redis before 7.2, a server without an append-only file, or a user without the permission: not
            // known to be on disk.
            Err(error) if has_code(&error, &["ERR", "NOPERM"]) => {}
            Err(error) => return Err(error),
        }
        Ok(reached)
    }

    /// Returns an error unless the configured number of replicas has confirmed.
    pub(super) fn suffices(&self, reached: Durability) -> Result<(), StoreError> {
        match reached.replicas {
            Some(replicas) if replicas >= self.replicas => Ok(()),
            replicas => Err(StoreError::Unavailable(format!(
                "{} of {} replicas of Redis have confirmed the write in time",
                replicas.unwrap_or_default(),
                self.replicas
            ))),
        }
    }
}
