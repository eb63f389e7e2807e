//! What verifying costs: a refusal before any cryptography, each algorithm beside the bare library, a cache hit.
//!
//! `cargo bench --bench verification`. Compare within one run; the machine decides the rest.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a benchmark that cannot run may end in the shortest way"
)]

#[allow(
    missing_docs,
    clippy::unwrap_used,
    dead_code,
    reason = "shared with the tests"
)]
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use criterion::{Criterion, criterion_group, criterion_main};
use revoxy::clock::Timestamp;
use revoxy::jwt::{
    Algorithm, CachingVerifier, Issuer, IssuerProfile, Verifier, install_crypto, parse_set,
};
use revoxy::revocation::TokenKeys;
use revoxy_core::jwt::testing::{ALGORITHMS, Signer};
use serde_json::json;

const NOW: i64 = 1_800_000_000;

fn algorithms() -> Vec<Algorithm> {
    let parse = |name: &str| serde_json::from_value(json!(name)).unwrap();
    ALGORITHMS.into_iter().map(parse).collect()
}

fn verifier() -> Verifier {
    install_crypto().unwrap();
    let allowed = algorithms();
    let kinds = ["HS256", "RS256", "ES256", "ES384", "ES512", "EdDSA"];
    let keys: Vec<_> = kinds.iter().map(|a| Signer::of(a).jwk(None)).collect();
    let jwks = json!({ "keys": keys }).to_string();
    let (keys, _) = parse_set(jwks.as_bytes(), &allowed).unwrap();
    let profile = IssuerProfile {
        name: Arc::from("shop"),
        issuer: Some("https://auth.shop.example".to_owned()),
        audiences: vec!["shop".to_owned()],
        algorithms: allowed,
        leeway: Duration::from_secs(30),
        ..IssuerProfile::default()
    };
    Verifier::new([Arc::new(Issuer::new(profile, keys))])
}

fn token(algorithm: &str, issuer: &str) -> String {
    let header = json!({ "alg": algorithm, "typ": "JWT" }).to_string();
    let claims = json!({
        "iss": issuer, "aud": "shop", "sub": "3f1c7a52-6c1e-4a35-9d1f-0b5f0f8e9a11",
        "jti": "0d9b2b0e-6b1f-4b6e-8f43-2f8a8f1d9c55", "sid": "f3b1", "azp": "web",
        "scope": "openid profile email", "iat": NOW - 10, "exp": NOW + 600,
        "realm_access": { "roles": ["user", "customer"] },
    });
    Signer::of(algorithm).token(algorithm, &header, &claims.to_string())
}

fn good(algorithm: &str) -> String {
    token(algorithm, "https://auth.shop.example")
}

fn refusals(c: &mut Criterion) {
    let verifier = verifier();
    let now = Timestamp::from_secs(NOW);
    let cases = [
        ("garbage", "garbage".to_owned()),
        ("too_large", "A".repeat(64 << 10)),
        ("unknown_issuer", token("RS256", "https://evil.example")),
    ];
    let mut group = c.benchmark_group("refused_before_cryptography");
    for (name, token) in cases {
        group.bench_function(name, |b| {
            b.iter(|| verifier.verify(black_box(&token), now).is_err())
        });
    }
    group.finish();
}

fn algorithms_beside_the_library(c: &mut Criterion) {
    let verifier = verifier();
    let now = Timestamp::from_secs(NOW);
    for algorithm in ALGORITHMS {
        let token = good(algorithm);
        let (input, encoded) = token.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(encoded).unwrap();
        assert!(verifier.verify(&token, now).is_ok());
        let mut group = c.benchmark_group(algorithm);
        group.bench_function("whole", |b| {
            b.iter(|| verifier.verify(black_box(&token), now).is_ok())
        });
        let bare = bare(algorithm);
        group.bench_function("bare", |b| {
            b.iter(|| bare(black_box(input.as_bytes()), black_box(&signature)))
        });
        group.finish();
    }
}

type Bare = Box<dyn Fn(&[u8], &[u8]) -> bool>;

/// The verification of a signature by the cryptographic library, and nothing else.
fn bare(algorithm: &str) -> Bare {
    if let Signer::Secret(secret) = Signer::of(algorithm) {
        let hash = match algorithm {
            "HS384" => hmac::HMAC_SHA384,
            "HS512" => hmac::HMAC_SHA512,
            _ => hmac::HMAC_SHA256,
        };
        let key = hmac::Key::new(hash, secret);
        return Box::new(move |input, signature| hmac::verify(&key, input, signature).is_ok());
    }
    let verification: &'static dyn VerificationAlgorithm = match algorithm {
        "RS256" => &signature::RSA_PKCS1_2048_8192_SHA256,
        "RS384" => &signature::RSA_PKCS1_2048_8192_SHA384,
        "RS512" => &signature::RSA_PKCS1_2048_8192_SHA512,
        "PS256" => &signature::RSA_PSS_2048_8192_SHA256,
        "PS384" => &signature::RSA_PSS_2048_8192_SHA384,
        "PS512" => &signature::RSA_PSS_2048_8192_SHA512,
        "ES256" => &signature::ECDSA_P256_SHA256_FIXED,
        "ES384" => &signature::ECDSA_P384_SHA384_FIXED,
        "ES512" => &signature::ECDSA_P521_SHA512_FIXED,
        _ => &signature::ED25519,
    };
    let key = UnparsedPublicKey::new(verification, Signer::of(algorithm).public_key());
    Box::new(move |input, signature| key.verify(input, signature).is_ok())
}

fn cache(c: &mut Criterion) {
    let now = Timestamp::from_secs(NOW);
    let token = good("RS256");
    let mut group = c.benchmark_group("cache");
    group.bench_function("sha256_alone", |b| {
        b.iter(|| digest::digest(&digest::SHA256, black_box(token.as_bytes())))
    });
    let caching = CachingVerifier::new(Arc::new(verifier()), 65_536, |claims, _| {
        TokenKeys::of(claims)
    });
    assert!(caching.verify(&token, now).is_ok());
    group.bench_function("hit", |b| {
        b.iter(|| caching.verify(black_box(&token), now).is_ok())
    });
    let without = CachingVerifier::new(Arc::new(verifier()), 0, |claims, _| TokenKeys::of(claims));
    group.bench_function("none", |b| {
        b.iter(|| without.verify(black_box(&token), now).is_ok())
    });
    group.finish();
}

criterion_group!(benches, refusals, algorithms_beside_the_library, cache);
criterion_main!(benches);
