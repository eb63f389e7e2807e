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
use super::testing::{
    ALGORITHMS, ISS, NOW, Signer, all_keys, b64, claims, issuer_with, key_set, now, profile,
    verifier, verifier_with,
};
use super::verifier::{Verifier, install_crypto};

const LEEWAY: i64 = 30;

/// Why a token was refused, whichever claim is at fault.
fn reason<T>(verdict: Result<T, VerifyError>) -> Option<Rejection> {
    match verdict.err()? {
        VerifyError::Rejected(refusal) => Some(refusal.reason),
        other => unreachable!("{other:?}"),
    }
}

fn at(offset: i64) -> Timestamp {
    Timestamp::from_secs(NOW + offset)
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
