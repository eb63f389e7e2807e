//! JSON Web Key Sets (RFC 7517, RFC 8037), read key by key.
//!
//! A set may contain keys that we cannot use (another algorithm, an unknown curve, encryption keys): they are
//! skipped with a note, and the others remain usable.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde_json::{Map, Value};

use super::algorithm::{Algorithm, KeyType};
use super::key::{KeySet, VerificationKey};

/// The maximum number of keys in a set. No real issuer has more.
const MAX_KEYS: usize = 1000;

/// Parses a key set. Returns the usable keys and, for each key that is left out, the reason.
pub fn parse_set(json: &[u8], allowed: &[Algorithm]) -> Result<(KeySet, Vec<String>), String> {
    let set: Value = serde_json::from_slice(json).map_err(|e| format!("not JSON: {e}"))?;
    let members = set
        .get("keys")
        .and_then(Value::as_array)
        .ok_or("not a JWK set: no array `keys` (RFC 7517 §5)")?;
    if members.len() > MAX_KEYS {
        return Err(format!(
            "{} keys, at most {MAX_KEYS} are read",
            members.len()
        ));
    }
    let (mut keys, mut skipped) = (Vec::<VerificationKey>::new(), Vec::new());
    for (index, member) in members.iter().enumerate() {
        let key = match member.as_object() {
            Some(member) => parse_key(member, allowed),
            None => Err("not an object".to_owned()),
        };
        match key {
            Ok(key) if is_shadowed(&keys, &key) => {
                skipped.push(format!(
                    "key {index}: the same kid and algorithm as an earlier key"
                ));
            }
            Ok(key) => keys.push(key),
            Err(why) => skipped.push(format!("key {index}: {why}")),
        }
    }
    if keys.is_empty() {
        let why = if skipped.is_empty() {
            "the set is empty".to_owned()
        } else {
            skipped.join("; ")
        };
        return Err(format!("no usable key: {why}"));
    }
    Ok((KeySet::new(keys), skipped))
}

fn is_shadowed(keys: &[VerificationKey], key: &VerificationKey) -> bool {
    keys.iter().any(|k| {
        k.kid().is_some()
            && k.kid() == key.kid()
            && Algorithm::ALL
                .into_iter()
                .any(|a| k.serves(a) && key.serves(a))
    })
}

fn parse_key(jwk: &Map<String, Value>, allowed: &[Algorithm]) -> Result<VerificationKey, String> {
    if text(jwk, "use")?.is_some_and(|u| u != "sig") {
        return Err("`use` is not `sig`".to_owned());
    }
    if let Some(operations) = jwk.get("key_ops")
        && !operations
            .as_array()
            .is_some_and(|ops| ops.iter().any(|o| o == "verify"))
    {
        return Err("`key_ops` has no `verify`".to_owned());
    }
    let allowed = match text(jwk, "alg")? {
        None => allowed.to_vec(),
        Some(name) => {
            let algorithm =
                Algorithm::from_name(name).ok_or_else(|| "`alg` is not supported".to_owned())?;
            allowed
                .iter()
                .copied()
                .filter(|a| *a == algorithm)
                .collect()
        }
    };
    let kid = text(jwk, "kid")?.map(str::to_owned);
    if required(jwk, "kty")? == "oct" {
        return VerificationKey::of_secret(kid, &bytes(jwk, "k")?, &allowed);
    }
    let (key_type, key) = material(jwk)?;
    VerificationKey::new(kid, key_type, key, &allowed)
}

fn material(jwk: &Map<String, Value>) -> Result<(KeyType, DecodingKey), String> {
    match (required(jwk, "kty")?, text(jwk, "crv")?) {
        ("RSA", _) => {
            let (n, e) = (bytes(jwk, "n")?, bytes(jwk, "e")?);
            Ok((KeyType::Rsa, DecodingKey::from_rsa_raw_components(&n, &e)))
        }
        ("EC", Some(curve @ ("P-256" | "P-384" | "P-521"))) => {
            let key_type = match curve {
                "P-256" => KeyType::P256,
                "P-384" => KeyType::P384,
                _ => KeyType::P521,
            };
            let (x, y) = (bytes(jwk, "x")?, bytes(jwk, "y")?);
            // An uncompressed point (SEC 1 §2.3.3), the form that the library verifies with.
            Ok((
                key_type,
                DecodingKey::from_ec_der(&[&[4][..], &x, &y].concat()),
            ))
        }
        ("OKP", Some("Ed25519")) => Ok((
            KeyType::Ed25519,
            DecodingKey::from_ed_der(&bytes(jwk, "x")?),
        )),
        _ => Err("`kty` or `crv` is not supported".to_owned()),
    }
}

fn bytes(jwk: &Map<String, Value>, member: &str) -> Result<Vec<u8>, String> {
    URL_SAFE_NO_PAD
        .decode(required(jwk, member)?)
        .map_err(|_| format!("`{member}` is not base64url"))
}

fn required<'k>(jwk: &'k Map<String, Value>, member: &str) -> Result<&'k str, String> {
    text(jwk, member)?.ok_or_else(|| format!("`{member}` is missing"))
}

fn text<'k>(jwk: &'k Map<String, Value>, member: &str) -> Result<Option<&'k str>, String> {
    match jwk.get(member) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("`{member}` is not a string")),
    }
}
