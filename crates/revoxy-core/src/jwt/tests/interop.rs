//! Tests with tokens made by other libraries (`tests/vectors/generate` makes them anew).

use super::*;
use crate::jwt::TokenType;

#[derive(serde::Deserialize)]
struct Vectors {
    library: String,
    now: i64,
    vectors: Vec<Vector>,
}

#[derive(serde::Deserialize)]
struct Vector {
    algorithm: String,
    r#type: String,
    jwk: Value,
    token: String,
}

fn check(json: &str, algorithms: &[&str]) {
    let file: Vectors = serde_json::from_str(json).unwrap();
    let mut seen = Vec::new();
    for vector in file.vectors {
        let name = format!("{} {}", file.library, vector.algorithm);
        let mut profile = profile();
        profile.algorithms = vec![serde_json::from_value(json!(vector.algorithm)).unwrap()];
        let verifier = verifier_with(profile, key_set(&[vector.jwk]));
        let now = Timestamp::from_secs(file.now);
        let claims = verifier.verify(&vector.token, now);
        assert!(claims.is_ok(), "{name}: {claims:?}");
        let claims = claims.unwrap();
        let expected = match vector.r#type.as_str() {
            "refresh" => TokenType::Refresh,
            _ => TokenType::Access,
        };
        assert_eq!(claims.token_type(), expected, "{name}");
        assert_eq!(claims.subject(), Some("alice"), "{name}");
        assert!(claims.token_id().is_some(), "{name}");
        let later = Timestamp::from_secs(file.now + 3600 + LEEWAY + 1);
        assert!(verifier.verify(&vector.token, later).is_err(), "{name}");
        seen.push(vector.algorithm);
    }
    seen.dedup();
    assert_eq!(seen, algorithms, "{}", file.library);
}

#[test]
fn tokens_of_pyjwt_are_accepted() {
    let json = include_str!("../../../../../tests/vectors/pyjwt.json");
    check(json, &ALGORITHMS);
}

#[test]
fn tokens_of_flask_jwt_extended_are_accepted() {
    let json = include_str!("../../../../../tests/vectors/flask-jwt-extended.json");
    check(json, &["HS256", "HS512", "RS256", "ES256"]);
}

#[test]
fn tokens_of_jose_are_accepted() {
    let json = include_str!("../../../../../tests/vectors/jose.json");
    check(json, &ALGORITHMS);
}

#[test]
fn tokens_of_jsonwebtoken_are_accepted() {
    let json = include_str!("../../../../../tests/vectors/jsonwebtoken.json");
    // This library does not support EdDSA.
    check(json, &ALGORITHMS[..12]);
}
