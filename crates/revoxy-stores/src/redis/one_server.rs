//! Direct reads and writes on one server: a fixed one, or the primary that Sentinels name.

use std::collections::HashMap;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, FromRedisValue, ParsingError, Pipeline, RedisResult, Value, from_redis_value};

use crate::clock::Moment;

use super::super::StoreError;
use super::super::key::PREFIX;
use super::super::options::RedisOptions;
use super::IN_A_CLUSTER;
use super::connection::{Borrowed, Connection};
use super::connector::Connector;
use super::durable::Durable;
use super::error::unconfirmed;
use super::scan::scan;
use super::script::{Call, Scripts};
use super::server;
use super::trusted_servers::TrustedServers;

pub(super) struct OneServer {
    pub connection: Connection,
    /// Waits for replicas, if that is configured.
    pub durable: Option<Durable>,
    pub scripts: Scripts,
}

impl OneServer {
    /// Starts to connect. With `identify`, each connection first queries which server it has reached.
    pub(super) fn start(
        connector: Connector,
        options: &RedisOptions,
        identify: bool,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            durable: Durable::start(options)?,
            connection: Connection::start(connector, identify),
            scripts: Scripts::default(),
        })
    }

    /// Waits until the server has answered, and is not a node of a cluster.
    pub(super) async fn ready(&self, patience: Duration) -> Result<(), StoreError> {
        self.connection.ready(patience).await?;
        // A proxy that does not support the query is not a cluster node either.
        let asked = self.run(async |connection| server::is_in_cluster(connection).await);
        if let Ok(Ok(true)) = tokio::time::timeout(patience, asked).await {
            return Err(StoreError::Failed(IN_A_CLUSTER.to_owned()));
        }
        Ok(())
    }

    async fn run<T>(
        &self,
        command: impl AsyncFnOnce(&mut MultiplexedConnection) -> RedisResult<T>,
    ) -> Result<T, StoreError> {
        let mut connection = self.connection.current().await?;
        match command(&mut connection.inner).await {
            Ok(value) => {
                connection.answered();
                Ok(value)
            }
            Err(error) => Err(connection.failed(&error)),
        }
    }

    /// Sends commands in one pipeline, and parses the values, one for each command. With `trusted`, only the
    /// answers of a trusted server are used. A connection whose answers cannot be parsed is given up: its answers
    /// may no longer match its requests.
    pub(super) async fn ask<T>(
        &self,
        commands: Vec<Cmd>,
        trusted: Option<&TrustedServers>,
        parse: impl FnOnce(Vec<Value>) -> Result<T, ParsingError>,
    ) -> Result<T, StoreError> {
        let mut pipeline = redis::pipe();
        for command in commands {
            pipeline.add_command(command);
        }
        let mut connection = self.connection.current().await?;
        if let Some(trusted) = trusted {
            connection = connection.trusted_by(trusted)?;
        }
        match send(&mut connection, pipeline, trusted.is_some()).await {
            Ok(Some(answers)) => match parse(answers) {
                Ok(parsed) => {
                    connection.answered();
                    Ok(parsed)
                }
                Err(error) => Err(connection.failed(&error.into())),
            },
            Ok(None) => Err(connection.unfit("the server has become a replica")),
            Err(error) => Err(connection.failed(&error)),
        }
    }

    /// Reads the values of keys and their remaining lives in ms, all in one transaction.
    pub(super) async fn read(
        &self,
        keys: &[String],
    ) -> Result<Vec<(Option<Vec<u8>>, i64)>, StoreError> {
        let mut pipeline = redis::pipe();
        pipeline.atomic();
        for key in keys {
            pipeline.get(key).pttl(key);
        }
        self.run(async |connection| {
            let answers: Vec<Value> = pipeline.query_async(connection).await?;
            let pairs = answers.chunks_exact(2).map(|pair| {
                let (value, left) = (pair[0].clone(), pair[1].clone());
                Ok((from_redis_value(value)?, from_redis_value(left)?))
            });
            pairs.collect()
        })
        .await
    }

    /// Reads the next batch of key names.
    pub(super) async fn scan(
        &self,
        position: Option<&str>,
    ) -> Result<(Vec<Vec<u8>>, Option<String>), StoreError> {
        let bad = |_| StoreError::Failed("`after` is none of our cursors".to_owned());
        let cursor: u64 = position.map_or(Ok(0), str::parse).map_err(bad)?;
        let pattern = format!("{PREFIX}*");
        let scanned =
            self.run(async |connection| scan(connection, cursor, pattern.as_bytes()).await);
        let (next, names) = scanned.await?;
        Ok((names, (next != 0).then(|| next.to_string())))
    }

    /// Runs a script for tokens.
    pub(super) async fn call(&self, call: Call) -> Result<(), StoreError> {
        let mut invocation = self.scripts.of(call.script).prepare_invoke();
        for key in call.keys {
            invocation.key(key);
        }
        for argument in call.arguments {
            invocation.arg(argument);
        }
        self.run(async |connection| invocation.invoke_async(connection).await)
            .await
    }

    /// Waits until the server is confirmed as authoritative after `at`.
    pub(super) async fn confirmed_after(&self, at: Moment) -> Result<(), StoreError> {
        let connection = self.connection.current().await?;
        match connection.answered().confirmation.confirmed_after(at).await {
            true => Ok(()),
            false => Err(unconfirmed()),
        }
    }
}

/// Sends a pipeline. With `only_to_primary`, returns `None` if the server is not a primary.
async fn send(
    connection: &mut Borrowed<'_>,
    mut pipeline: Pipeline,
    only_to_primary: bool,
) -> RedisResult<Option<Vec<Value>>> {
    if only_to_primary {
        // Queries the role in the same pipeline: a replica answers readily, and may be behind, or follow another
        // primary.
        pipeline.add_command(server::hello(server::RespVersion::Resp2));
    }
    let asked = pipeline.query_async::<Vec<Value>>(&mut connection.inner);
    let mut answers = asked.await?;
    if only_to_primary {
        let hello = answers.pop().unwrap_or(Value::Nil);
        let hello = HashMap::from_redis_value(hello)?;
        if !server::is_primary_role(&hello) {
            return Ok(None);
        }
    }
    Ok(Some(answers))
}
