//! Tests of the module as a whole: what is accepted, what is refused and why, and what the cache must never
//! do.

mod accepted;
mod cache;
mod interop;
mod keys;
mod malleable;
mod negative;
mod profile;
mod properties;
mod shapes;
mod signer;
mod thumbprint;
mod token_types;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::clock::Timestamp;

use super::algorithm::Algorithm;
use super::error::VerifyError;
use super::issuer::{Issuer, IssuerProfile, TokenForm};
use super::jwk;
use super::key::KeySet;
use super::rejection::Rejection;
use super::verifier::{Verifier, install_crypto};
use signer::{ALGORITHMS, Signer, b64};

pub(crate) const ISS: &str = "https://auth.shop.example";
/// The current time in the tests.
const NOW: i64 = 1_800_000_000;
const LEEWAY: i64 = 30;

/// Why a token was refused, whichever claim is at fault.
fn reason<T>(verdict: Result<T, VerifyError>) -> Option<Rejection> {
    match verdict.err()? {
        VerifyError::Rejected(refusal) => Some(refusal.reason),
        other => unreachable!("{other:?}"),
    }
}

pub(crate) fn now() -> Timestamp {
    Timestamp::from_secs(NOW)
}

fn at(offset: i64) -> Timestamp {
    Timestamp::from_secs(NOW + offset)
}

/// A profile that accepts every algorithm.
pub(crate) fn profile() -> IssuerProfile {
    IssuerProfile {
        name: Arc::from("shop"),
        issuer: Some(ISS.to_owned()),
        audiences: vec!["shop".to_owned()],
        algorithms: Algorithm::ALL.to_vec(),
        leeway: Duration::from_secs(30),
        exact_exp: Vec::new(),
        ..IssuerProfile::default()
    }
}

fn key_set(jwks: &[Value]) -> KeySet {
    let json = json!({ "keys": jwks }).to_string();
    jwk::parse_set(json.as_bytes(), &Algorithm::ALL).unwrap().0
}

/// One key of each kind; its kid is the name of the kind.
pub(crate) fn all_keys() -> KeySet {
    let of = |alg: &str, kid: &str| Signer::of(alg).jwk(Some(kid));
    key_set(&[
        of("HS256", "secret"),
        of("RS256", "rsa"),
        of("ES256", "p256"),
        of("ES384", "p384"),
        of("ES512", "p521"),
        of("EdDSA", "ed25519"),
    ])
}

fn kid_for(algorithm: &str) -> &'static str {
    match algorithm {
        "ES256" => "p256",
        "ES384" => "p384",
        "ES512" => "p521",
        "EdDSA" => "ed25519",
        hmac if hmac.starts_with("HS") => "secret",
        _ => "rsa",
    }
}

fn issuer_with(profile: IssuerProfile, keys: KeySet) -> Arc<Issuer> {
    install_crypto().unwrap();
    Arc::new(Issuer::new(profile, keys))
}

fn verifier_with(profile: IssuerProfile, keys: KeySet) -> Verifier {
    Verifier::new([issuer_with(profile, keys)])
}

pub(crate) fn verifier() -> Verifier {
    verifier_with(profile(), all_keys())
}

/// Valid claims.
pub(crate) fn claims() -> Map<String, Value> {
    let claims = json!({
        "iss": ISS, "aud": "shop", "sub": "alice", "jti": "t1",
        "iat": NOW - 10, "nbf": NOW - 10, "exp": NOW + 600,
    });
    claims.as_object().unwrap().clone()
}

fn claims_but(claim: &str, value: Value) -> String {
    let mut claims = claims();
    claims.insert(claim.to_owned(), value);
    Value::Object(claims).to_string()
}

fn claims_without(claim: &str) -> String {
    let mut claims = claims();
    claims.remove(claim);
    Value::Object(claims).to_string()
}

fn header(algorithm: &str) -> String {
    json!({ "alg": algorithm, "typ": "JWT", "kid": kid_for(algorithm) }).to_string()
}

/// A token that is valid except possibly for its claims.
fn token(algorithm: &str, claims: &str) -> String {
    Signer::of(algorithm).token(algorithm, &header(algorithm), claims)
}

fn good_token(algorithm: &str) -> String {
    token(algorithm, &Value::Object(claims()).to_string())
}

/// Helpers for the tests of other modules.
pub(crate) mod kit {
    use serde_json::{Value, json};

    pub(crate) use super::signer::Signer;
    use super::signer::b64;
    pub(crate) use super::{ISS, all_keys, claims, now, profile, verifier};

    /// A valid token, signed with this key and naming this kid.
    pub(crate) fn token_of(key: &Signer, algorithm: &str, kid: &str) -> String {
        let header = json!({ "alg": algorithm, "kid": kid }).to_string();
        key.token(
            algorithm,
            &header,
            &Value::Object(super::claims()).to_string(),
        )
    }

    /// A token that is valid except for its signature, which is forged.
    pub(crate) fn unsigned(algorithm: &str, kid: &str) -> String {
        let header = json!({ "alg": algorithm, "kid": kid }).to_string();
        let claims = Value::Object(super::claims()).to_string();
        let (header, claims) = (b64(header.as_bytes()), b64(claims.as_bytes()));
        format!("{header}.{claims}.{}", b64(&[0; 64]))
    }
}
