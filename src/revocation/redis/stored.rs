//! The keys that stand in Redis, and reading them with value and remaining life.
//!
//! | key | what it says |
//! |---|---|
//! | `revoxy:<kind>:<issuer>:<value>` | a revocation, or that it was taken back |
//! | `revoxy:restored:{<hash>}` | the same, where Redis had lost it and a view still held it; views know only hashes |
//! | `revoxy:unrevoked:{<hash>}` | a tombstone of an older version of Revoxy: the revocation was taken back |
//! | `revoxy:registered:<jti or digest>:<issuer>:<value>` | a token on the allow-list |
//!
//! What stands under the first two names of a revocation counts together: see [`Standing`].

use redis::RedisResult;

use crate::clock::Timestamp;
use crate::metrics::FeedMetrics;

use super::super::key::{PREFIX, RevocationKey};
use super::super::lookups::{Content, Lookups, notice_unreadable};
use super::super::registry::{RegistrationKey, is_of_allow_list};
use super::super::state::{Held, KeyState};
use super::super::version::Version;
use super::super::view::KeyHash;
use super::format::{self, Stated};
use super::link::{Link, Reading};

const RESTORED: &str = "restored:{";
const UNREVOKED: &str = "unrevoked:{";

/// What a key of ours is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum StoredKey {
    Native(KeyHash),
    Restored(KeyHash),
    Unrevoked(KeyHash),
    Registration(KeyHash),
    /// What an application writes, and for which lookup.
    Application(KeyHash, usize),
}

impl StoredKey {
    /// `None` for a key that is none of ours, though it has our prefix.
    pub(super) fn parse(key: &[u8]) -> Option<Self> {
        let text = str::from_utf8(key).ok()?;
        let rest = text.strip_prefix(PREFIX)?;
        let hash = |rest: &str| {
            let hex = rest.strip_suffix('}')?;
            let bits = u128::from_str_radix(hex, 16).ok()?;
            // One spelling for each, and only what a key can hash to.
            (format!("{bits:032x}") == hex).then(|| KeyHash::from_u128(bits))?
        };
        if let Some(rest) = rest.strip_prefix(RESTORED) {
            return hash(rest).map(Self::Restored);
        }
        if let Some(rest) = rest.strip_prefix(UNREVOKED) {
            return hash(rest).map(Self::Unrevoked);
        }
        if let Some(key) = RegistrationKey::parse(text) {
            return Some(Self::Registration(key.hash()));
        }
        RevocationKey::parse(text).map(|key| Self::Native(key.hash()))
    }

    /// What a key is; of an application's, for each lookup that may have named it.
    pub(super) fn all<'k>(key: &'k [u8], lookups: &'k Lookups) -> impl Iterator<Item = Self> {
        let named = lookups.named(key);
        let named = named.map(|(hash, lookup)| Self::Application(hash, lookup));
        Self::parse(key).into_iter().chain(named)
    }

    /// The hash that it is about.
    pub(super) fn hash(self) -> KeyHash {
        match self {
            Self::Native(hash)
            | Self::Restored(hash)
            | Self::Unrevoked(hash)
            | Self::Registration(hash)
            | Self::Application(hash, _) => hash,
        }
    }

    /// The hash, of a revocation that can stand under a restored name too.
    pub(super) fn restorable(self) -> Option<KeyHash> {
        match self {
            Self::Native(hash) => Some(hash),
            Self::Application(hash, _) => (!is_of_allow_list(hash)).then_some(hash),
            Self::Restored(_) | Self::Unrevoked(_) | Self::Registration(_) => None,
        }
    }

    /// The name of the restored revocation of a hash.
    pub(super) fn restored(hash: KeyHash) -> String {
        format!("{PREFIX}{RESTORED}{:032x}}}", hash.to_u128())
    }
}

/// What stands under a key now.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Stored {
    Nothing,
    /// Nobody could say yet.
    Unknown,
    Something(Standing),
}

/// What is stated under a key, and under its restored name where that had to be looked at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Standing {
    pub stated: Stated,
    pub expires_at: Timestamp,
    /// When that stood, by the server's clock: the version of what says none.
    pub seen: Version,
    /// What stands under the restored name.
    pub restored: KeyState,
}

impl Standing {
    fn of(stated: Stated, expires_at: Timestamp, seen: Version) -> Self {
        Self {
            stated,
            expires_at,
            seen,
            restored: KeyState::NOTHING,
        }
    }

    /// The latest un-revocation that stands there.
    pub(super) fn unrevoked(&self) -> Version {
        self.stated.unrevoked.max(self.restored.unrevoked)
    }

    /// All that stands there, for those who know of this un-revocation. What was set by hand, without a version, came after it.
    pub(super) fn state(&self, unrevoked: Version) -> KeyState {
        let known = unrevoked.max(self.unrevoked());
        let stated = match self.stated.revoked {
            Some((cutoff, Version::NONE)) => Stated {
                revoked: Some((cutoff, self.seen.max(known.next()))),
                ..self.stated
            },
            _ => self.stated,
        };
        stated.state(known, self.expires_at).merge(self.restored)
    }

    /// What a view is to hold of it.
    pub(super) fn held(&self, unrevoked: Version) -> Option<Held> {
        self.state(unrevoked).held()
    }
}

/// What stands under restored names: `None` where nobody could say.
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

/// What stands under a key of an application. What says nothing is as good as gone.
pub(super) fn of_application(
    reading: &Reading,
    lookup: usize,
    lookups: &Lookups,
    metrics: &FeedMetrics,
    now: Timestamp,
) -> Stored {
    let (value, life, at) = match reading {
        Reading::Nothing => return Stored::Nothing,
        Reading::Unknown => return Stored::Unknown,
        Reading::Key { value, life, at } => (value, life, at),
    };
    let content = value.as_deref().map_or(Content::OtherType, Content::Text);
    let meaning = lookups.meaning(lookup, content, now);
    // Among all keys of a database, those of other types are somebody else's.
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
        |cutoff| Stored::Something(Standing::of(Stated::revoking(cutoff), expires_at, seen));
    meaning.cutoff.map_or(Stored::Nothing, stored)
}

/// The version of what stood then, by the server's clock, or else by ours.
fn seen(at: Option<u64>, now: Timestamp) -> Version {
    at.map_or_else(|| Version::at(now), Version::of_micros)
}

/// A key without a string value is one of another type: it is there, so it revokes.
pub(super) fn interpret(reading: &Reading, now: Timestamp) -> Stored {
    match reading {
        Reading::Nothing => Stored::Nothing,
        Reading::Unknown => Stored::Unknown,
        Reading::Key { value, life, at } => {
            let expires_at = life.map_or(Timestamp::NEVER, |life| now.plus(life));
            let stated = Stated::read(value.as_deref());
            Stored::Something(Standing::of(stated, expires_at, seen(*at, now)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::revocation::{Cutoff, KeyKind};

    #[test]
    fn every_form_of_key_is_told_from_the_others() {
        let native = RevocationKey::new(KeyKind::Subject, "shop", "alice");
        let hash = native.hash();
        assert_eq!(
            StoredKey::parse(native.rendered().as_bytes()),
            Some(StoredKey::Native(hash))
        );
        let restored = StoredKey::restored(hash);
        assert_eq!(
            StoredKey::parse(restored.as_bytes()),
            Some(StoredKey::Restored(hash))
        );
        let unrevoked = restored.replace("restored", "unrevoked");
        assert_eq!(
            StoredKey::parse(unrevoked.as_bytes()),
            Some(StoredKey::Unrevoked(hash))
        );
        let registration = RegistrationKey::of(&RevocationKey::new(KeyKind::TokenId, "shop", "1"));
        assert_eq!(
            StoredKey::parse(registration.rendered().as_bytes()),
            Some(StoredKey::Registration(registration.hash()))
        );
        for other in [
            "revoxy:registered:sub:shop:1",
            "revoxy:restored:{12}",
            "revoxy:x",
            "other",
            "revoxy:restored:{zz}",
            "revoxy:restored:{00000000000000000000000000000000}",
            "revoxy:restored:{+0000000000000010000000000000000}",
        ] {
            assert_eq!(StoredKey::parse(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn a_key_of_another_type_revokes_and_a_missing_one_does_not() {
        let now = Timestamp::from_secs(10);
        let key = |value: Option<&[u8]>, life| Reading::Key {
            value: value.map(<[u8]>::to_vec),
            life,
            at: Some(7_000_001),
        };
        let all = |expires_at| {
            Stored::Something(Standing::of(
                Stated::revoking(Cutoff::All),
                expires_at,
                Version::of_micros(7_000_001),
            ))
        };
        assert_eq!(interpret(&Reading::Nothing, now), Stored::Nothing);
        assert_eq!(interpret(&key(None, None), now), all(Timestamp::NEVER));
        let five = Some(std::time::Duration::from_secs(5));
        assert_eq!(
            interpret(&key(Some(b""), five), now),
            all(Timestamp::from_secs(15))
        );
    }
}
