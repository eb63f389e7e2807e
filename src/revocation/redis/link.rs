//! The feed's way to the data: what it reads and writes there, and what it asks of who holds it.
//!
//! Nothing else of the feed knows connections or commands.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Value};
use tokio::time::timeout;

use crate::clock::Timestamp;

use super::super::key::PREFIX;
use super::super::view::KeyHash;
use super::connector::{Address, Connector, Driver, Protocol};
use super::feed::FeedEnd;
use super::pushes::Pushes;
use super::reconcile::BATCH;
use super::restore::Missing;
use super::server::{self, ServerInfo};
use super::stored::StoredKey;
use super::{LONGEST_LIFE, connection, format};

/// A connection that tracks changes.
pub(super) struct Link {
    connection: MultiplexedConnection,
    _driver: Driver,
    /// The server.
    pub at: Address,
}

/// What stands under a key.
#[derive(Debug, PartialEq)]
pub(super) enum Reading {
    /// There is no such key.
    Nothing,
    /// There is one.
    Key {
        /// `None` where it is not a string.
        value: Option<Vec<u8>>,
        /// How long it stands yet; `None` where it has no end.
        life: Option<Duration>,
    },
}

/// How far a reading of all keys has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Position(u64);

impl Link {
    /// Connects, and has every change pushed from now on. No step takes longer than `patience`.
    pub(super) async fn open(
        connector: &Connector,
        patience: Duration,
        pushes: &Pushes,
    ) -> Result<Self, FeedEnd> {
        let late = |_| FeedEnd::Broken("no answer in time".to_owned());
        let made = connector.connect(Protocol::Resp3(pushes.clone())).await?;
        let mut connection = made.connection;
        timeout(patience, track(&mut connection))
            .await
            .map_err(late)??;
        Ok(Self {
            connection,
            _driver: made.driver,
            at: made.at,
        })
    }

    /// Asks who holds the data.
    pub(super) async fn server(&mut self) -> RedisResult<ServerInfo> {
        ServerInfo::read(&mut self.connection).await
    }

    /// Asks whether who holds the data may still be asked. When this has returned, everything is here that was
    /// pushed before it was called.
    pub(super) async fn heartbeat(&mut self) -> Result<(), FeedEnd> {
        match server::is_primary(&mut self.connection).await? {
            true => Ok(()),
            false => Err(FeedEnd::NotPrimary),
        }
    }

    /// Reads the names of some more keys; without a position all have been read.
    pub(super) async fn scan(
        &mut self,
        from: Position,
    ) -> RedisResult<(Vec<Vec<u8>>, Option<Position>)> {
        let mut scan = redis::cmd("SCAN");
        scan.arg(from.0)
            .arg("MATCH")
            .arg(format!("{PREFIX}*"))
            .arg("COUNT")
            .arg(BATCH);
        let (next, keys): (u64, Vec<Vec<u8>>) = scan.query_async(&mut self.connection).await?;
        Ok((keys, (next != 0).then_some(Position(next))))
    }

    /// Reads keys: values in one command, remaining lives in the same pipeline.
    ///
    /// The two may not be of the same moment. A write between them is pushed, and the key read again.
    pub(super) async fn read(&mut self, keys: &[Vec<u8>]) -> RedisResult<Vec<Reading>> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = redis::pipe();
        pipeline.cmd("MGET").arg(keys);
        for key in keys {
            pipeline.cmd("PTTL").arg(key);
        }
        let answers = pipeline.query_async(&mut self.connection).await?;
        readings(answers, keys.len())
    }

    /// For each hash: whether it has been taken back through the API.
    pub(super) async fn are_taken_back(
        &mut self,
        hashes: impl Iterator<Item = KeyHash>,
    ) -> RedisResult<Vec<bool>> {
        let mut exist = redis::pipe();
        for hash in hashes {
            exist.exists(StoredKey::unrevoked(hash));
        }
        exist.query_async(&mut self.connection).await
    }

    /// Writes restored revocations where there are none. Tells how many.
    pub(super) async fn write_back(
        &mut self,
        entries: &[Missing],
        now: Timestamp,
    ) -> RedisResult<u64> {
        if entries.is_empty() {
            return Ok(0);
        }
        let mut write = redis::pipe();
        for (hash, cutoff, expires_at) in entries {
            let command = write.cmd("SET").arg(StoredKey::restored(*hash));
            command.arg(format::restored_value(*cutoff)).arg("NX");
            if *expires_at != Timestamp::NEVER {
                let life = expires_at.since(now).as_millis().max(1);
                let life = u64::try_from(life).unwrap_or(LONGEST_LIFE);
                command.arg("PX").arg(life.min(LONGEST_LIFE));
            }
        }
        let answers: Vec<Option<String>> = write.query_async(&mut self.connection).await?;
        Ok(answers.iter().flatten().count() as u64)
    }

    /// Deletes restored revocations.
    pub(super) async fn delete_restored(&mut self, hashes: &[KeyHash]) -> RedisResult<()> {
        if hashes.is_empty() {
            return Ok(());
        }
        let names: Vec<_> = hashes.iter().map(|h| StoredKey::restored(*h)).collect();
        let mut delete = redis::cmd("DEL");
        delete.arg(names).exec_async(&mut self.connection).await
    }
}

async fn track(connection: &mut MultiplexedConnection) -> Result<(), FeedEnd> {
    let mut tracking = redis::cmd("CLIENT");
    tracking
        .arg("TRACKING")
        .arg("ON")
        .arg("BCAST")
        .arg("PREFIX")
        .arg(PREFIX);
    let answer: RedisResult<Value> = tracking.query_async(connection).await;
    answer
        .map(drop)
        .map_err(|error| match connection::server_code(&error).as_deref() {
            Some("NOPERM") => FeedEnd::Refused(refusal(
                "this user may not `CLIENT TRACKING`; grant +client|tracking",
            )),
            Some(_) => FeedEnd::Refused(refusal("it refuses `CLIENT TRACKING`")),
            None => error.into(),
        })
}

/// Why a server cannot be followed, with the way out.
pub(super) fn refusal(why: &str) -> String {
    format!(
        "the server cannot keep a view current: {why}; say `read: store` to ask it on every check instead"
    )
}

fn readings(answers: Vec<Value>, count: usize) -> RedisResult<Vec<Reading>> {
    let wrong =
        || redis::RedisError::from((redis::ErrorKind::UnexpectedReturnType, "unexpected answer"));
    let mut answers = answers.into_iter();
    let Some(Value::Array(values)) = answers.next() else {
        return Err(wrong());
    };
    if values.len() != count || answers.len() != count {
        return Err(wrong());
    }
    let read = values.into_iter().zip(answers).map(|(value, life)| {
        let Value::Int(life) = life else {
            return Err(wrong());
        };
        // -2: there is no such key; -1: it has no end.
        if life == -2 {
            return Ok(Reading::Nothing);
        }
        let value = match value {
            Value::BulkString(value) => Some(value),
            _ => None,
        };
        let life = u64::try_from(life).ok().map(Duration::from_millis);
        Ok(Reading::Key { value, life })
    });
    read.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_another_type_is_there_and_a_missing_one_is_not() {
        let answers = vec![
            Value::Array(vec![
                Value::Nil,
                Value::Nil,
                Value::BulkString(b"".to_vec()),
            ]),
            Value::Int(-2),
            Value::Int(-1),
            Value::Int(5000),
        ];
        let expected = [
            Reading::Nothing,
            Reading::Key {
                value: None,
                life: None,
            },
            Reading::Key {
                value: Some(Vec::new()),
                life: Some(Duration::from_secs(5)),
            },
        ];
        assert_eq!(readings(answers, 3).unwrap(), expected);
    }
}
