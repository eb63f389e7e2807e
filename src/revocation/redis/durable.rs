//! Waiting until replicas of the server have a write, and have it on disk.
//!
//! `WAIT` and `WAITAOF` wait for what the same connection has written, and hold up whatever else is asked over it. So what has to be
//! durable is written over a connection of its own, where no check waits behind it.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{RedisError, RedisResult};

use super::super::{Durability, StoreError};
use super::connection::{Connection, server_code};
use super::connector::Connector;
use super::options::RedisOptions;

/// How long replicas may take to have a write.
const WRITING: Duration = Duration::from_millis(900);
/// How long they, and the server, may take to have it on disk: with `appendfsync everysec`, up to a second, which is then not always waited for.
const FLUSHING: Duration = Duration::from_millis(900);

/// How many replicas have to confirm, and the connection for what they have to.
pub(super) struct Durable {
    pub connection: Connection,
    replicas: u64,
}

impl Durable {
    /// Connects in the background, where the options want it.
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

    /// Waits for the replicas to confirm what has been written over this connection, and tells what was reached.
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
            // Redis before 7.2, a server without an append-only file, or a user without the right: nobody knows.
            Err(error) if is_refused(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(reached)
    }

    /// Whether that is what is wanted; what to say where it is not.
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

fn is_refused(error: &RedisError) -> bool {
    let codes = ["ERR", "NOPERM"];
    server_code(error).is_some_and(|code| codes.contains(&code.as_str()))
}
