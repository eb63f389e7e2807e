//! Verification keys: each key is bound to the algorithms that it may be used for, whatever `alg` a token
//! names.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::signature::{ECDSA_P521_SHA512_FIXED, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;

use super::algorithm::{Algorithm, KeyType};
use super::rejection::Rejection;
use super::thumbprint::{rsa_components, thumbprint};

/// The minimum size of an RSA modulus in bits (RFC 7518 §3.3).
const MIN_RSA_BITS: usize = 2048;
/// The maximum size of an RSA modulus that the cryptographic library verifies with.
const MAX_RSA_BITS: usize = 8192;

/// One key, and the algorithms that it may be used for.
#[derive(Clone)]
pub struct VerificationKey {
    kid: Option<String>,
    /// Computed once, when the key is loaded.
    thumbprint: Option<Arc<str>>,
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

impl fmt::Debug for VerificationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerificationKey")
            .field("kid", &self.kid)
            .field("thumbprint", &self.thumbprint)
            .field("algorithms", &self.algorithms)
            .finish_non_exhaustive()
    }
}

impl VerificationKey {
    /// Binds `key` to those of the `allowed` algorithms that it can serve. If there are none, the error
    /// states why.
    pub(super) fn new(
        kid: Option<String>,
        key_type: KeyType,
        key: DecodingKey,
        allowed: &[Algorithm],
    ) -> Result<Self, String> {
        let algorithms: Vec<_> = allowed
            .iter()
            .copied()
            .filter(|a| a.key_type() == key_type)
            .collect();
        if algorithms.is_empty() {
            return Err(format!(
                "a {key_type:?} key serves none of the issuer's algorithms ({})",
                names(allowed)
            ));
        }
        check_strength(key_type, &key, &algorithms)?;
        Ok(Self {
            kid,
            thumbprint: thumbprint(key_type, &key),
            algorithms,
            key,
        })
    }

    /// Binds a secret to those of the `allowed` algorithms for which it is long enough.
    pub(super) fn of_secret(
        kid: Option<String>,
        secret: &[u8],
        allowed: &[Algorithm],
    ) -> Result<Self, String> {
        let long_enough = |a: &&Algorithm| secret.len() >= a.min_secret_bytes();
        let hmac = || allowed.iter().filter(|a| a.key_type() == KeyType::Secret);
        let served: Vec<_> = hmac().filter(long_enough).copied().collect();
        // If the secret serves none, `new` is called with all `allowed` algorithms, so that its error states
        // why.
        let algorithms = if served.is_empty() { allowed } else { &served };
        let key = DecodingKey::from_secret(secret);
        Self::new(kid, KeyType::Secret, key, algorithms)
    }

    /// Binds a secret that may be too short for every algorithm (RFC 7518 §3.2): anybody who has a token can
    /// try to guess such a secret offline. An empty secret is refused.
    pub(super) fn of_any_secret(secret: &[u8], allowed: &[Algorithm]) -> Result<Self, String> {
        let hmac = |a: &&Algorithm| a.key_type() == KeyType::Secret;
        let algorithms: Vec<_> = allowed.iter().filter(hmac).copied().collect();
        if algorithms.is_empty() || secret.is_empty() {
            return Self::of_secret(None, secret, allowed);
        }
        Ok(Self {
            kid: None,
            thumbprint: None,
            algorithms,
            key: DecodingKey::from_secret(secret),
        })
    }

    pub(super) fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Returns the RFC 7638 thumbprint of a public key; `None` for a secret.
    pub(super) fn thumbprint(&self) -> Option<&Arc<str>> {
        self.thumbprint.as_ref()
    }

    /// Returns the names of the algorithms that it serves.
    pub(super) fn algorithms(&self) -> String {
        names(&self.algorithms)
    }

    pub(super) fn serves(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }

    /// Returns whether `signature` (base64url, as spelled in the token) is this key's signature of
    /// `signing_input`.
    pub(super) fn verifies(
        &self,
        signing_input: &str,
        signature: &str,
        algorithm: Algorithm,
    ) -> bool {
        if !self.serves(algorithm) {
            return false;
        }
        let message = signing_input.as_bytes();
        let verified = match algorithm.to_library() {
            Some(known) => jsonwebtoken::crypto::verify(signature, message, &self.key, known),
            None => return self.verifies_es512(message, signature),
        };
        verified.unwrap_or(false)
    }

    /// Verifies ES512 (RFC 7518 §3.4), which `jsonwebtoken` does not offer.
    fn verifies_es512(&self, message: &[u8], signature: &str) -> bool {
        let (Ok(point), Ok(signature)) = (
            self.key.try_get_as_bytes(),
            URL_SAFE_NO_PAD.decode(signature),
        ) else {
            return false;
        };
        UnparsedPublicKey::new(&ECDSA_P521_SHA512_FIXED, point)
            .verify(message, &signature)
            .is_ok()
    }
}

/// Refuses keys that are too short to be safe, according to RFC 7518.
fn check_strength(
    key_type: KeyType,
    key: &DecodingKey,
    algorithms: &[Algorithm],
) -> Result<(), String> {
    let bytes = |what: &str| {
        key.try_get_as_bytes()
            .map(<[u8]>::len)
            .map_err(|_| format!("not a {what} key"))
    };
    match key_type {
        KeyType::Secret => {
            let have = bytes("secret")?;
            let need = algorithms
                .iter()
                .map(|a| a.min_secret_bytes())
                .max()
                .unwrap_or(32);
            if have < need {
                return Err(format!(
                    "the secret has {have} bytes, {} needs at least {need} (RFC 7518 §3.2); \
                     make one with `openssl rand -hex {need}`",
                    names(algorithms)
                ));
            }
        }
        KeyType::Rsa => {
            let have = rsa_modulus_bits(key)?;
            if !(MIN_RSA_BITS..=MAX_RSA_BITS).contains(&have) {
                return Err(format!(
                    "the RSA key has {have} bits, it must have {MIN_RSA_BITS} to {MAX_RSA_BITS} (RFC 7518 §3.3)"
                ));
            }
        }
        KeyType::P256 => expect_length(bytes("P-256")?, 65, "P-256")?,
        KeyType::P384 => expect_length(bytes("P-384")?, 97, "P-384")?,
        KeyType::P521 => expect_length(bytes("P-521")?, 133, "P-521")?,
        KeyType::Ed25519 => expect_length(bytes("Ed25519")?, 32, "Ed25519")?,
    }
    Ok(())
}

fn expect_length(have: usize, need: usize, curve: &str) -> Result<(), String> {
    if have == need {
        Ok(())
    } else {
        Err(format!("not a {curve} public key"))
    }
}

/// Returns the significant bits: leading zeros do not make a key stronger.
fn rsa_modulus_bits(key: &DecodingKey) -> Result<usize, String> {
    let (modulus, _) = rsa_components(key).ok_or("not an RSA public key")?;
    let zeros = modulus.iter().take_while(|b| **b == 0).count();
    let leading = modulus.get(zeros).map_or(0, |b| b.leading_zeros());
    Ok((modulus.len() - zeros) * 8 - leading as usize)
}

fn names(algorithms: &[Algorithm]) -> String {
    let names: Vec<_> = algorithms.iter().map(|a| a.as_str()).collect();
    names.join(", ")
}

/// The keys of one issuer.
#[derive(Clone, Debug, Default)]
pub struct KeySet {
    keys: Vec<VerificationKey>,
}

impl KeySet {
    /// Makes a set of `keys`. If two keys have the same `kid` and a common algorithm, the caller has already
    /// left out the second.
    pub(super) fn new(keys: Vec<VerificationKey>) -> Self {
        Self { keys }
    }

    /// Returns the number of keys.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Returns all keys.
    pub(super) fn all(&self) -> impl Iterator<Item = &VerificationKey> {
        self.keys.iter()
    }

    /// Returns whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Returns the key for a token with this `kid` and `algorithm`.
    ///
    /// A key without a `kid` (a PEM file, a secret) serves tokens with any `kid`. A token without a `kid` is
    /// verified only if exactly one key is applicable: trying all keys would let a token choose how much work
    /// it causes.
    pub(super) fn select(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<&VerificationKey, Rejection> {
        let usable = || self.keys.iter().filter(|k| k.serves(algorithm));
        let named = kid.and_then(|kid| usable().find(|k| k.kid() == Some(kid)));
        if let Some(key) = named {
            return Ok(key);
        }
        let mut candidates = usable().filter(|k| kid.is_none() || k.kid().is_none());
        match (candidates.next(), candidates.next()) {
            (Some(key), None) => Ok(key),
            _ => Err(Rejection::UnknownKey),
        }
    }
}
