//! A signing key that has leaked is revoked, whatever its new owner writes into the headers of his tokens.

use jsonwebtoken::Algorithm;
use jsonwebtoken::jwk::{Jwk, ThumbprintHash};
use serde_json::json;

use crate::support::server::revoxy;
use crate::support::{Config, Redis, Revoxy, Scratch, SigningKey, Token, eventually};

const READS: [&str; 2] = ["read: view", "read: store"];

/// By another implementation than ours.
fn thumbprint(key: &SigningKey) -> String {
    let jwk: Jwk = serde_json::from_value(key.jwk("any")).unwrap();
    jwk.thumbprint(ThumbprintHash::SHA256).unwrap()
}

/// The reasons for these tokens, once the first is refused as revoked.
async fn reasons(revoxy: &Revoxy, tokens: &[&str]) -> Vec<String> {
    let checks = revoxy.checks().await;
    eventually("a token that is revoked", async || {
        (checks.bearer(tokens[0]).await.reason() == "revoked").then_some(())
    })
    .await;
    let mut reasons = Vec::new();
    for token in tokens {
        reasons.push(checks.bearer(token).await.reason().to_owned());
    }
    reasons
}

#[tokio::test]
async fn a_key_revoked_by_its_kid_is_revoked_for_tokens_that_leave_the_kid_out() {
    for read in READS {
        let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
        let redis = Redis::start(&scratch).await;
        let path = scratch.write("jwks.json", json!({ "keys": [key.jwk("k1")] }).to_string());
        let mut config = Config::trusting(&key, &scratch).store(redis.store());
        config.keys = format!("{{ jwks_file: {path:?} }}");
        let revoxy = Revoxy::start(&scratch, &config.revocation(read)).await;
        let named = Token::access("a").header("kid", "k1").sign(&key);
        let nameless = Token::access("b").sign(&key);
        let checks = revoxy.checks().await;
        for token in [&named, &nameless] {
            assert_eq!(checks.bearer(token).await.reason(), "ok");
        }
        let () = redis.run(&["SET", "revoxy:kid:shop:k1", "", "EX", "60"]);
        let reasons = reasons(&revoxy, &[&named, &nameless]).await;
        assert_eq!(reasons, ["revoked", "revoked"], "{read}");
    }
}

#[tokio::test]
async fn a_key_without_a_kid_is_revoked_by_its_thumbprint() {
    for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA] {
        for read in READS {
            let (scratch, key) = (Scratch::new(), SigningKey::generate(algorithm));
            let redis = Redis::start(&scratch).await;
            let config = Config::trusting(&key, &scratch).store(redis.store());
            let revoxy = Revoxy::start(&scratch, &config.revocation(read)).await;
            let named = Token::access("a").header("kid", "k1").sign(&key);
            let nameless = Token::access("b").sign(&key);
            let another = thumbprint(&SigningKey::generate(algorithm));
            let checks = revoxy.checks().await;
            for (before, thumbprint) in [another, thumbprint(&key)].into_iter().enumerate() {
                if read == "read: view" {
                    eventually("the key of before", async || {
                        let entries = revoxy.metric("revoxy_revocation_view_entries").await;
                        (entries > f64::from(u8::try_from(before).unwrap()) - 0.5).then_some(())
                    })
                    .await;
                }
                for token in [&named, &nameless] {
                    assert_eq!(checks.bearer(token).await.reason(), "ok", "{algorithm:?}");
                }
                let name = format!("revoxy:jkt:shop:{thumbprint}");
                let () = redis.run(&["SET", &name, "", "EX", "60"]);
            }
            let reasons = reasons(&revoxy, &[&named, &nameless]).await;
            assert_eq!(reasons, ["revoked", "revoked"], "{algorithm:?}, {read}");
        }
    }
}

#[test]
fn explain_names_the_thumbprint_of_the_key_that_verified() {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    let config = scratch.write("revoxy.yaml", Config::trusting(&key, &scratch).yaml());
    let token = scratch.write("token", Token::access("a").sign(&key));
    let mut command = revoxy(&["explain", "--config", config.to_str().unwrap()]);
    command.stdin(std::fs::File::open(token).unwrap());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let output = String::from_utf8(output.stdout).unwrap();
    let thumbprint = thumbprint(&key);
    let key = output.lines().find(|line| line.starts_with("key "));
    assert!(key.unwrap().contains(&thumbprint), "{output}");
    assert!(
        output.contains(&format!("revoxy:jkt:shop:{thumbprint}")),
        "{output}"
    );
}
