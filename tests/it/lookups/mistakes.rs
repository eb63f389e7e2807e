//! Lookups that are refused, each with its place and with what to do.

use jsonwebtoken::Algorithm;

use crate::config::{mistakes, place};
use crate::support::{Config, Scratch, SigningKey};

const REDIS: &str = "redis: { url: \"redis://127.0.0.1:1/0\" }";

/// Expects one mistake, in the line of the lookup.
async fn one(algorithm: Algorithm, lookup: &str, path: &str, message: &str) {
    let scratch = Scratch::new();
    let key = SigningKey::generate(algorithm);
    let config = Config::trusting(&key, &scratch).store(REDIS);
    let yaml = config
        .revocation("lookups:")
        .revocation(&format!("  - {lookup}"))
        .yaml();
    let found = mistakes(&scratch, &yaml).await;
    assert_eq!(found.len(), 1, "{lookup}: {found:?}");
    let start = format!("{}revocation.lookups.0{path}: ", place(&yaml, lookup));
    assert!(found[0].starts_with(&start), "{found:?}");
    assert!(found[0].contains(message), "{found:?}");
}

#[tokio::test]
async fn a_lookup_that_makes_no_sense_is_refused() {
    for (lookup, path, message) in [
        ("{ match: exists }", "", "needs either `preset` or `key`"),
        ("{ preset: higress, key: \"{jti}\" }", "", "needs either"),
        (
            "{ preset: hihgress }",
            ".preset",
            "there are flask-jwt-extended,",
        ),
        (
            "{ key: \"s:{sub}\", match: { equals: [\"{token}\"] } }",
            ".match.equals",
            "nothing is put in for it",
        ),
        (
            "{ key: \"s:{sub}\", match: { equals: [a, \"x-{jti}\"] } }",
            ".match.equals",
            "nothing is put in for it",
        ),
        (
            "{ preset: higress, match: exists }",
            ".match",
            "a part of the preset",
        ),
        (
            "{ preset: higress, missing: revoked }",
            ".missing",
            "a part of",
        ),
        ("{ preset: jwtblock, prefix: x }", ".prefix", "has none"),
        (
            "{ preset: laravel-jwt-auth }",
            ".prefix",
            "missing: what Laravel",
        ),
        ("{ key: \"\" }", ".key", "empty"),
        ("{ key: blacklist }", ".key", "the same key for every token"),
        ("{ key: \"{jit}\" }", ".key", "no variable `{jit}`"),
        ("{ key: \"{jti\" }", ".key", "not closed"),
        ("{ key: \"revoxy:x:{jti}\" }", ".key", "always looked up"),
        (
            "{ key: \"{jti}\", prefix: a }",
            ".prefix",
            "goes with `preset`",
        ),
        (
            "{ key: \"{jti}\", missing: revoked }",
            ".match",
            "say `match: never`",
        ),
        (
            "{ key: \"{jti}\", match: never }",
            ".match",
            "for allow-lists",
        ),
        (
            "{ key: \"{jti}\", match: { equals: [] } }",
            ".match",
            "no value",
        ),
        (
            "{ key: r, match: { member: x } }",
            ".match.member",
            "same member",
        ),
        ("{ key: \"{jti}\", issuers: [] }", ".issuers", "empty"),
        (
            "{ key: \"{jti}\", issuers: [nobody] }",
            ".issuers.0",
            "no issuer has",
        ),
        ("{ key: \"{jti}\", mtach: exists }", ".mtach", "unknown key"),
    ] {
        one(Algorithm::EdDSA, lookup, path, message).await;
    }
    let set = "{ key: r, match: { member: \"{jti}\" }, missing: revoked }";
    one(Algorithm::EdDSA, set, ".match", "cannot be an allow-list").await;
}

#[tokio::test]
async fn a_key_of_the_token_s_text_is_refused_where_signatures_have_a_twin() {
    for (lookup, path) in [
        ("{ preset: jwtblock }", ".preset"),
        ("{ preset: spring-raw-token }", ".preset"),
        ("{ key: \"bl:{token}\" }", ".key"),
        ("{ key: \"bl:{token_sha256_base64url}\" }", ".key"),
        ("{ key: \"bl:{signature}\" }", ".key"),
        ("{ key: r, match: { member: \"{token}\" } }", ".key"),
    ] {
        one(
            Algorithm::ES256,
            lookup,
            path,
            "the issuer shop signs with ES256",
        )
        .await;
        one(Algorithm::ES256, lookup, path, "use `{jti}`").await;
    }
}

#[tokio::test]
async fn a_key_of_the_token_s_text_is_refused_where_envoy_verifies() {
    let scratch = Scratch::new();
    let key = SigningKey::generate(Algorithm::RS256);
    let yaml = Config::trusting(&key, &scratch)
        .store(REDIS)
        .revocation("lookups:")
        .revocation("  - { preset: jwtblock, issuers: [mesh, shop] }")
        .yaml();
    let issuer = "issuers:\n  - { name: mesh, issuer: mesh, verification: envoy_metadata, metadata_key: jwt }\n";
    let yaml = yaml.replace("issuers:\n", issuer);
    let found = mistakes(&scratch, &yaml).await;
    assert_eq!(found.len(), 1, "{found:?}");
    let message = "the issuer mesh has its tokens verified by Envoy";
    assert!(found[0].contains(message), "{found:?}");
}

#[tokio::test]
async fn lookups_are_refused_where_no_application_could_write() {
    let scratch = Scratch::new();
    let key = SigningKey::generate(Algorithm::RS256);
    let yaml = Config::trusting(&key, &scratch)
        .revocation("lookups: [{ preset: higress }]")
        .yaml();
    let found = mistakes(&scratch, &yaml).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].contains("only Redis holds keys of applications"),
        "{found:?}"
    );
}
