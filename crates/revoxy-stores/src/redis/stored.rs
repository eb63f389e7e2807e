//! What is stored in Redis under a key: its value and remaining life.
//!
//! The native and the restored key of a revocation count together: see [`KeyStates`].

use redis::RedisResult;

use crate::clock::Timestamp;
use crate::metrics::FeedMetrics;

use super::super::lookups::{Content, Lookups, notice_unreadable};
use super::super::state::{Held, KeyState};
use super::super::version::Version;
use super::format::{self, Stated};
use super::link::Link;
use super::scan::RawValue;

/// What is currently stored under a key.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Stored {
    Nothing,
    /// No node could answer yet.
    Unknown,
    Something(KeyStates),
}

/// What a key states, and what its restored key states, if that had to be read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct KeyStates {
    pub stated: Stated,
    pub expires_at: Timestamp,
    /// When the value was read, by the server's clock. This serves as the version of a value that has none.
    pub seen: Version,
    /// The state in the restored key.
    pub restored: KeyState,
}

impl KeyStates {
    fn of(stated: Stated, expires_at: Timestamp, seen: Version) -> Self {
        Self {
            stated,
            expires_at,
            seen,
            restored: KeyState::NOTHING,
        }
    }

    /// Returns the latest un-revocation that is stored.
    pub(super) fn unrevoked(&self) -> Version {
        self.stated.unrevoked.max(self.restored.unrevoked)
    }

    /// Returns all that is stored as one state, for a reader that knows of this un-revocation. A value that was set
    /// by hand, without a version, counts as later than the un-revocation.
    pub(super) fn state(&self, unrevoked: Version) -> KeyState {
        let known = unrevoked.max(self.unrevoked());
        let stated = match self.stated.effect {
            Some((effect, Version::NONE)) => Stated {
                effect: Some((effect, self.seen.max(known.next()))),
                ..self.stated
            },
            _ => self.stated,
        };
        stated.state(known, self.expires_at).merge(self.restored)
    }

    /// Returns whether the stored values revoke only if this un-revocation is disregarded.
    pub(super) fn counts_without(&self, unrevoked: Version) -> bool {
        self.held(unrevoked).is_none() && self.held(Version::NONE).is_some()
    }

    /// Returns the entry that a view is to hold, if it knows of this un-revocation.
    pub(super) fn held(&self, unrevoked: Version) -> Option<Held> {
        self.state(unrevoked).held()
    }
}

/// Reads restored keys: `None` for each that no node could answer for.
pub(super) async fn read_restored(
    link: &mut Link,
    names: &[Vec<u8>],
    now: impl Fn() -> Timestamp,
) -> RedisResult<Vec<Option<KeyState>>> {
    let readings = link.read(names).await?;
    let now = now();
    let state = |reading| match interpret(reading, now) {
        Stored::Nothing => Some(KeyState::NOTHING),
        Stored::Unknown => None,
        Stored::Something(s) => Some(format::restored_state(s.stated, s.expires_at)),
    };
    Ok(readings.iter().map(state).collect())
}

/// Interprets an application's key. A value without a meaning counts as an absent key.
pub(super) fn of_application(
    reading: &RawValue,
    lookup: usize,
    lookups: &Lookups,
    metrics: &dyn FeedMetrics,
    now: Timestamp,
) -> Stored {
    let (value, life, at) = match reading {
        RawValue::Nothing => return Stored::Nothing,
        RawValue::Unknown => return Stored::Unknown,
        RawValue::Key { value, life, at } => (value, life, at),
    };
    let content = value.as_deref().map_or(Content::OtherType, Content::Text);
    let meaning = lookups.meaning(lookup, content, now);
    // If the lookup matches all keys of a database, keys of other types belong to other applications.
    let is_its_own = value.is_some() || !lookups.follows_everything(lookup);
    if meaning.unreadable
        && is_its_own
        && let Some(rule) = lookups.rule(lookup)
    {
        notice_unreadable(Some(metrics), rule);
    }
    let expires_at = life.map_or(Timestamp::NEVER, |life| now.plus(life));
    let seen = seen(*at, now);
    let stored =
        |effect| Stored::Something(KeyStates::of(Stated::unversioned(effect), expires_at, seen));
    meaning.effect.map_or(Stored::Nothing, stored)
}

/// Returns the version of a value that was read at the time `at` of the server's clock or, if that is not known, at
/// `now` of our clock.
fn seen(at: Option<u64>, now: Timestamp) -> Version {
    at.map_or_else(|| Version::at(now), Version::of_micros)
}

/// Interprets a key of ours. A key that is not a string exists, and so it revokes.
pub(super) fn interpret(reading: &RawValue, now: Timestamp) -> Stored {
    match reading {
        RawValue::Nothing => Stored::Nothing,
        RawValue::Unknown => Stored::Unknown,
        RawValue::Key { value, life, at } => {
            let expires_at = life.map_or(Timestamp::NEVER, |life| now.plus(life));
            let stated = Stated::read(value.as_deref());
            Stored::Something(KeyStates::of(stated, expires_at, seen(*at, now)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::Effect;

    #[test]
    fn a_key_of_another_type_revokes_and_a_missing_one_does_not() {
        let now = Timestamp::from_secs(10);
        let key = |value: Option<&[u8]>, life| RawValue::Key {
            value: value.map(<[u8]>::to_vec),
            life,
            at: Some(7_000_001),
        };
        let all = |expires_at| {
            Stored::Something(KeyStates::of(
                Stated::unversioned(Effect::REVOKES_ALL),
                expires_at,
                Version::of_micros(7_000_001),
            ))
        };
        assert_eq!(interpret(&RawValue::Nothing, now), Stored::Nothing);
        assert_eq!(interpret(&key(None, None), now), all(Timestamp::NEVER));
        let five = Some(std::time::Duration::from_secs(5));
        assert_eq!(
            interpret(&key(Some(b""), five), now),
            all(Timestamp::from_secs(15))
        );
    }
}
