//! The registry: tokens that are stored individually, revoked or not. Tokens are registered at issue, as an
//! allow-list requires.

use std::fmt;

use async_trait::async_trait;

use crate::digest::sha256;

use super::StoreError;
use super::hash::{EntryKind, KeyHash};
use super::key::{self, KeyKind, RevocationKey};
use super::record::{Place, TokenPage, TokenRecord};

/// The part of a registration's key that takes the place of a revocation's kind.
pub const KIND: &str = "registered";

/// The key under which a token is registered.
#[derive(Clone, PartialEq, Eq)]
pub struct RegistrationKey {
    name: String,
    hash: KeyHash,
}

impl fmt::Debug for RegistrationKey {
    /// Omits the name, which identifies a token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RegistrationKey(…)")
    }
}

impl RegistrationKey {
    /// Makes the key of the registration of the token that `token` identifies by `jti` or digest.
    pub fn of(token: &RevocationKey) -> Self {
        let name = format!(
            "{}{KIND}:{}:{}:{}",
            key::PREFIX,
            token.kind().as_str(),
            token.issuer(),
            token.value()
        );
        Self {
            hash: KeyHash::of_name(name.as_bytes(), EntryKind::Registration),
            name,
        }
    }

    /// Parses a rendered key; `None` if it is not the key of a registration.
    pub fn parse(rendered: &str) -> Option<Self> {
        let rest = rendered.strip_prefix(key::PREFIX)?.strip_prefix(KIND)?;
        let token = rest.strip_prefix(':')?;
        let token = RevocationKey::parse(&format!("{}{token}", key::PREFIX))?;
        KeyKind::of_token(token.kind().as_str())?;
        Some(Self::of(&token))
    }

    /// Returns the name of the key in a store.
    pub fn rendered(&self) -> &str {
        &self.name
    }

    /// Returns the SHA-256 of the key's name in a store.
    pub fn digest(&self) -> [u8; 32] {
        sha256(self.name.as_bytes())
    }

    /// Returns the hash of the key in a view.
    pub fn hash(&self) -> KeyHash {
        self.hash
    }
}

/// A store of individual tokens, revoked or not.
///
/// A record is deleted when its token is no longer accepted, by the store itself or by
/// [`super::RevocationStore::prune`].
#[async_trait]
pub trait TokenRegistry: Send + Sync {
    /// Returns whether the token is registered and the registration has not expired.
    async fn is_registered(&self, key: &RegistrationKey) -> Result<bool, StoreError>;

    /// Registers tokens. An existing record is merged: see [`TokenRecord::merged_with`]. When the call
    /// returns, the registrations are as durable as the store can make them, and an
    /// [`TokenRegistry::is_registered`] that starts now finds them.
    async fn register(&self, records: &[TokenRecord]) -> Result<(), StoreError>;

    /// Records tokens that were seen. Tokens without a subject are skipped, because they would be in no
    /// subject's list.
    async fn note(&self, records: &[TokenRecord]) -> Result<(), StoreError>;

    /// Returns the live tokens of a subject: at most `limit`, after this position.
    ///
    /// A token that is present during the whole listing is listed. One that is added or removed meanwhile may
    /// or may not be.
    async fn of_subject(
        &self,
        issuer: &str,
        subject: &str,
        after: Option<Place>,
        limit: usize,
    ) -> Result<TokenPage, StoreError>;

    /// Returns the live record of a token; with a subject, only if the token belongs to that subject. A store
    /// may index tokens that were seen but not registered by subject only; without a subject, such a store
    /// finds registered tokens only.
    async fn find(
        &self,
        token: &RevocationKey,
        subject: Option<&str>,
    ) -> Result<Option<TokenRecord>, StoreError>;
}

/// Returns the hash, in a view, of the registration whose key has this SHA-256.
pub fn hash_of(digest: &[u8]) -> Option<KeyHash> {
    let digest = digest.try_into().ok()?;
    Some(KeyHash::of_digest(digest, EntryKind::Registration))
}

/// Returns whether a key of a view is that of a registration.
pub fn is_registration(key: KeyHash) -> bool {
    key.is(EntryKind::Registration)
}

/// Returns whether an entry belongs to an allow-list, our own or an application's. A missing allow-list entry
/// admits no token, so a lost entry is neither kept in the view nor written back.
pub fn is_of_allow_list(key: KeyHash) -> bool {
    is_registration(key) || key.is(EntryKind::ApplicationAllows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rendered_registration_reads_back_and_nothing_else_does() {
        for (kind, value) in [(KeyKind::TokenId, "a:b"), (KeyKind::Digest, "")] {
            let key = RegistrationKey::of(&RevocationKey::new(kind, "shop", value));
            assert_eq!(RegistrationKey::parse(key.rendered()), Some(key.clone()));
            assert!(is_of_allow_list(key.hash()));
        }
        for other in [
            "revoxy:jti:shop:1",
            "revoxy:registered:sub:shop:1",
            "revoxy:registered:jti:shop",
            "registered:jti:shop:1",
        ] {
            assert_eq!(RegistrationKey::parse(other), None, "{other}");
        }
    }
}
