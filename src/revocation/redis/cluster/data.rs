//! Reading and writing keys in any slot, for the feed.

use redis::{Cmd, RedisError, RedisResult, Value};

use super::super::link::Reading;
use super::ask::Question;
use super::nodes::Primaries;
use super::slot::slot_of;

impl Primaries {
    /// Reads keys one by one: of several in one command, one may be on its way to another node.
    pub(in super::super) async fn read(&self, keys: &[Vec<u8>]) -> RedisResult<Vec<Reading>> {
        let questions: Vec<Question> = keys.iter().map(|key| question(key)).collect();
        let answers = self.ask(&questions).await?;
        answers
            .into_iter()
            .map(|answer| match answer {
                Err(_) => Ok(Reading::Unknown),
                Ok(values) => reading(values),
            })
            .collect()
    }

    /// Runs commands, each with the key that it is about. All of them were carried out, or it fails.
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

/// `MGET` and not `GET`: a key of another type is no error, but there. The life first: a key that is written after its
/// life was asked for would look like one of another type.
fn question(key: &[u8]) -> Question {
    let command = |name: &str| {
        let mut command = redis::cmd(name);
        command.arg(key);
        command
    };
    Question {
        slot: slot_of(key),
        commands: vec![command("PTTL"), command("MGET")],
    }
}

fn reading(values: Vec<Value>) -> RedisResult<Reading> {
    let wrong = || RedisError::from((redis::ErrorKind::UnexpectedReturnType, "unexpected answer"));
    let refused = values.iter().find_map(|value| match value {
        Value::ServerError(error) => Some(error.clone()),
        _ => None,
    });
    if let Some(error) = refused {
        return Err(error.into());
    }
    let mut values = values.into_iter();
    match (values.next(), values.next()) {
        (Some(life), Some(Value::Array(mut value))) => {
            Reading::of(value.pop().unwrap_or(Value::Nil), &life).ok_or_else(wrong)
        }
        _ => Err(wrong()),
    }
}
