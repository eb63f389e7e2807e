//! The Redis store: one string key a revocation, `revoxy:<kind>:<issuer name>:<value>`, that expires by itself.
//!
//! So anybody can revoke with one line of `redis-cli`: `SET revoxy:jti:shop:<jti> "" EX <seconds>`. What the value may
//! say is in `format.rs`. Works with RESP2, with any proxy, and with Redis 6 or later and Valkey.

mod connection;
mod format;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use redis::aio::MultiplexedConnection;
use redis::{FromRedisValue, Pipeline, Script};

use crate::clock::{Clock, Timestamp};

use super::key::{PREFIX, RevocationKey};
use super::statement::{Cutoff, Revocation};
use super::{Page, RevocationStore, StoreError};

use connection::Connection;

/// How to reach the server.
#[derive(Clone)]
pub struct RedisOptions {
    /// `redis://host:port/db` or `unix:///path`.
    pub url: String,
    /// The user of an access control list.
    pub username: Option<String>,
    /// The password.
    pub password: Option<String>,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
}

impl RedisOptions {
    /// Whether the URL can be used, without connecting.
    pub fn validate(&self) -> Result<(), StoreError> {
        connection::client(self).map(drop)
    }
}

/// Records a revocation without ever weakening the one that stands, in one step on the server: two writers cannot
/// come between each other. `KEYS[1]`: the key. `ARGV[1]`: the cutoff in seconds, or empty for every token.
/// `ARGV[2]`: how long it stands, in ms, or empty for ever. `ARGV[3]`: the value as JSON, without the cutoff.
///
/// A script and not MULTI, because what to write depends on what is read.
const REVOKE: &str = r"
    local old = redis.call('GET', KEYS[1])
    local cutoff, life = tonumber(ARGV[1]), tonumber(ARGV[2])
    if old then
        local ok, value = pcall(cjson.decode, old)
        local standing = ok and type(value) == 'table' and tonumber(value.not_before)
        if not standing then
            cutoff = nil
        elseif cutoff and standing > cutoff then
            cutoff = standing
        end
        local left = redis.call('PTTL', KEYS[1])
        if left == -1 then life = nil elseif life and left > life then life = left end
    end
    local value = cjson.decode(ARGV[3])
    value.not_before = cutoff
    value = cjson.encode(value)
    if life then
        redis.call('SET', KEYS[1], value, 'PX', string.format('%d', life))
    else
        redis.call('SET', KEYS[1], value)
    end
    return 1
";

/// The longest expiry to give a key, in ms: what a Lua number holds exactly.
const LONGEST_LIFE: u64 = 1 << 53;
/// How many keys a step of `SCAN` looks at.
const SCAN_COUNT: usize = 1000;

/// Revocations in Redis.
pub struct RedisStore {
    clock: Arc<dyn Clock>,
    connection: Connection,
    revoke: Script,
}

impl RedisStore {
    /// A store that connects in the background; [`RedisStore::ready`] waits for the first connection.
    pub fn new(options: &RedisOptions, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        Ok(Self {
            clock,
            connection: Connection::start(options)?,
            revoke: Script::new(REVOKE),
        })
    }

    /// Waits until the server has answered, at most `patience` long; the error says what the last attempt met.
    pub async fn ready(&self, patience: Duration) -> Result<(), StoreError> {
        self.connection.ready(patience).await
    }

    async fn query<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, StoreError> {
        self.run(async |connection| pipeline.query_async(connection).await)
            .await
    }

    async fn run<T>(
        &self,
        command: impl AsyncFnOnce(&mut MultiplexedConnection) -> redis::RedisResult<T>,
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
}

#[async_trait]
impl RevocationStore for RedisStore {
    async fn lookup(&self, keys: &[RevocationKey]) -> Result<Vec<Option<Cutoff>>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        // GET and not MGET: MGET answers "nothing" for a key of another type, GET says that something is wrong.
        let mut pipeline = redis::pipe();
        for key in keys {
            pipeline.get(key.rendered());
        }
        let values: Vec<Option<Vec<u8>>> = self.query(&pipeline).await?;
        Ok(values
            .iter()
            .map(|v| v.as_deref().map(format::cutoff))
            .collect())
    }

    async fn revoke(&self, revocation: &Revocation) -> Result<(), StoreError> {
        let life = revocation.expires_at.since(self.clock.now()).as_millis();
        if life == 0 {
            return Ok(());
        }
        // Beyond what Redis can count there is only "for ever".
        let life = match u64::try_from(life) {
            Ok(ms) if ms <= LONGEST_LIFE => ms.to_string(),
            _ => String::new(),
        };
        let mut call = self.revoke.key(revocation.key.rendered());
        call.arg(format::cutoff_argument(revocation.cutoff))
            .arg(life)
            .arg(format::value(revocation));
        self.run(async |connection| call.invoke_async(connection).await)
            .await
    }

    async fn unrevoke(&self, key: &RevocationKey) -> Result<bool, StoreError> {
        let (deleted,): (u64,) = self.query(redis::pipe().del(key.rendered())).await?;
        Ok(deleted > 0)
    }

    async fn get(&self, key: &RevocationKey) -> Result<Option<Revocation>, StoreError> {
        Ok(self.read(vec![key.clone()]).await?.pop())
    }

    async fn list(&self, after: Option<&str>, limit: usize) -> Result<Page, StoreError> {
        let mut cursor: u64 = match after {
            Some(text) => text
                .parse()
                .map_err(|_| StoreError::Failed("`after` is none of our cursors".to_owned()))?,
            None => 0,
        };
        let mut revocations = Vec::new();
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(format!("{PREFIX}*"));
            scan.arg("COUNT").arg(SCAN_COUNT);
            let mut pipeline = redis::pipe();
            pipeline.add_command(scan);
            let ((next, found),): ((u64, Vec<Vec<u8>>),) = self.query(&pipeline).await?;
            let keys = found
                .iter()
                .filter_map(|k| RevocationKey::parse(str::from_utf8(k).ok()?));
            revocations.extend(self.read(keys.collect()).await?);
            cursor = next;
            if cursor == 0 || revocations.len() >= limit {
                let next = (cursor != 0).then(|| cursor.to_string());
                return Ok(Page { revocations, next });
            }
        }
    }
}

impl RedisStore {
    /// Reads the live revocations under `keys`, values and expiries in one transaction.
    async fn read(&self, keys: Vec<RevocationKey>) -> Result<Vec<Revocation>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = redis::pipe();
        pipeline.atomic();
        for key in &keys {
            pipeline.get(key.rendered()).pttl(key.rendered());
        }
        let answers: Vec<redis::Value> = self.query(&pipeline).await?;
        let now = self.clock.now();
        let mut revocations = Vec::with_capacity(keys.len());
        for (key, answer) in keys.into_iter().zip(answers.chunks_exact(2)) {
            let wrong = |_| StoreError::Failed("an answer of an unexpected type".to_owned());
            let value = Option::<Vec<u8>>::from_redis_value(answer[0].clone()).map_err(wrong)?;
            let left = i64::from_redis_value(answer[1].clone()).map_err(wrong)?;
            let expires_at = match u64::try_from(left) {
                Ok(ms) => now.plus(Duration::from_millis(ms)),
                Err(_) => Timestamp::NEVER,
            };
            revocations.extend(value.map(|v| format::revocation(key, &v, expires_at)));
        }
        Ok(revocations)
    }
}
