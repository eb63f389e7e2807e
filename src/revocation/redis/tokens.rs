//! Records of tokens in Redis.
//!
//! | key | type | what it says |
//! |---|---|---|
//! | `revoxy:registered:<jti or digest>:<issuer>:<value>` | string | the token is registered; the value is a record, or empty |
//! | `revoxy-tokens:expiry:{<issuer>:<subject>}` | sorted set | by which id, and until when, the subject's tokens are recorded |
//! | `revoxy-tokens:record:{<issuer>:<subject>}` | hash | by id, the records |
//!
//! Registrations have the prefix that the feed follows. Records do not: millions of tokens that were merely seen push
//! nothing. Both keys of a subject are in one slot of a cluster (an issuer's name is never empty, so neither is what the
//! braces hold), and go with the last of its tokens.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use redis::{Cmd, FromRedisValue};

use crate::clock::Timestamp;

use super::super::StoreError;
use super::super::key::RevocationKey;
use super::super::record::{Place, TokenPage, TokenRecord};
use super::super::registry::{RegistrationKey, TokenRegistry};
use super::record;
use super::{LONGEST_LIFE, RedisStore};

/// Writes under way at once.
const AT_ONCE: usize = 32;
/// By how much the keys of a subject outlive its last token: clocks differ.
const CLOCK_MARGIN: u64 = 60_000;

struct Keys {
    expiry: String,
    record: String,
}

impl Keys {
    fn of(issuer: &str, subject: &str) -> Self {
        Self {
            expiry: format!("revoxy-tokens:expiry:{{{issuer}:{subject}}}"),
            record: format!("revoxy-tokens:record:{{{issuer}:{subject}}}"),
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
    async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        self.run(async |connection| command.query_async(connection).await)
            .await
    }

    /// Writes a record into its subject's list. To say the same twice is to say it once.
    async fn keep(&self, token: &TokenRecord) -> Result<(), StoreError> {
        let Some(subject) = &token.subject else {
            return Ok(());
        };
        let keys = Keys::of(token.token.issuer(), subject);
        let mut call = self.scripts.keep.key(keys.expiry);
        call.key(keys.record)
            .arg(millis(self.clock.now()))
            .arg(CLOCK_MARGIN)
            .arg(id(token.id()))
            .arg(millis(token.expires_at))
            .arg(record::encode(token));
        self.run(async |connection| call.invoke_async(connection).await)
            .await
    }

    async fn put_on_allow_list(&self, token: &TokenRecord) -> Result<(), StoreError> {
        let life = token.expires_at.since(self.clock.now()).as_millis();
        let life = u64::try_from(life).map_or(LONGEST_LIFE, |ms| ms.min(LONGEST_LIFE));
        if life == 0 {
            return Ok(());
        }
        let key = RegistrationKey::of(&token.token);
        let mut call = self.scripts.register.key(key.rendered());
        call.arg(life).arg(record::encode(token));
        self.run(async |connection| call.invoke_async(connection).await)
            .await
    }

    async fn register_one(&self, token: &TokenRecord) -> Result<(), StoreError> {
        // First the list: what is accepted is listed, also when the second write fails.
        self.keep(token).await?;
        self.put_on_allow_list(token).await
    }

    /// Which ids the subject's list has after this place, each with its expiry.
    async fn places(
        &self,
        keys: &Keys,
        after: Option<Place>,
        limit: usize,
    ) -> Result<Vec<Place>, StoreError> {
        let now = self.clock.now();
        let from = match after {
            Some(place) if place.expires_at > now => millis(place.expires_at).to_string(),
            _ => format!("({}", millis(now)),
        };
        let (mut found, mut offset) = (Vec::new(), 0);
        // Those of the same millisecond as the last of the page before come again.
        while found.len() < limit {
            let mut range = redis::cmd("ZRANGEBYSCORE");
            range.arg(&keys.expiry).arg(&from).arg("+inf");
            range.arg("WITHSCORES").arg("LIMIT").arg(offset).arg(limit);
            let page: Vec<(String, f64)> = self.ask(&range).await?;
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

    async fn with_registration(&self, token: TokenRecord) -> Result<TokenRecord, StoreError> {
        let registered = self
            .is_registered(&RegistrationKey::of(&token.token))
            .await?;
        Ok(TokenRecord {
            registered,
            ..token
        })
    }
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
        // Whatever stands there: so does the view read it.
        self.ask(redis::cmd("EXISTS").arg(key.rendered())).await
    }

    async fn register(&self, records: &[TokenRecord]) -> Result<(), StoreError> {
        let now = self.clock.now();
        for token in records.iter().filter(|token| token.is_live(now)) {
            match self.register_one(token).await {
                Err(StoreError::Unavailable(_)) => self.register_one(token).await?,
                registered => registered?,
            }
        }
        // The view hears of it by a push, in order with whatever others do; a check that comes before asks the server.
        Ok(())
    }

    async fn note(&self, records: &[TokenRecord]) -> Result<(), StoreError> {
        let now = self.clock.now();
        let live = records.iter().filter(|record| record.is_live(now));
        let writes: Vec<_> = live.map(|record| self.keep(record)).collect();
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
        let mut places = self.places(&keys, after, limit.saturating_add(1)).await?;
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
        let values: Vec<Option<Vec<u8>>> = self.ask(&get).await?;
        let mut records = Vec::with_capacity(values.len());
        for (place, value) in places.iter().zip(values) {
            // Gone between the two commands.
            let Some(value) = value else { continue };
            let token = record::decode(issuer, Some(subject), &value, place.expires_at)?;
            records.push(self.with_registration(token));
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
            return self.find_registered(token).await;
        };
        let (keys, id) = (
            Keys::of(token.issuer(), subject),
            id(token.hash().to_u128()),
        );
        let (mut score, mut get) = (redis::cmd("ZSCORE"), redis::cmd("HGET"));
        let score = self.ask::<Option<f64>>(score.arg(&keys.expiry).arg(&id));
        let value = self.ask::<Option<Vec<u8>>>(get.arg(&keys.record).arg(&id));
        let (Some(score), Some(value)) = tokio::try_join!(score, value)? else {
            return Ok(None);
        };
        let Some(place) = place((id, score)) else {
            return Ok(None);
        };
        let found = record::decode(token.issuer(), Some(subject), &value, place.expires_at)?;
        if !found.is_live(self.clock.now()) {
            return Ok(None);
        }
        Ok(Some(self.with_registration(found).await?))
    }
}

impl RedisStore {
    /// What the registration itself says of a token.
    async fn find_registered(
        &self,
        token: &RevocationKey,
    ) -> Result<Option<TokenRecord>, StoreError> {
        let key = RegistrationKey::of(token);
        let (mut get, mut life) = (redis::cmd("GET"), redis::cmd("PTTL"));
        let value = self.ask::<Option<Vec<u8>>>(get.arg(key.rendered()));
        let life = self.ask::<i64>(life.arg(key.rendered()));
        let (value, life) = tokio::try_join!(value, life)?;
        let expires_at = match u64::try_from(life) {
            Ok(millis) => self.clock.now().plus(Duration::from_millis(millis)),
            Err(_) if life == -1 => Timestamp::NEVER,
            // Gone between the two commands.
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
}
