//! Thumbprints of public keys (RFC 7638): an identifier that is computed from the key itself, and is
//! independent of its publisher and its `kid`.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk};

use crate::digest::sha256;

use super::algorithm::KeyType;

/// Returns the SHA-256 thumbprint of a public key in base64url, as in `jkt` of RFC 7800 and RFC 9449.
///
/// A secret has none: anybody who could read the store could try secrets against it (RFC 7638 §7).
pub(super) fn thumbprint(key_type: KeyType, key: &DecodingKey) -> Option<Arc<str>> {
    let members = required_members(key_type, key)?;
    Some(URL_SAFE_NO_PAD.encode(sha256(members.as_bytes())).into())
}

/// Returns the members that define the key, sorted by name and without white space (RFC 7638 §3.2, RFC 8037
/// §2).
fn required_members(key_type: KeyType, key: &DecodingKey) -> Option<String> {
    let curve = match key_type {
        KeyType::Secret => return None,
        KeyType::Rsa => {
            let (n, e) = rsa_components(key)?;
            return Some(format!(
                r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#,
                integer(&e),
                integer(&n)
            ));
        }
        KeyType::Ed25519 => {
            let x = URL_SAFE_NO_PAD.encode(key.try_get_as_bytes().ok()?);
            return Some(format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#));
        }
        KeyType::P256 => "P-256",
        KeyType::P384 => "P-384",
        KeyType::P521 => "P-521",
    };
    // An uncompressed point (SEC 1 §2.3.3): 4, x, y.
    let (_, point) = key.try_get_as_bytes().ok()?.split_first()?;
    let (x, y) = point.split_at(point.len() / 2);
    let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
    Some(format!(
        r#"{{"crv":"{curve}","kty":"EC","x":"{x}","y":"{y}"}}"#
    ))
}

/// Returns modulus and exponent, big endian; `None` if the key is not an RSA key.
pub(super) fn rsa_components(key: &DecodingKey) -> Option<(Vec<u8>, Vec<u8>)> {
    let jwk = Jwk::from_decoding_key(key, Some(jsonwebtoken::Algorithm::RS256)).ok()?;
    let AlgorithmParameters::RSA(rsa) = jwk.algorithm else {
        return None;
    };
    let decoded = |text: &str| URL_SAFE_NO_PAD.decode(text).ok();
    Some((decoded(&rsa.n)?, decoded(&rsa.e)?))
}

/// Encodes a number in as few bytes as it needs (RFC 7518 §2, Base64urlUInt): leading zeros must not change
/// the thumbprint.
fn integer(bytes: &[u8]) -> String {
    let zeros = bytes.iter().take_while(|b| **b == 0).count();
    URL_SAFE_NO_PAD.encode(&bytes[zeros..])
}
