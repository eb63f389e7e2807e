//! What a revocation applies to: one token, a subject, a session, a client, a signing key, or a whole issuer.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::digest::sha256;
use crate::jwt::VerifiedClaims;

use super::hash::{EntryKind, KeyHash};

/// The prefix of all native keys in a store.
pub const PREFIX: &str = "revoxy:";
/// The prefix of the names of token records, in stores in which they have names.
pub const RECORDS: &str = "revoxy-tokens:";

/// The value in a key that revokes a whole issuer, where no claim is needed.
pub(super) const WHOLE_ISSUER: &str = "all";

/// Which property of a token a revocation matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyKind {
    /// One token by its `jti`.
    TokenId,
    /// One token without `jti`, by the SHA-256 of its signing input (base64url).
    Digest,
    /// All tokens of a subject (`sub`).
    Subject,
    /// All tokens of a session (`sid`).
    Session,
    /// All tokens issued to a client (`azp`, else `client_id`).
    Client,
    /// All tokens signed with a key of this `kid`.
    SigningKey,
    /// All tokens signed with a key of this RFC 7638 thumbprint.
    KeyThumbprint,
    /// All tokens of an issuer.
    Issuer,
}

impl KeyKind {
    /// All kinds.
    pub const ALL: [Self; 8] = [
        Self::TokenId,
        Self::Digest,
        Self::Subject,
        Self::Session,
        Self::Client,
        Self::SigningKey,
        Self::KeyThumbprint,
        Self::Issuer,
    ];

    /// Returns the kind with this name, if it is one that identifies a single token.
    pub fn of_token(name: &str) -> Option<Self> {
        let kinds = [Self::TokenId, Self::Digest];
        kinds.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Returns the kind of the view's entries for such keys.
    const fn entry(self) -> EntryKind {
        match self {
            Self::TokenId => EntryKind::TokenId,
            Self::Digest => EntryKind::Digest,
            Self::Subject => EntryKind::Subject,
            Self::Session => EntryKind::Session,
            Self::Client => EntryKind::Client,
            Self::SigningKey => EntryKind::SigningKey,
            Self::KeyThumbprint => EntryKind::KeyThumbprint,
            Self::Issuer => EntryKind::Issuer,
        }
    }

    /// Returns the hash, in a view, of a key of this kind with this SHA-256; `None` if `digest` has another
    /// length.
    pub fn hash_of(self, digest: &[u8]) -> Option<KeyHash> {
        let digest: &[u8; 32] = digest.try_into().ok()?;
        Some(KeyHash::of_digest(digest, self.entry()))
    }

    /// The name of the kind in store keys, answers and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TokenId => "jti",
            Self::Digest => "digest",
            Self::Subject => "sub",
            Self::Session => "sid",
            Self::Client => "client",
            Self::SigningKey => "kid",
            Self::KeyThumbprint => "jkt",
            Self::Issuer => "iss",
        }
    }
}

/// The key of a revocation: `revoxy:<kind>:<issuer name>:<value>`.
///
/// Issuer names contain no colon (the configuration ensures that), so the value may contain any text.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RevocationKey {
    kind: KeyKind,
    rendered: String,
    value_at: usize,
}

impl fmt::Debug for RevocationKey {
    /// Omits the value, which identifies a token or a person.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "RevocationKey({}:…)",
            &self.rendered[..self.value_at - 1]
        )
    }
}

impl RevocationKey {
    /// Makes a key of this kind and value for the issuer with this configured name.
    pub fn new(kind: KeyKind, issuer: &str, value: &str) -> Self {
        let head = format!("{PREFIX}{}:{issuer}:", kind.as_str());
        Self {
            kind,
            value_at: head.len(),
            rendered: head + value,
        }
    }

    /// Makes the key that identifies this single token: by `jti`, else by digest.
    pub fn of_token(claims: &VerifiedClaims) -> Self {
        match claims.token_id() {
            Some(jti) => Self::new(KeyKind::TokenId, claims.issuer(), jti),
            None => {
                let digest = URL_SAFE_NO_PAD.encode(claims.digest());
                Self::new(KeyKind::Digest, claims.issuer(), &digest)
            }
        }
    }

    /// Parses a rendered key; `None` if it is not a native key.
    pub fn parse(rendered: &str) -> Option<Self> {
        let mut parts = rendered.strip_prefix(PREFIX)?.splitn(3, ':');
        let (kind, issuer, value) = (parts.next()?, parts.next()?, parts.next()?);
        let kind = KeyKind::ALL.into_iter().find(|k| k.as_str() == kind)?;
        Some(Self::new(kind, issuer, value))
    }

    /// Returns the kind.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// Returns the configured name of the issuer.
    pub fn issuer(&self) -> &str {
        let from = PREFIX.len() + self.kind.as_str().len() + 1;
        &self.rendered[from..self.value_at - 1]
    }

    /// Returns the value of the claim.
    pub fn value(&self) -> &str {
        &self.rendered[self.value_at..]
    }

    /// Returns the name of the key in a store.
    pub fn rendered(&self) -> &str {
        &self.rendered
    }

    /// Returns the hash of the key in a [`super::View`]: 128 bits of SHA-256. Untrusted parties may choose
    /// subjects and token ids, so the hash must be collision-resistant.
    pub fn hash(&self) -> KeyHash {
        KeyHash::of_name(self.rendered.as_bytes(), self.kind.entry())
    }

    /// Returns the SHA-256 of the key's name in a store.
    pub fn digest(&self) -> [u8; 32] {
        sha256(self.rendered.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rendered_key_reads_back_whatever_its_value() {
        for value in ["", "a:b:c", "*", "{}", "ü\n\0", "revoxy:jti:x:y"] {
            let key = RevocationKey::new(KeyKind::Subject, "shop", value);
            let back = RevocationKey::parse(key.rendered()).unwrap();
            assert_eq!(
                (back.kind(), back.issuer(), back.value()),
                (KeyKind::Subject, "shop", value)
            );
        }
    }

    #[test]
    fn foreign_keys_are_not_read() {
        for key in [
            "",
            "revoxy:",
            "revoxy:jti:shop",
            "revoxy:nothing:shop:1",
            "other:jti:shop:1",
        ] {
            assert_eq!(RevocationKey::parse(key), None, "{key}");
        }
    }

    #[test]
    fn debug_output_never_shows_the_value() {
        let key = RevocationKey::new(KeyKind::Subject, "shop", "alice");
        assert_eq!(format!("{key:?}"), "RevocationKey(revoxy:sub:shop:…)");
    }
}
