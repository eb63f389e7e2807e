//! The keys that stand in Redis, and reading them with value and remaining life.
//!
//! | key | what it says |
//! |---|---|
//! | `revoxy:<kind>:<issuer>:<value>` | a revocation |
//! | `revoxy:restored:{<hash>}` | a revocation that Redis had lost and a view still held; views know only hashes |
//! | `revoxy:unrevoked:{<hash>}` | a revocation that was taken back through the API, and must not be restored |
//! | `revoxy:registered:<jti or digest>:<issuer>:<value>` | a token on the allow-list |
//!
//! The braces keep the second and the third of a hash in one slot of a cluster.

use redis::RedisResult;

use crate::clock::Timestamp;
use crate::metrics::FeedMetrics;

use super::super::key::{PREFIX, RevocationKey};
use super::super::lookups::{Content, Lookups};
use super::super::registry::{RegistrationKey, is_of_allow_list};
use super::super::statement::Cutoff;
use super::super::view::KeyHash;
use super::format;
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

    /// The name of the tombstone of a hash.
    pub(super) fn unrevoked(hash: KeyHash) -> String {
        format!("{PREFIX}{UNREVOKED}{:032x}}}", hash.to_u128())
    }
}

/// What stands under a key now.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Stored {
    Nothing,
    /// Nobody could say yet.
    Unknown,
    Revocation {
        cutoff: Cutoff,
        expires_at: Timestamp,
        /// When it was written, where the value says so.
        written_at: Option<Timestamp>,
    },
}

impl Stored {
    /// Makes this say what either says, where there is something to be made stronger.
    pub(super) fn strengthen(&mut self, other: &Self) {
        if let (
            Self::Revocation {
                cutoff, expires_at, ..
            },
            Self::Revocation {
                cutoff: other_cutoff,
                expires_at: other_expiry,
                ..
            },
        ) = (self, other)
        {
            *cutoff = (*cutoff).max(*other_cutoff);
            *expires_at = (*expires_at).max(*other_expiry);
        }
    }
}

/// Reads restored and other keys of ours.
pub(super) async fn read(
    link: &mut Link,
    keys: &[Vec<u8>],
    now: impl Fn() -> Timestamp,
) -> RedisResult<Vec<Stored>> {
    let readings = link.read(keys).await?;
    let now = now();
    Ok(readings.iter().map(|r| interpret(r, now)).collect())
}

/// What stands under a key of an application. What says nothing is as good as gone.
pub(super) fn of_application(
    reading: &Reading,
    lookup: usize,
    lookups: &Lookups,
    metrics: &FeedMetrics,
    now: Timestamp,
) -> Stored {
    let (value, life) = match reading {
        Reading::Nothing => return Stored::Nothing,
        Reading::Unknown => return Stored::Unknown,
        Reading::Key { value, life } => (value, life),
    };
    let content = value.as_deref().map_or(Content::OtherType, Content::Text);
    let meaning = lookups.meaning(lookup, content, now);
    // Among all keys of a database, those of other types are somebody else's.
    let is_its_own = value.is_some() || !lookups.follows_everything(lookup);
    if meaning.unreadable && is_its_own {
        metrics.unreadable.inc();
    }
    let stored = |cutoff| Stored::Revocation {
        cutoff,
        expires_at: life.map_or(Timestamp::NEVER, |life| now.plus(life)),
        written_at: None,
    };
    meaning.cutoff.map_or(Stored::Nothing, stored)
}

/// A key without a string value is one of another type: it is there, so it revokes.
pub(super) fn interpret(reading: &Reading, now: Timestamp) -> Stored {
    match reading {
        Reading::Nothing => Stored::Nothing,
        Reading::Unknown => Stored::Unknown,
        Reading::Key { value, life } => {
            let (cutoff, written_at) = format::cutoff_and_time(value.as_deref().unwrap_or(b""));
            Stored::Revocation {
                cutoff,
                expires_at: life.map_or(Timestamp::NEVER, |life| now.plus(life)),
                written_at,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::revocation::KeyKind;

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
        let unrevoked = StoredKey::unrevoked(hash);
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
        };
        let all = |expires_at| Stored::Revocation {
            cutoff: Cutoff::All,
            expires_at,
            written_at: None,
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
