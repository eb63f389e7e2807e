//! The signature algorithms that can be configured for an issuer (RFC 7518 §3.1, RFC 8037).

use jsonwebtoken as jwt;
use serde::Deserialize;

/// A JWS signature algorithm, by its registered name.
///
/// Deliberately absent: `none`, and algorithms that the cryptographic library does not offer (ES256K, Ed448).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[allow(missing_docs, reason = "the variants are the registered names")]
pub enum Algorithm {
    HS256,
    HS384,
    HS512,
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    ES512,
    /// Called `Ed25519` in RFC 9864. Of EdDSA's curves, only Ed25519 is supported.
    #[serde(alias = "Ed25519")]
    EdDSA,
}

/// The kind of key that an algorithm needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum KeyType {
    Secret,
    Rsa,
    P256,
    P384,
    P521,
    Ed25519,
}

impl Algorithm {
    pub(super) const ALL: [Self; 13] = [
        Self::HS256,
        Self::HS384,
        Self::HS512,
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::ES512,
        Self::EdDSA,
    ];

    /// Returns the registered name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HS256 => "HS256",
            Self::HS384 => "HS384",
            Self::HS512 => "HS512",
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::ES512 => "ES512",
            Self::EdDSA => "EdDSA",
        }
    }

    /// Returns the algorithm with this name in a header or a JWK. `Ed25519` is RFC 9864's name for what RFC
    /// 8037 calls `EdDSA`.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        if name == "Ed25519" {
            return Some(Self::EdDSA);
        }
        Self::ALL.into_iter().find(|a| a.as_str() == name)
    }

    pub(super) const fn key_type(self) -> KeyType {
        match self {
            Self::HS256 | Self::HS384 | Self::HS512 => KeyType::Secret,
            Self::RS256 | Self::RS384 | Self::RS512 | Self::PS256 | Self::PS384 | Self::PS512 => {
                KeyType::Rsa
            }
            Self::ES256 => KeyType::P256,
            Self::ES384 => KeyType::P384,
            Self::ES512 => KeyType::P521,
            Self::EdDSA => KeyType::Ed25519,
        }
    }

    /// Returns whether anybody who has a token can rewrite its signature into another valid one.
    ///
    /// If an ECDSA signature (r, s) is valid, so is (r, n - s). A MAC and an RSA signature are a single
    /// number, accepted only at full length and below the modulus; the S of EdDSA must be below the order of
    /// the group (RFC 8032 §5.1.7).
    pub const fn is_malleable(self) -> bool {
        match self {
            Self::ES256 | Self::ES384 | Self::ES512 => true,
            Self::HS256
            | Self::HS384
            | Self::HS512
            | Self::RS256
            | Self::RS384
            | Self::RS512
            | Self::PS256
            | Self::PS384
            | Self::PS512
            | Self::EdDSA => false,
        }
    }

    /// Returns the minimum length of an HMAC secret, which is the length of the hash output (RFC 7518 §3.2).
    pub(super) const fn min_secret_bytes(self) -> usize {
        match self {
            Self::HS384 => 48,
            Self::HS512 => 64,
            _ => 32,
        }
    }

    /// Returns the algorithm as `jsonwebtoken` defines it; `None` for ES512, which it does not support.
    pub(super) const fn to_library(self) -> Option<jwt::Algorithm> {
        Some(match self {
            Self::HS256 => jwt::Algorithm::HS256,
            Self::HS384 => jwt::Algorithm::HS384,
            Self::HS512 => jwt::Algorithm::HS512,
            Self::RS256 => jwt::Algorithm::RS256,
            Self::RS384 => jwt::Algorithm::RS384,
            Self::RS512 => jwt::Algorithm::RS512,
            Self::PS256 => jwt::Algorithm::PS256,
            Self::PS384 => jwt::Algorithm::PS384,
            Self::PS512 => jwt::Algorithm::PS512,
            Self::ES256 => jwt::Algorithm::ES256,
            Self::ES384 => jwt::Algorithm::ES384,
            Self::ES512 => return None,
            Self::EdDSA => jwt::Algorithm::EdDSA,
        })
    }
}
