//! Tokens, keys and a verifier for unit tests, of this crate and of others.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "only tests are built with this"
)]

mod signer;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::clock::Timestamp;

use super::algorithm::Algorithm;
use super::claims::VerifiedClaims;
use super::error::VerifyError;
use super::issuer::{Issuer, IssuerProfile};
use super::jwk;
use super::key::KeySet;
use super::key_wait::KeyWait;
use super::verifier::{Verifier, install_crypto};

pub use signer::{ALGORITHMS, Signer, b64};

/// The issuer of the tokens.
pub const ISS: &str = "https://auth.shop.example";
/// The current time in the tests.
pub(crate) const NOW: i64 = 1_800_000_000;

/// Returns the current time in the tests.
pub fn now() -> Timestamp {
    Timestamp::from_secs(NOW)
}

/// A profile that accepts every algorithm.
pub fn profile() -> IssuerProfile {
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

pub(crate) fn key_set(jwks: &[Value]) -> KeySet {
    let json = json!({ "keys": jwks }).to_string();
    jwk::parse_set(json.as_bytes(), &Algorithm::ALL).unwrap().0
}

/// One key of each kind; its kid is the name of the kind.
pub fn all_keys() -> KeySet {
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

pub(crate) fn issuer_with(profile: IssuerProfile, keys: KeySet) -> Arc<Issuer> {
    install_crypto().unwrap();
    Arc::new(Issuer::new(profile, keys))
}

pub(crate) fn verifier_with(profile: IssuerProfile, keys: KeySet) -> Verifier {
    Verifier::new([issuer_with(profile, keys)])
}

/// A verifier with all keys.
pub fn verifier() -> Verifier {
    verifier_with(profile(), all_keys())
}

/// Verifies a token regardless of its times, and waits for its key as a check may.
pub async fn await_keys(verifier: &Verifier, token: &str) -> Result<VerifiedClaims, VerifyError> {
    verifier.await_keys(token, now(), KeyWait::default()).await
}

/// Valid claims.
pub fn claims() -> Map<String, Value> {
    let claims = json!({
        "iss": ISS, "aud": "shop", "sub": "alice", "jti": "t1",
        "iat": NOW - 10, "nbf": NOW - 10, "exp": NOW + 600,
    });
    claims.as_object().unwrap().clone()
}

/// A valid token, signed with this key and naming this kid.
pub fn token_of(key: &Signer, algorithm: &str, kid: &str) -> String {
    let header = json!({ "alg": algorithm, "kid": kid }).to_string();
    key.token(algorithm, &header, &Value::Object(claims()).to_string())
}

/// A token that is valid except for its signature, which is forged.
pub fn unsigned(algorithm: &str, kid: &str) -> String {
    let header = json!({ "alg": algorithm, "kid": kid }).to_string();
    let claims = Value::Object(claims()).to_string();
    let (header, claims) = (b64(header.as_bytes()), b64(claims.as_bytes()));
    format!("{header}.{claims}.{}", b64(&[0; 64]))
}
