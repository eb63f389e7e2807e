//! Token records in Redis, on one server or in a cluster.
//!
//! | key | type | contents |
//! |---|---|---|
//! | `revoxy:registered:<jti or digest>:<issuer>:<value>` | string | a registered token: its record, or empty |
//! | `revoxy-tokens:expiry:{<issuer>:<subject>}` | sorted set | the ids of the subject's tokens, scored by expiry |
//! | `revoxy-tokens:record:{<issuer>:<subject>}` | hash | the records, by id |
//!
//! Registrations have the prefix that the feed follows. Records do not, so millions of tokens that were merely seen
//! cause no pushes. Both keys of a subject are in one slot of a cluster (an issuer's name is never empty, so
//! neither is the hash tag in braces), and expire with the last of the subject's tokens.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use redis::{Cmd, FromRedisValue, Value, from_redis_value};

use crate::clock::{Moment, Timestamp};

use super::super::StoreError;
use super::super::key::{RECORDS, RevocationKey};
use super::super::record::{Place, TokenPage, TokenRecord};
use super::super::registry::{RegistrationKey, TokenRegistry};
use super::super::view::View;
use super::LONGEST_LIFE;
use super::error::unconfirmed;
use super::format::EXPIRY_SLACK;
use super::record;
use super::script::{Call, TokenScript};
use super::store::RedisStore;
use super::trusted_servers::TrustedServers;
use super::write::MOST_WRITES;

/// The maximum number of concurrent writes.
const AT_ONCE: usize = 32;
/// How many ms the keys of a subject outlive its last token, because clocks differ.
const CLOCK_MARGIN: u64 = 60_000;

struct Keys {
    expiry: String,
    record: String,
}

impl Keys {
    fn of(issuer: &str, subject: &str) -> Self {
        Self {
            expiry: format!("{RECORDS}expiry:{{{issuer}:{subject}}}"),
            record: format!("{RECORDS}record:{{{issuer}:{subject}}}"),
        }
    }
}

fn millis(at: Timestamp) -> u64 {
    u64::try_from(at.millis())
        .unwrap_or_default()
        .min(LONGEST_LIFE)
}

fn id(token: u128) -> String {
    format!("{token:032x}")
}

impl RedisStore {
    /// Waits until everything written so far is known to have taken effect. Returns the view, if there is one, once
    /// it must contain the writes.
    async fn settled(&self) -> Result<Option<&View>, StoreError> {
        let at = Moment::now();
        let view = self.replica.view_as_of(at).await?;
        if view.is_none() {
            self.route.confirmed_after(at).await?;
        }
        Ok(view)
    }
}

/// Sends a command about records, which no check reads.
async fn ask<T: FromRedisValue>(store: &RedisStore, command: &Cmd) -> Result<T, StoreError> {
    ask_of(store, command, None).await
}

/// Sends a command; with `trusted`, only to a trusted server.
async fn ask_of<T: FromRedisValue>(
    store: &RedisStore,
    command: &Cmd,
    trusted: Option<&TrustedServers>,
) -> Result<T, StoreError> {
    let parse = |mut answers: Vec<Value>| from_redis_value(answers.pop().unwrap_or(Value::Nil));
    store.route.ask(vec![command.clone()], trusted, parse).await
}

/// Writes a record into its subject's list.
async fn keep(store: &RedisStore, token: &TokenRecord) -> Result<(), StoreError> {
    let Some(subject) = &token.subject else {
        return Ok(());
    };
    let keys = Keys::of(token.token.issuer(), subject);
    let call = Call {
        script: TokenScript::Keep,
        keys: vec![keys.expiry, keys.record],
        arguments: vec![
            millis(store.replica.now()).to_string(),
            CLOCK_MARGIN.to_string(),
            id(token.id()),
            millis(token.expires_at).to_string(),
            record::encode(token),
        ],
    };
    store.route.call(call).await
}

async fn register(store: &RedisStore, token: &TokenRecord) -> Result<(), StoreError> {
    // The list is written first, so that an accepted token is listed even if the second write fails.
    keep(store, token).await?;
    let life = token.expires_at.since(store.replica.now()).as_millis();
    let life = u64::try_from(life).map_or(LONGEST_LIFE, |ms| ms.min(LONGEST_LIFE));
    if life == 0 {
        return Ok(());
    }
    let key = RegistrationKey::of(&token.token);
    let call = Call {
        script: TokenScript::Register,
        keys: vec![key.rendered().to_owned()],
        arguments: vec![life.to_string(), record::encode(token)],
    };
    store.route.call(call).await
}

/// Returns the ids in the subject's list after this place, each with its expiry.
async fn places(
    store: &RedisStore,
    keys: &Keys,
    after: Option<Place>,
    limit: usize,
) -> Result<Vec<Place>, StoreError> {
    let now = store.replica.now();
    let from = match after {
        Some(place) if place.expires_at > now => millis(place.expires_at).to_string(),
        _ => format!("({}", millis(now)),
    };
    let (mut found, mut offset) = (Vec::new(), 0);
    // Tokens that expire in the same millisecond as the last token of the previous page are read again, and
    // filtered.
    while found.len() < limit {
        let mut range = redis::cmd("ZRANGEBYSCORE");
        range.arg(&keys.expiry).arg(&from).arg("+inf");
        range.arg("WITHSCORES").arg("LIMIT").arg(offset).arg(limit);
        let page: Vec<(String, f64)> = ask(store, &range).await?;
        let more = page.len() == limit;
        offset += page.len();
        found.extend(
            page.into_iter()
                .filter_map(place)
                .filter(|p| Some(*p) > after),
        );
        if !more {
            break;
        }
    }
    found.truncate(limit);
    Ok(found)
}

async fn with_registration(
    store: &RedisStore,
    token: TokenRecord,
) -> Result<TokenRecord, StoreError> {
    let key = RegistrationKey::of(&token.token);
    let exists = redis::cmd("EXISTS").arg(key.rendered()).to_owned();
    let registered = ask(store, &exists).await?;
    Ok(TokenRecord {
        registered,
        ..token
    })
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a score is a number of milliseconds, of at most 53 bits"
)]
fn place((member, score): (String, f64)) -> Option<Place> {
    Some(Place {
        expires_at: Timestamp::from_millis(score as i64),
        id: u128::from_str_radix(&member, 16).ok()?,
    })
}

#[async_trait]
impl TokenRegistry for RedisStore {
    async fn is_registered(&self, key: &RegistrationKey) -> Result<bool, StoreError> {
        // The existence of the key counts, whatever its value is: the view interprets the key in the same way. Only
        // the answer of a trusted server is used, because "not registered" is also a result that a check depends
        // on.
        let exists = redis::cmd("EXISTS").arg(key.rendered()).to_owned();
        ask_of(self, &exists, self.replica.trusted()).await
    }

    async fn register(&self, records: &[TokenRecord]) -> Result<(), StoreError> {
        let now = self.replica.now();
        let live = || records.iter().filter(|token| token.is_live(now));
        if live().next().is_none() {
            return Ok(());
        }
        for _ in 0..MOST_WRITES {
            for token in live() {
                match register(self, token).await {
                    Err(StoreError::Unavailable(_)) => register(self, token).await?,
                    registered => registered?,
                }
            }
            let Some(view) = self.settled().await? else {
                return Ok(());
            };
            let stands = |token: &TokenRecord| {
                let until = view.entry(RegistrationKey::of(&token.token).hash());
                let over = token.expires_at <= self.replica.now().plus(EXPIRY_SLACK);
                over || until.is_some()
            };
            if live().all(stands) {
                return Ok(());
            }
        }
        Err(unconfirmed())
    }

    async fn note(&self, records: &[TokenRecord]) -> Result<(), StoreError> {
        let now = self.replica.now();
        let live = records.iter().filter(|record| record.is_live(now));
        let writes: Vec<_> = live.map(|record| keep(self, record)).collect();
        let writes = stream::iter(writes).buffer_unordered(AT_ONCE);
        writes.try_collect().await
    }

    async fn of_subject(
        &self,
        issuer: &str,
        subject: &str,
        after: Option<Place>,
        limit: usize,
    ) -> Result<TokenPage, StoreError> {
        let keys = Keys::of(issuer, subject);
        let mut places = places(self, &keys, after, limit.saturating_add(1)).await?;
        let more = places.len() > limit;
        places.truncate(limit);
        let Some(last) = places.last().copied() else {
            return Ok(TokenPage::default());
        };
        let mut get = redis::cmd("HMGET");
        get.arg(&keys.record);
        for place in &places {
            get.arg(id(place.id));
        }
        let values: Vec<Option<Vec<u8>>> = ask(self, &get).await?;
        let mut records = Vec::with_capacity(values.len());
        for (place, value) in places.iter().zip(values) {
            // Removed between the two commands.
            let Some(value) = value else { continue };
            let token = record::decode(issuer, Some(subject), &value, place.expires_at)?;
            records.push(with_registration(self, token));
        }
        Ok(TokenPage {
            records: try_join_all(records).await?,
            next: more.then_some(last),
        })
    }

    async fn find(
        &self,
        token: &RevocationKey,
        subject: Option<&str>,
    ) -> Result<Option<TokenRecord>, StoreError> {
        let Some(subject) = subject else {
            return find_registered(self, token).await;
        };
        let (keys, id) = (
            Keys::of(token.issuer(), subject),
            id(token.hash().to_u128()),
        );
        let (mut score, mut get) = (redis::cmd("ZSCORE"), redis::cmd("HGET"));
        let score = ask::<Option<f64>>(self, score.arg(&keys.expiry).arg(&id));
        let value = ask::<Option<Vec<u8>>>(self, get.arg(&keys.record).arg(&id));
        let (Some(score), Some(value)) = tokio::try_join!(score, value)? else {
            return Ok(None);
        };
        let Some(place) = place((id, score)) else {
            return Ok(None);
        };
        let found = record::decode(token.issuer(), Some(subject), &value, place.expires_at)?;
        if !found.is_live(self.replica.now()) {
            return Ok(None);
        }
        Ok(Some(with_registration(self, found).await?))
    }
}

/// Returns the record that is stored in the registration of a token.
async fn find_registered(
    store: &RedisStore,
    token: &RevocationKey,
) -> Result<Option<TokenRecord>, StoreError> {
    let key = RegistrationKey::of(token);
    let (mut get, mut life) = (redis::cmd("GET"), redis::cmd("PTTL"));
    let value = ask::<Option<Vec<u8>>>(store, get.arg(key.rendered()));
    let life = ask::<i64>(store, life.arg(key.rendered()));
    let (value, life) = tokio::try_join!(value, life)?;
    let expires_at = match u64::try_from(life) {
        Ok(millis) => store.replica.now().plus(Duration::from_millis(millis)),
        Err(_) if life == -1 => Timestamp::NEVER,
        // Removed between the two commands.
        Err(_) => return Ok(None),
    };
    let Some(value) = value else {
        return Ok(None);
    };
    let found = if value.is_empty() {
        record::bare(token.clone(), expires_at)
    } else {
        record::decode(token.issuer(), None, &value, expires_at)?
    };
    Ok(Some(TokenRecord {
        registered: true,
        ..found
    }))
}
