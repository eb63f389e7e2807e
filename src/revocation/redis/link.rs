//! The feed's way to the data: what it reads and writes there, and what it asks of who holds it.
//!
//! Nothing else of the feed knows connections or commands.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisResult, Script, Value};
use tokio::time::timeout;

use crate::clock::Timestamp;

use super::super::state::KeyState;
use super::super::view::KeyHash;
use super::cluster::{Beat, Primaries};
use super::connector::{Address, Connector, Driver, Protocol};
use super::feed::FeedEnd;
use super::prefixes::Prefixes;
use super::pulse::{Heard, Pulse};
use super::pushes::Pushes;
use super::reconcile::BATCH;
use super::server::{self, ServerInfo, Servers, Spoken, hello};
use super::stored::StoredKey;
use super::{connection, format, script};

/// To one server, or to all primaries of a cluster.
pub(super) enum Link {
    One(One),
    Cluster(Primaries),
}

/// What stands under a key.
#[derive(PartialEq)]
#[cfg_attr(test, derive(Debug))]
pub(super) enum Reading {
    /// There is no such key.
    Nothing,
    /// Nobody could say: the slot of the key is changing hands.
    Unknown,
    /// There is one.
    Key {
        /// `None` where it is not a string.
        value: Option<Vec<u8>>,
        /// How long it stands yet; `None` where it has no end.
        life: Option<Duration>,
        /// When that was so, by the server's clock, in microseconds; `None` where it does not tell.
        at: Option<u64>,
    },
}

/// How far a reading of all keys has come.
#[derive(Clone, Debug, Default)]
pub(super) struct Position {
    /// On each server a cursor, or `None` where it is through.
    pub cursors: Vec<Option<u64>>,
    /// Which of the patterns is being read.
    pattern: usize,
}

/// Some names of keys, and where the next are; nowhere when all have been read.
pub(super) struct Batch {
    pub names: Vec<Vec<u8>>,
    pub position: Option<Position>,
}

/// A connection that tracks changes.
pub(super) struct One {
    connection: MultiplexedConnection,
    prefixes: Prefixes,
    _driver: Driver,
    heard: Heard,
    at: Address,
    /// Whether the user may ask for the time.
    tells_time: bool,
}

impl Position {
    /// The position behind a step that has come to these cursors.
    pub(super) fn after(&self, cursors: Vec<Option<u64>>, prefixes: &Prefixes) -> Option<Self> {
        let pattern = self.pattern + 1;
        if cursors.iter().any(Option::is_some) {
            let pattern = self.pattern;
            return Some(Self { cursors, pattern });
        }
        (pattern < prefixes.count()).then(|| Self {
            cursors: Vec::new(),
            pattern,
        })
    }

    /// The pattern to read.
    pub(super) fn pattern(&self, prefixes: &Prefixes) -> Vec<u8> {
        prefixes.pattern(self.pattern)
    }
}

impl Link {
    /// Connects, and has every change pushed from now on. No step takes longer than `patience`.
    pub(super) async fn open(
        connector: &Connector,
        patience: Duration,
        pushes: &Pushes,
        prefixes: &Prefixes,
    ) -> Result<Self, FeedEnd> {
        if connector.seeds().is_some() {
            let primaries = Primaries::open(connector, patience, pushes, prefixes).await?;
            return Ok(Self::Cluster(primaries));
        }
        let late = |_| FeedEnd::Broken("no answer in time".to_owned());
        let made = connector.connect(Protocol::Resp3(pushes.clone())).await?;
        let mut connection = made.connection;
        timeout(patience, track(&mut connection, prefixes))
            .await
            .map_err(late)??;
        Ok(Self::One(One {
            connection,
            prefixes: prefixes.clone(),
            _driver: made.driver,
            heard: made.heard,
            at: made.at,
            tells_time: true,
        }))
    }

    /// Where the server is, where it is one.
    pub(super) fn at(&self) -> Option<&Address> {
        match self {
            Self::One(one) => Some(&one.at),
            Self::Cluster(_) => None,
        }
    }

    /// The signs of life of every connection.
    pub(super) fn pulses(&self) -> Vec<Pulse> {
        match self {
            Self::One(one) => vec![Pulse {
                connection: one.connection.clone(),
                heard: one.heard.clone(),
            }],
            Self::Cluster(primaries) => primaries.pulses(),
        }
    }

    /// Whether a key can move from one server to another.
    pub(super) fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    /// Whether a key was found elsewhere than where its slot was, since this was last asked.
    pub(super) fn met_moved(&self) -> bool {
        match self {
            Self::One(_) => false,
            Self::Cluster(primaries) => primaries.met_moved(),
        }
    }

    /// Why the last heartbeat has proved nothing; empty where it has.
    pub(super) fn why(&self) -> &str {
        match self {
            Self::One(_) => "",
            Self::Cluster(primaries) => primaries.why(),
        }
    }

    /// A number that stands for who has which slots, as far as is known.
    pub(super) fn slots(&self) -> u64 {
        match self {
            Self::One(_) => 0,
            Self::Cluster(primaries) => primaries.slots(),
        }
    }

    /// Asks who holds the data.
    pub(super) async fn servers(&mut self) -> RedisResult<Servers> {
        Ok(Servers(match self {
            Self::One(one) => vec![ServerInfo::read(&mut one.connection).await?],
            Self::Cluster(primaries) => primaries.servers().await?,
        }))
    }

    /// Asks whether who holds the data may still be asked. When this has returned, everything is here that was
    /// pushed before it was called.
    pub(super) async fn heartbeat(&mut self) -> Result<Beat, FeedEnd> {
        match self {
            Self::One(one) => {
                match server::is_primary(&mut one.connection, &hello(Spoken::Resp3)).await? {
                    true => Ok(Beat {
                        proven: true,
                        moved: false,
                    }),
                    false => Err(FeedEnd::NotPrimary),
                }
            }
            Self::Cluster(primaries) => primaries.heartbeat().await,
        }
    }

    /// Reads the names of some more keys.
    pub(super) async fn scan(&mut self, from: &Position) -> RedisResult<Batch> {
        match self {
            Self::One(one) => {
                let cursor = from.cursors.first().copied().flatten().unwrap_or_default();
                let pattern = from.pattern(&one.prefixes);
                let (next, names) = scan(&mut one.connection, cursor, &pattern).await?;
                let position = from.after(vec![(next != 0).then_some(next)], &one.prefixes);
                Ok(Batch { names, position })
            }
            Self::Cluster(primaries) => primaries.scan(from).await,
        }
    }

    /// Reads keys: remaining lives, and values. Those of one key are of the same moment, so that nothing is taken for what it
    /// never was: a key that goes between the two would look like one of another type.
    pub(super) async fn read(&mut self, keys: &[Vec<u8>]) -> RedisResult<Vec<Reading>> {
        match self {
            _ if keys.is_empty() => Ok(Vec::new()),
            Self::One(one) => one.read(keys).await,
            Self::Cluster(primaries) => primaries.read(keys).await,
        }
    }

    /// Writes back what was lost, and weakens nothing that stands. Tells how many said more than stood there.
    pub(super) async fn write_back(
        &mut self,
        entries: &[(KeyHash, KeyState)],
        now: Timestamp,
    ) -> RedisResult<u64> {
        let script = Script::new(script::RESTORE);
        // On one server by its hash, which the least rights there suffice for; of a cluster any node may be met.
        let (name, text) = match self {
            Self::One(_) => ("EVALSHA", script.get_hash()),
            Self::Cluster(_) => ("EVAL", script::RESTORE),
        };
        if let (Self::One(one), false) = (&mut *self, entries.is_empty()) {
            let mut load = redis::cmd("SCRIPT");
            load.arg("LOAD").arg(script::RESTORE);
            let () = load.query_async(&mut one.connection).await?;
        }
        let writes = entries.iter().map(|(hash, state)| {
            let key = StoredKey::restored(*hash);
            let mut write = redis::cmd(name);
            write.arg(text).arg(1).arg(&key);
            write.arg(&format::restoring(state, now));
            (key, write)
        });
        let answers = self.run(writes.collect()).await?;
        Ok(answers.iter().filter(|a| **a == Value::Int(1)).count() as u64)
    }

    /// Runs commands, each with the key that it is about. All of them were carried out, or it fails.
    async fn run(&mut self, commands: Vec<(String, Cmd)>) -> RedisResult<Vec<Value>> {
        match self {
            _ if commands.is_empty() => Ok(Vec::new()),
            Self::One(one) => {
                let mut pipeline = redis::pipe();
                for (_, command) in commands {
                    pipeline.add_command(command);
                }
                pipeline.query_async(&mut one.connection).await
            }
            Self::Cluster(primaries) => primaries.run(commands).await,
        }
    }
}

/// One step of reading all names of keys on one server.
pub(super) async fn scan(
    connection: &mut MultiplexedConnection,
    cursor: u64,
    pattern: &[u8],
) -> RedisResult<(u64, Vec<Vec<u8>>)> {
    let mut scan = redis::cmd("SCAN");
    scan.arg(cursor)
        .arg("MATCH")
        .arg(pattern)
        .arg("COUNT")
        .arg(BATCH);
    scan.query_async(connection).await
}

impl One {
    async fn read(&mut self, keys: &[Vec<u8>]) -> RedisResult<Vec<Reading>> {
        let mut pipeline = redis::pipe();
        pipeline.atomic();
        for key in keys {
            pipeline.cmd("PTTL").arg(key);
        }
        pipeline.cmd("MGET").arg(keys);
        if self.tells_time {
            pipeline.cmd("TIME");
        }
        let answered = pipeline.query_async(&mut self.connection).await;
        let mut answers: Vec<Value> = match answered {
            // A user with the rights of version 0.1.0 may not.
            Err(error) if self.tells_time && is_forbidden(&error) => {
                self.tells_time = false;
                return Box::pin(self.read(keys)).await;
            }
            answered => answered?,
        };
        let at = match self.tells_time {
            true => answers.pop().and_then(micros),
            false => None,
        };
        readings(answers, keys.len(), at)
    }
}

/// Has every change of a key that is followed pushed on this connection from now on.
pub(super) async fn track(
    connection: &mut MultiplexedConnection,
    prefixes: &Prefixes,
) -> Result<(), FeedEnd> {
    let answer: RedisResult<Value> = prefixes.tracking().query_async(connection).await;
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

/// Whether a command, or one of a transaction, is not allowed.
fn is_forbidden(error: &redis::RedisError) -> bool {
    let codes = ["NOPERM", "EXECABORT"];
    connection::server_code(error).is_some_and(|code| codes.contains(&code.as_str()))
}

/// The answer to `TIME`, in microseconds.
fn micros(time: Value) -> Option<u64> {
    let (seconds, micros): (u64, u64) = redis::FromRedisValue::from_redis_value(time).ok()?;
    Some(seconds * 1_000_000 + micros)
}

fn readings(mut answers: Vec<Value>, count: usize, at: Option<u64>) -> RedisResult<Vec<Reading>> {
    let wrong =
        || redis::RedisError::from((redis::ErrorKind::UnexpectedReturnType, "unexpected answer"));
    let Some(Value::Array(values)) = answers.pop() else {
        return Err(wrong());
    };
    if values.len() != count || answers.len() != count {
        return Err(wrong());
    }
    let read = values.into_iter().zip(answers);
    read.map(|(value, life)| Reading::of(value, &life, at).ok_or_else(wrong))
        .collect()
}

impl Reading {
    /// From the value that `MGET` gives, and what `PTTL` says.
    pub(super) fn of(value: Value, life: &Value, at: Option<u64>) -> Option<Self> {
        let Value::Int(life) = life else {
            return None;
        };
        // -2: there is no such key; -1: it has no end.
        if *life == -2 {
            return Some(Self::Nothing);
        }
        let value = match value {
            Value::BulkString(value) => Some(value),
            _ => None,
        };
        let life = u64::try_from(*life).ok().map(Duration::from_millis);
        Some(Self::Key { value, life, at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_another_type_is_there_and_a_missing_one_is_not() {
        let answers = vec![
            Value::Int(-2),
            Value::Int(-1),
            Value::Int(5000),
            Value::Array(vec![
                Value::Nil,
                Value::Nil,
                Value::BulkString(b"".to_vec()),
            ]),
        ];
        let expected = [
            Reading::Nothing,
            Reading::Key {
                value: None,
                life: None,
                at: Some(7),
            },
            Reading::Key {
                value: Some(Vec::new()),
                life: Some(Duration::from_secs(5)),
                at: Some(7),
            },
        ];
        assert_eq!(readings(answers, 3, Some(7)).unwrap(), expected);
    }
}
