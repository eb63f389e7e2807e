//! Algorithms and key files: tokens signed with the configured key pass, any other is refused.

use jsonwebtoken::Algorithm;
use serde_json::json;

use crate::support::{Config, Revoxy, Scratch, SigningKey, Token};

const ALGORITHMS: [Algorithm; 4] = [
    Algorithm::HS256,
    Algorithm::RS256,
    Algorithm::ES256,
    Algorithm::EdDSA,
];

#[tokio::test]
async fn a_token_of_every_algorithm_verifies_with_a_key_file() {
    for algorithm in ALGORITHMS {
        let (scratch, key) = (Scratch::new(), SigningKey::generate(algorithm));
        let revoxy = Revoxy::start(&scratch, &Config::trusting(&key, &scratch)).await;
        let checks = revoxy.checks().await;
        let answer = checks.bearer(&Token::access("a").sign(&key)).await;
        assert!(answer.allows(), "{algorithm:?}: {answer:?}");

        let stranger = SigningKey::generate(algorithm);
        let answer = checks.bearer(&Token::access("a").sign(&stranger)).await;
        assert_eq!(answer.verdict(), (401, "bad_signature"), "{algorithm:?}");
    }
}

#[tokio::test]
async fn a_key_set_serves_every_algorithm_and_chooses_the_key_by_kid() {
    let (scratch, keys) = (Scratch::new(), ALGORITHMS.map(SigningKey::generate));
    let jwks: Vec<_> = keys.iter().map(|k| k.jwk(&k.name())).collect();
    let path = scratch.write("jwks.json", json!({ "keys": jwks }).to_string());
    let mut config = Config::trusting(&keys[0], &scratch);
    config.keys = format!("{{ jwks_file: {path:?} }}");
    config.algorithms = "HS256, RS256, ES256, EdDSA".to_owned();
    let revoxy = Revoxy::start(&scratch, &config).await;
    let checks = revoxy.checks().await;
    for key in &keys {
        let token = Token::access("a").header("kid", key.name());
        let answer = checks.bearer(&token.sign(key)).await;
        assert!(answer.allows(), "{}: {answer:?}", key.name());
        // One key only can be meant, so the kid may be left out, but not be another's.
        let answer = checks.bearer(&Token::access("a").sign(key)).await;
        assert!(answer.allows(), "{}: {answer:?}", key.name());
        let token = Token::access("a").header("kid", "nobody");
        let answer = checks.bearer(&token.sign(key)).await;
        assert_eq!(answer.verdict(), (401, "unknown_key"), "{}", key.name());
    }
    let keys = revoxy.metric("revoxy_jwks_keys{issuer=\"shop\"}").await;
    assert!((keys - 4.0).abs() < 0.1);
}

#[tokio::test]
async fn the_token_does_not_choose_the_algorithm() {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    let revoxy = Revoxy::start(&scratch, &Config::trusting(&key, &scratch)).await;
    let checks = revoxy.checks().await;

    let secret = SigningKey::generate(Algorithm::HS256);
    let answer = checks.bearer(&Token::access("a").sign(&secret)).await;
    assert_eq!(answer.verdict(), (401, "alg_not_allowed"));

    let token = Token::access("a").header("alg", "EdDSA").sign(&key);
    assert_eq!(
        checks.bearer(&token).await.verdict(),
        (401, "alg_not_allowed")
    );

    for none in ["none", "None", "NONE"] {
        let token = Token::access("a").header("alg", none);
        let unsigned = format!("{}.", token.signing_input());
        let answer = checks.bearer(&unsigned).await;
        assert_eq!(answer.verdict(), (401, "unsupported_token"), "{none}");
        let answer = checks.bearer(&token.sign(&key)).await;
        assert_eq!(answer.verdict(), (401, "unsupported_token"), "{none}");
    }
}

#[tokio::test]
async fn a_token_does_not_bring_its_own_key() {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    let revoxy = Revoxy::start(&scratch, &Config::trusting(&key, &scratch)).await;
    let stranger = SigningKey::generate(Algorithm::ES256);
    let token = Token::access("a").header("jwk", stranger.jwk("mine"));
    let answer = revoxy.checks().await.bearer(&token.sign(&stranger)).await;
    assert_eq!(answer.status, 401, "{answer:?}");
}
