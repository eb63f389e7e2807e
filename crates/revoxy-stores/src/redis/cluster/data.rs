//! Reads and writes keys in any slot, for the feed.

use redis::{Cmd, FromRedisValue as _, RedisError, RedisResult, Value};

use super::super::scan::RawValue;
use super::super::script;
use super::nodes::Primaries;
use super::queries::Question;
use super::slot::slot_of;

impl Primaries {
    /// Reads keys one by one, because one of several keys in a command may be migrating to another node.
    pub(in super::super) async fn read(&self, keys: &[Vec<u8>]) -> RedisResult<Vec<RawValue>> {
        let questions: Vec<Question> = keys.iter().map(|key| question(key)).collect();
        let answers = self.ask(&questions).await?;
        answers
            .into_iter()
            .map(|answer| match answer {
                Err(_) => Ok(RawValue::Unknown),
                Ok(values) => reading(values),
            })
            .collect()
    }

    /// Runs commands, each given with its key. Fails unless all of them were executed.
    pub(in super::super) async fn run(
        &self,
        commands: Vec<(String, Cmd)>,
    ) -> RedisResult<Vec<Value>> {
        let questions = commands.into_iter().map(|(key, command)| Question {
            slot: slot_of(key.as_bytes()),
            commands: vec![command],
        });
        let answers = self.ask(&questions.collect::<Vec<_>>()).await?;
        let value = |answer: Result<Vec<Value>, _>| match answer.map_err(RedisError::from)?.pop() {
            Some(Value::ServerError(error)) => Err(error.into()),
            other => Ok(other.unwrap_or(Value::Nil)),
        };
        answers.into_iter().map(value).collect()
    }
}

/// Uses one script per key, so that life and value are read at the same moment, even while the key is migrating
/// to another node.
fn question(key: &[u8]) -> Question {
    let mut eval = redis::cmd("EVAL");
    eval.arg(script::READ).arg(1).arg(key);
    Question {
        slot: slot_of(key),
        commands: vec![eval],
    }
}

fn reading(mut values: Vec<Value>) -> RedisResult<RawValue> {
    let wrong = || RedisError::from((redis::ErrorKind::UnexpectedReturnType, "unexpected answer"));
    match values.pop() {
        Some(Value::ServerError(error)) => Err(error.into()),
        Some(Value::Array(all)) => match <[Value; 3]>::try_from(all) {
            Ok([life, value, at]) => {
                let at = u64::from_redis_value(at).ok().filter(|at| *at != 0);
                RawValue::of(value, &life, at).ok_or_else(wrong)
            }
            Err(_) => Err(wrong()),
        },
        _ => Err(wrong()),
    }
}
