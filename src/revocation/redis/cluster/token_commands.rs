//! Token records in a cluster: both keys of a subject are in one slot, a registration is in a slot of its own.

use async_trait::async_trait;
use redis::{Cmd, Value};

use crate::clock::{Moment, Timestamp};

use super::super::super::StoreError;
use super::super::super::view::View;
use super::super::tokens::{Call, TokenCommands};
use super::queries::Question;
use super::store::{RedisClusterStore, about};

#[async_trait]
impl TokenCommands for RedisClusterStore {
    fn time(&self) -> Timestamp {
        self.clock.now()
    }

    async fn command(&self, command: Cmd) -> Result<Value, StoreError> {
        // Only a trusted node is believed: "not registered" is an answer, too.
        let question = [Question::of(command)];
        let mut answers = self.router.ask(&question, self.trusted()).await?;
        let answer = answers.pop().and_then(|mut answer| answer.pop());
        answer.ok_or_else(|| StoreError::Failed("no answer".to_owned()))
    }

    async fn call(&self, call: Call) -> Result<(), StoreError> {
        let Some(key) = call.keys.first() else {
            return Ok(());
        };
        // The whole script, not its hash, which another node may not know.
        let mut eval = redis::cmd("EVAL");
        eval.arg(call.script.text())
            .arg(call.keys.len())
            .arg(&call.keys)
            .arg(&call.arguments);
        self.write(&[about(key, vec![eval])]).await.map(drop)
    }

    async fn settled(&self) -> Result<Option<&View>, StoreError> {
        let at = Moment::now();
        if let Some(following) = &self.following {
            following.progress.reaches(at).await?;
            return Ok(Some(&following.view));
        }
        self.router.confirmed_after(at).await?;
        Ok(None)
    }
}
