//! What a revocation names: one token, a subject, a session, a client, a signing key, a whole issuer.

use std::fmt;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::jwt::VerifiedClaims;

use super::view::KeyHash;

/// The prefix of every key of ours in a store.
pub const PREFIX: &str = "revoxy:";
/// What the names of the records of tokens begin with, where a store has such names.
pub(super) const RECORDS: &str = "revoxy-tokens:";

/// The value in the key that revokes a whole issuer: there is nothing more to name.
pub(super) const WHOLE_ISSUER: &str = "all";

/// By what a revocation finds its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyKind {
    /// One token by its `jti`.
    TokenId,
    /// One token without `jti`, by the SHA-256 of its signing input (base64url).
    Digest,
    /// All tokens of a subject.
    Subject,
    /// All tokens of a session (`sid`).
    Session,
    /// All tokens given to a client (`azp`, else `client_id`).
    Client,
    /// All tokens signed with a key of this `kid`.
    SigningKey,
    /// All tokens signed with a key of this RFC 7638 thumbprint.
    KeyThumbprint,
    /// All tokens of an issuer.
    Issuer,
}

impl KeyKind {
    /// Every kind.
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

    /// The kind of this name, of those that name one token.
    pub fn of_token(name: &str) -> Option<Self> {
        let kinds = [Self::TokenId, Self::Digest];
        kinds.into_iter().find(|kind| kind.as_str() == name)
    }

    /// A number that stands for the kind in a view: see [`KeyHash`]. 8 to 10 are registrations and keys of applications.
    const fn code(self) -> u8 {
        match self {
            Self::TokenId => 1,
            Self::Digest => 2,
            Self::Subject => 3,
            Self::Session => 4,
            Self::Client => 5,
            Self::SigningKey => 6,
            Self::Issuer => 7,
            Self::KeyThumbprint => 11,
        }
    }

    /// The hash, in a view, of a key of this kind with this SHA-256; `None` for what is no SHA-256.
    pub(super) fn hash_of(self, digest: &[u8]) -> Option<KeyHash> {
        let digest: &[u8; 32] = digest.try_into().ok()?;
        Some(KeyHash::of_digest(digest, self.code()))
    }

    /// The name in store keys, answers and logs.
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
/// Issuer names hold no colon (the configuration sees to it), so the value may hold anything.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RevocationKey {
    kind: KeyKind,
    rendered: String,
    value_at: usize,
}

impl fmt::Debug for RevocationKey {
    /// Without the value, which identifies a token or a person.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "RevocationKey({}:…)",
            &self.rendered[..self.value_at - 1]
        )
    }
}

impl RevocationKey {
    /// A key of this kind and value for the issuer of this configured name.
    pub fn new(kind: KeyKind, issuer: &str, value: &str) -> Self {
        let head = format!("{PREFIX}{}:{issuer}:", kind.as_str());
        Self {
            kind,
            value_at: head.len(),
            rendered: head + value,
        }
    }

    /// The key that names this very token: by `jti`, else by digest.
    pub fn of_token(claims: &VerifiedClaims) -> Self {
        match claims.token_id() {
            Some(jti) => Self::new(KeyKind::TokenId, claims.issuer(), jti),
            None => {
                let digest = URL_SAFE_NO_PAD.encode(claims.digest());
                Self::new(KeyKind::Digest, claims.issuer(), &digest)
            }
        }
    }

    /// Reads a rendered key; `None` where it is none of ours.
    pub fn parse(rendered: &str) -> Option<Self> {
        let mut parts = rendered.strip_prefix(PREFIX)?.splitn(3, ':');
        let (kind, issuer, value) = (parts.next()?, parts.next()?, parts.next()?);
        let kind = KeyKind::ALL.into_iter().find(|k| k.as_str() == kind)?;
        Some(Self::new(kind, issuer, value))
    }

    /// The kind.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The configured name of the issuer.
    pub fn issuer(&self) -> &str {
        let from = PREFIX.len() + self.kind.as_str().len() + 1;
        &self.rendered[from..self.value_at - 1]
    }

    /// The value of the claim.
    pub fn value(&self) -> &str {
        &self.rendered[self.value_at..]
    }

    /// The key as it stands in a store.
    pub fn rendered(&self) -> &str {
        &self.rendered
    }

    /// The key as it stands in a [`super::View`]: 128 bits of SHA-256. Subjects and token ids may be chosen by
    /// others, so the hash must be one that nobody finds collisions in.
    pub(super) fn hash(&self) -> KeyHash {
        hash(self.rendered.as_bytes(), self.kind.code())
    }

    /// The SHA-256 of the key as it stands in a store.
    pub(super) fn digest(&self) -> [u8; 32] {
        sha256(self.rendered.as_bytes())
    }
}

/// The hash of a store key, of this kind, in a view.
pub(super) fn hash(name: &[u8], kind: u8) -> KeyHash {
    KeyHash::of_digest(&sha256(name), kind)
}

pub(super) fn sha256(name: &[u8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, name).as_ref());
    bytes
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
