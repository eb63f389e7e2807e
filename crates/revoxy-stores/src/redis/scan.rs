//! Reading one server: following its changes, scanning its keys, and parsing what is stored under them.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Value};

use super::error::server_code;
use super::feed_end::{FeedEnd, refusal};
use super::prefixes::Prefixes;

/// How many keys one step reads.
pub(super) const BATCH: usize = 1000;

/// What is stored under a key.
#[derive(PartialEq)]
#[cfg_attr(test, derive(Debug))]
pub(super) enum RawValue {
    /// There is no such key.
    Nothing,
    /// No node could answer: the slot of the key is being migrated.
    Unknown,
    /// The key exists.
    Key {
        /// `None` if the key is not a string.
        value: Option<Vec<u8>>,
        /// The remaining life; `None` if the key does not expire.
        life: Option<Duration>,
        /// When it was read, by the server's clock, in microseconds; `None` if the server does not report its time.
        at: Option<u64>,
    },
}

/// How far a scan of all keys has progressed.
#[derive(Clone, Debug, Default)]
pub(super) struct Position {
    /// A cursor for each server; `None` where the scan is complete.
    pub cursors: Vec<Option<u64>>,
    /// The index of the pattern being scanned.
    pattern: usize,
}

/// A batch of key names, and the position of the next batch; `None` once all have been read.
pub(super) struct Batch {
    pub names: Vec<Vec<u8>>,
    pub position: Option<Position>,
}

impl Position {
    /// Returns the position after a step that has reached these cursors.
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

    /// Returns the pattern to scan for.
    pub(super) fn pattern(&self, prefixes: &Prefixes) -> Vec<u8> {
        prefixes.pattern(self.pattern)
    }
}

/// Enables tracking: from now on, every change to a followed key is pushed on this connection.
pub(super) async fn track(
    connection: &mut MultiplexedConnection,
    prefixes: &Prefixes,
) -> Result<(), FeedEnd> {
    let answer: RedisResult<Value> = prefixes.tracking().query_async(connection).await;
    answer
        .map(drop)
        .map_err(|error| match server_code(&error).as_deref() {
            Some("NOPERM") => FeedEnd::Refused(refusal(
                "this user may not `CLIENT TRACKING`; grant +client|tracking",
            )),
            Some(_) => FeedEnd::Refused(refusal("it refuses `CLIENT TRACKING`")),
            None => error.into(),
        })
}

/// Runs one `SCAN` step on one server.
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

/// Parses the reply to `TIME`, as microseconds.
pub(super) fn micros(time: Value) -> Option<u64> {
    let (seconds, micros): (u64, u64) = redis::FromRedisValue::from_redis_value(time).ok()?;
    Some(seconds * 1_000_000 + micros)
}

pub(super) fn readings(
    mut answers: Vec<Value>,
    count: usize,
    at: Option<u64>,
) -> RedisResult<Vec<RawValue>> {
    let wrong =
        || redis::RedisError::from((redis::ErrorKind::UnexpectedReturnType, "unexpected answer"));
    let Some(Value::Array(values)) = answers.pop() else {
        return Err(wrong());
    };
    if values.len() != count || answers.len() != count {
        return Err(wrong());
    }
    let read = values.into_iter().zip(answers);
    read.map(|(value, life)| RawValue::of(value, &life, at).ok_or_else(wrong))
        .collect()
}

impl RawValue {
    /// Combines a value of `MGET` with the reply to `PTTL`.
    pub(super) fn of(value: Value, life: &Value, at: Option<u64>) -> Option<Self> {
        let Value::Int(life) = life else {
            return None;
        };
        // -2: there is no such key; -1: the key does not expire.
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
            RawValue::Nothing,
            RawValue::Key {
                value: None,
                life: None,
                at: Some(7),
            },
            RawValue::Key {
                value: Some(Vec::new()),
                life: Some(Duration::from_secs(5)),
                at: Some(7),
            },
        ];
        assert_eq!(readings(answers, 3, Some(7)).unwrap(), expected);
    }
}
