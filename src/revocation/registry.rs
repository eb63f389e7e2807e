//! Tokens that are known by themselves, revoked or not: those registered at issue, which an allow-list demands.

use std::fmt;

use async_trait::async_trait;

use super::StoreError;
use super::foreign::APPLICATION_ALLOWS;
use super::key::{self, KeyKind, RevocationKey};
use super::record::{Place, TokenPage, TokenRecord};
use super::view::KeyHash;

/// The kind of a registration in a view: see [`KeyHash`].
const REGISTRATION: u8 = 8;
/// What stands between the prefix of all keys and the token's kind: the place of a revocation's kind.
pub(super) const KIND: &str = "registered";

/// Under what a token is registered.
#[derive(Clone, PartialEq, Eq)]
pub struct RegistrationKey {
    name: String,
    hash: KeyHash,
}

impl fmt::Debug for RegistrationKey {
    /// Without the name, which identifies a token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RegistrationKey(…)")
    }
}

impl RegistrationKey {
    /// The registration of the token that this key, its `jti` or digest, names.
    pub fn of(token: &RevocationKey) -> Self {
        let name = format!(
            "{}{KIND}:{}:{}:{}",
            key::PREFIX,
            token.kind().as_str(),
            token.issuer(),
            token.value()
        );
        Self {
            hash: key::hash(name.as_bytes(), REGISTRATION),
            name,
        }
    }

    /// Reads a rendered key; `None` where it is none of ours.
    pub(super) fn parse(rendered: &str) -> Option<Self> {
        let rest = rendered.strip_prefix(key::PREFIX)?.strip_prefix(KIND)?;
        let token = rest.strip_prefix(':')?;
        let token = RevocationKey::parse(&format!("{}{token}", key::PREFIX))?;
        KeyKind::of_token(token.kind().as_str())?;
        Some(Self::of(&token))
    }

    /// The key as it stands in a store.
    pub fn rendered(&self) -> &str {
        &self.name
    }

    /// SHA-256 of the key as it stands in a store.
    pub(super) fn digest(&self) -> [u8; 32] {
        key::sha256(self.name.as_bytes())
    }

    /// The key as it stands in a view.
    pub(super) fn hash(&self) -> KeyHash {
        self.hash
    }
}

/// A store that knows tokens, and not only what was revoked.
///
/// Records go by themselves, or with [`super::RevocationStore::prune`], when their token is not accepted any more.
#[async_trait]
pub trait TokenRegistry: Send + Sync {
    /// Whether the token is registered and the registration has not expired.
    async fn is_registered(&self, key: &RegistrationKey) -> Result<bool, StoreError>;

    /// Registers tokens: see [`TokenRecord::merged_with`] for what stands already. When this returns, it is as durable as
    /// the store can make it, and an [`TokenRegistry::is_registered`] that starts now finds it.
    async fn register(&self, records: &[TokenRecord]) -> Result<(), StoreError>;

    /// Notes tokens that were seen. Those without a subject are in nobody's list, so there is nothing to note.
    async fn note(&self, records: &[TokenRecord]) -> Result<(), StoreError>;

    /// The live tokens of a subject, at most `limit` after this place.
    ///
    /// What is there during the whole listing is listed, what comes or goes meanwhile may be.
    async fn of_subject(
        &self,
        issuer: &str,
        subject: &str,
        after: Option<Place>,
        limit: usize,
    ) -> Result<TokenPage, StoreError>;

    /// The live record of a token; with a subject, only if the token is that one's. Without it, a store that sorts what
    /// it has only seen by subjects finds registered tokens only.
    async fn find(
        &self,
        token: &RevocationKey,
        subject: Option<&str>,
    ) -> Result<Option<TokenRecord>, StoreError>;
}

/// The key in a view of the registration whose name has this SHA-256.
pub(super) fn hash_of(digest: &[u8]) -> Option<KeyHash> {
    Some(KeyHash::of_digest(digest.try_into().ok()?, REGISTRATION))
}

/// Whether a key of a view is that of a registration.
pub(super) fn is_registration(key: KeyHash) -> bool {
    key.kind() == usize::from(REGISTRATION)
}

/// Whether it is an entry of an allow-list, ours or an application's: nobody is let in by what is no more, so one that
/// is gone is neither kept nor written back.
pub(super) fn is_of_allow_list(key: KeyHash) -> bool {
    is_registration(key) || key.kind() == usize::from(APPLICATION_ALLOWS)
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
