//! Token records in one Redis server.

use async_trait::async_trait;
use redis::{Cmd, Value};

use crate::clock::{Moment, Timestamp};

use super::super::StoreError;
use super::super::view::View;
use super::RedisStore;
use super::tokens::{Call, TokenCommands};
use super::write::unconfirmed;

#[async_trait]
impl TokenCommands for RedisStore {
    fn time(&self) -> Timestamp {
        self.clock.now()
    }

    async fn command(&self, command: Cmd) -> Result<Value, StoreError> {
        self.run(async |connection| command.query_async(connection).await)
            .await
    }

    async fn call(&self, call: Call) -> Result<(), StoreError> {
        let script = self.scripts.of(call.script);
        let mut invocation = script.prepare_invoke();
        for key in call.keys {
            invocation.key(key);
        }
        for argument in call.arguments {
            invocation.arg(argument);
        }
        self.run(async |connection| invocation.invoke_async(connection).await)
            .await
    }

    async fn settled(&self) -> Result<Option<&View>, StoreError> {
        let at = Moment::now();
        if let Some(following) = &self.following {
            following.progress.reaches(at).await?;
            return Ok(Some(&following.view));
        }
        let connection = self.connection.current().await?;
        match connection.answered().standing.confirmed_after(at).await {
            true => Ok(None),
            false => Err(unconfirmed()),
        }
    }
}
