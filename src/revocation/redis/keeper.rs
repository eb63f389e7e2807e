//! Records of tokens in one Redis server.

use async_trait::async_trait;
use redis::{Cmd, Value};

use crate::clock::Timestamp;

use super::super::StoreError;
use super::RedisStore;
use super::tokens::{Call, Keeper};

#[async_trait]
impl Keeper for RedisStore {
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
}
