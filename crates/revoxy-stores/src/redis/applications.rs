//! Direct reads of application keys.

use redis::{FromRedisValue as _, ParsingError, Pipeline, Value};

use crate::clock::Timestamp;
use crate::metrics::FeedMetrics;

use super::super::effect::Effect;
use super::super::lookups::ForeignKey;
use super::super::lookups::{Content, Match, Meaning, issued_among, notice_unreadable};
use super::format;
use super::stored_key::StoredKey;

/// Adds the query for a key to the pipeline: one command, and one more if the key may have been lost and restored.
///
/// No command reports a key of an unexpected type as absent: `EXISTS` works for every type, and the others return
/// an error.
pub(super) fn ask(pipeline: &mut Pipeline, key: &ForeignKey) {
    match &key.rule().matching {
        Match::Exists | Match::Never => pipeline.exists(key.name()),
        Match::Equals(_) | Match::IssuedBefore(_) | Match::ValidUntil => pipeline.get(key.name()),
        Match::Member(_) => pipeline.sismember(key.name(), key.member()),
        Match::IssuedAmong(_) => pipeline.hmget(key.name(), &["revoke", "purge"]),
    };
    if let Some(restored) = restored(key) {
        pipeline.get(restored);
    }
}

/// Takes the answers for a key from the front of `answers`. A value that cannot be read is counted, if there
/// are metrics.
pub(super) fn answer(
    answers: &mut impl Iterator<Item = Value>,
    key: &ForeignKey,
    now: Timestamp,
    metrics: Option<&dyn FeedMetrics>,
) -> Result<Option<Effect>, ParsingError> {
    let mut next = || answers.next().unwrap_or(Value::Nil);
    let rule = key.rule();
    let meaning = match &rule.matching {
        Match::Exists | Match::Never => match bool::from_redis_value(next())? {
            true => rule.meaning(Content::OtherType, now),
            false => Meaning::NOTHING,
        },
        Match::Equals(_) | Match::IssuedBefore(_) | Match::ValidUntil => {
            let value = Option::<Vec<u8>>::from_redis_value(next())?;
            let meaning = |value: Vec<u8>| rule.meaning(Content::Text(&value), now);
            value.map_or(Meaning::NOTHING, meaning)
        }
        Match::Member(_) => Meaning {
            effect: bool::from_redis_value(next())?.then_some(Effect::REVOKES_ALL),
            ..Meaning::NOTHING
        },
        Match::IssuedAmong(_) => {
            type Text = Option<Vec<u8>>;
            let (revoke, purge) = <(Text, Text)>::from_redis_value(next())?;
            issued_among(revoke.as_deref(), purge.as_deref(), key.member())
        }
    };
    if meaning.unreadable {
        notice_unreadable(metrics, rule);
    }
    if restored(key).is_none() {
        return Ok(meaning.effect);
    }
    let restored = Option::<Vec<u8>>::from_redis_value(next())?;
    let restored = format::cutoff(None, restored.as_deref()).map(Effect::Revokes);
    Ok(meaning.effect.max(restored))
}

/// Returns the name of the restored key that may exist if the key was lost. Allow-list entries are never restored.
fn restored(key: &ForeignKey) -> Option<String> {
    let hash = key.hash().filter(|_| !key.is_required())?;
    Some(StoredKey::restored(hash))
}
