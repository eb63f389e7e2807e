//! The names of the keys that are stored in Redis.
//!
//! | key | meaning |
//! |---|---|
//! | `revoxy:<kind>:<issuer>:<value>` | the native key: a revocation or un-revocation |
//! | `revoxy:restored:{<hash>}` | the restored key: the same, written back after a loss; views know only hashes |
//! | `revoxy:unrevoked:{<hash>}` | a tombstone of an older version of Revoxy: the revocation was taken back |
//! | `revoxy:registered:<jti or digest>:<issuer>:<value>` | a token on the allow-list |

use super::super::hash::KeyHash;
use super::super::key::{PREFIX, RevocationKey};
use super::super::lookups::Lookups;
use super::super::registry::{RegistrationKey, is_of_allow_list};

const RESTORED: &str = "restored:{";
const UNREVOKED: &str = "unrevoked:{";

/// What kind of key a name denotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum StoredKey {
    Native(KeyHash),
    Restored(KeyHash),
    Unrevoked(KeyHash),
    Registration(KeyHash),
    /// An application's key, and the index of the lookup that it is for.
    Application(KeyHash, usize),
}

impl StoredKey {
    /// Parses a key name; `None` for a key that is not ours, although it may have our prefix.
    pub(super) fn parse(key: &[u8]) -> Option<Self> {
        let text = str::from_utf8(key).ok()?;
        let rest = text.strip_prefix(PREFIX)?;
        let hash = |rest: &str| {
            let hex = rest.strip_suffix('}')?;
            let bits = u128::from_str_radix(hex, 16).ok()?;
            // Accepts one spelling of each hash, and only hashes that a key can have.
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

    /// Returns all that a key can be: for an application's key, there is one result for each lookup that may have
    /// named it.
    pub(super) fn all<'k>(key: &'k [u8], lookups: &'k Lookups) -> impl Iterator<Item = Self> {
        let named = lookups.named(key);
        let named = named.map(|(hash, lookup)| Self::Application(hash, lookup));
        Self::parse(key).into_iter().chain(named)
    }

    /// Returns the hash of the revocation or registration that the key is about.
    pub(super) fn hash(self) -> KeyHash {
        match self {
            Self::Native(hash)
            | Self::Restored(hash)
            | Self::Unrevoked(hash)
            | Self::Registration(hash)
            | Self::Application(hash, _) => hash,
        }
    }

    /// Returns the hash, if the key is of a revocation that can also exist as a restored key.
    pub(super) fn restorable(self) -> Option<KeyHash> {
        match self {
            Self::Native(hash) => Some(hash),
            Self::Application(hash, _) => (!is_of_allow_list(hash)).then_some(hash),
            Self::Restored(_) | Self::Unrevoked(_) | Self::Registration(_) => None,
        }
    }

    /// Returns the name of the restored key of a hash.
    pub(super) fn restored(hash: KeyHash) -> String {
        format!("{PREFIX}{RESTORED}{:032x}}}", hash.to_u128())
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::key::KeyKind;
    use super::*;

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
}
