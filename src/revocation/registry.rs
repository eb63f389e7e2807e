//! Tokens that are known by themselves, revoked or not: those registered at issue, which an allow-list demands.

use std::fmt;

use async_trait::async_trait;

use super::StoreError;
use super::key::{self, RevocationKey};
use super::view::KeyHash;

/// The kind of a registration in a view: see [`KeyHash`].
const REGISTRATION: u8 = 8;

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
            "{}registered:{}:{}:{}",
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

    /// The key as it stands in a store.
    pub fn rendered(&self) -> &str {
        &self.name
    }

    /// The key as it stands in a view.
    pub(super) fn hash(&self) -> KeyHash {
        self.hash
    }
}

/// A store that knows tokens, and not only what was revoked.
#[async_trait]
pub trait TokenRegistry: Send + Sync {
    /// Whether the token is registered and the registration has not expired.
    async fn is_registered(&self, key: &RegistrationKey) -> Result<bool, StoreError>;
}
