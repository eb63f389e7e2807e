//! `POST /oauth2/revoke` (RFC 7009), and that what it recorded outlives the process.

use jsonwebtoken::Algorithm;

use crate::support::tokens::now;
use crate::support::{Ask, Config, Redis, Revoxy, Scratch, SigningKey, Token};

fn es256() -> SigningKey {
    SigningKey::generate(Algorithm::ES256)
}

async fn recorded(revoxy: &Revoxy) -> f64 {
    revoxy
        .metric("revoxy_revocation_requests_total{result=\"recorded\"}")
        .await
}

#[tokio::test]
async fn a_revoked_token_is_refused_from_then_on_and_no_other() {
    let (scratch, key) = (Scratch::new(), es256());
    let redis = Redis::start(&scratch).await;
    for store in [
        "memory: {}".to_owned(),
        format!("sqlite: {{ path: {:?} }}", scratch.file("revoxy.db")),
        redis.store(),
    ] {
        let config = Config::trusting(&key, &scratch).store(&*store);
        let revoxy = Revoxy::start(&scratch, &config).await;
        let checks = revoxy.checks().await;
        let (a, b) = (Token::access("a").sign(&key), Token::access("b").sign(&key));
        let nameless = Token::access("x").without("jti");
        let twin = nameless.clone().with("nonce", "other").sign(&key);
        let nameless = nameless.sign(&key);
        assert!(checks.bearer(&a).await.allows());
        revoxy.revoke(&a).await;
        revoxy.revoke(&a).await;
        revoxy.revoke(&nameless).await;
        for revoked in [&a, &nameless] {
            let answer = checks.bearer(revoked).await;
            assert_eq!(answer.verdict(), (401, "revoked"), "{store}");
            let challenge = &answer.headers["www-authenticate"];
            assert!(challenge.contains("the token has been revoked"));
        }
        assert!(checks.bearer(&b).await.allows(), "{store}");
        assert!(checks.bearer(&twin).await.allows(), "{store}");
        // Revocation comes after everything else: nothing is told about it to who has no business to know.
        let answer = checks.ask(Ask::bearer(&a).policy("refresh")).await;
        assert_eq!(answer.reason(), "wrong_token_type");
    }
}

#[tokio::test]
async fn a_token_that_is_no_good_anyway_is_accepted_and_ignored() {
    let (scratch, key) = (Scratch::new(), es256());
    let revoxy = Revoxy::start(&scratch, &Config::trusting(&key, &scratch)).await;
    let forged = Token::access("victim").sign(&es256());
    let expired = Token::access("old").with("exp", now() - 3600).sign(&key);
    let foreign = Token::access("a")
        .with("iss", "https://evil.example")
        .sign(&key);
    for token in ["garbage", "..", &forged, &expired, &foreign] {
        let (status, _) = revoxy.post_revoke(format!("token={token}")).await;
        assert_eq!(status, 200, "{token}");
    }
    assert!(recorded(&revoxy).await < 0.5);
    let victim = Token::access("victim").sign(&key);
    assert!(revoxy.checks().await.bearer(&victim).await.allows());
}

#[tokio::test]
async fn a_token_within_the_leeway_is_revoked_like_any_other() {
    let (scratch, key) = (Scratch::new(), es256());
    let config = Config::trusting(&key, &scratch).issuer("leeway: 5m");
    let revoxy = Revoxy::start(&scratch, &config).await;
    let token = Token::access("a").with("exp", now() - 10).sign(&key);
    let checks = revoxy.checks().await;
    assert!(checks.bearer(&token).await.allows());
    revoxy.revoke(&token).await;
    assert_eq!(checks.bearer(&token).await.reason(), "revoked");
}

#[tokio::test]
async fn a_wrong_request_is_refused_with_its_reason() {
    let (scratch, key) = (Scratch::new(), es256());
    let revoxy = Revoxy::start(&scratch, &Config::trusting(&key, &scratch)).await;
    let token = Token::access("a").sign(&key);
    for (body, why) in [
        (String::new(), "missing"),
        ("token=".to_owned(), "missing"),
        ("token_type_hint=access_token".to_owned(), "missing"),
        (format!("token={token}&token={token}"), "more than once"),
    ] {
        let (status, answer) = revoxy.post_revoke(body.clone()).await;
        assert_eq!(status, 400, "{body}");
        assert_eq!(answer["error"], "invalid_request");
        let description = answer["error_description"].as_str().unwrap();
        assert!(description.contains(why), "{description}");
    }
    assert!(revoxy.checks().await.bearer(&token).await.allows());
    // A hint is only a hint (RFC 7009 §2.1).
    let body = format!("token_type_hint=refresh_token&token={token}");
    assert_eq!(revoxy.post_revoke(body).await.0, 200);
    assert_eq!(
        revoxy.checks().await.bearer(&token).await.reason(),
        "revoked"
    );
}

#[tokio::test]
async fn a_revocation_that_cannot_be_recorded_is_a_503() {
    let (scratch, key) = (Scratch::new(), es256());
    let mut redis = Redis::start(&scratch).await;
    let config = Config::trusting(&key, &scratch).store(redis.store());
    let revoxy = Revoxy::start(&scratch, &config).await;
    redis.kill();
    let token = Token::access("a").sign(&key);
    let (status, body) = revoxy.post_revoke(format!("token={token}")).await;
    assert_eq!(status, 503);
    assert_eq!(body["error"], "temporarily_unavailable");
    assert!(recorded(&revoxy).await < 0.5);
}

#[tokio::test]
async fn revocations_in_sqlite_survive_kill_9() {
    let (scratch, key) = (Scratch::new(), es256());
    let store = format!("sqlite: {{ path: {:?} }}", scratch.file("revoxy.db"));
    let config = Config::trusting(&key, &scratch).store(store);
    let (revoked, other) = (Token::access("a").sign(&key), Token::access("b").sign(&key));
    let mut revoxy = Revoxy::start(&scratch, &config).await;
    revoxy.revoke(&revoked).await;
    revoxy.process.kill();
    for _ in 0..2 {
        let mut again = Revoxy::start(&scratch, &config).await;
        let checks = again.checks().await;
        assert_eq!(checks.bearer(&revoked).await.reason(), "revoked");
        assert!(checks.bearer(&other).await.allows());
        again.process.kill();
    }
}

#[tokio::test]
async fn a_second_process_on_the_same_sqlite_file_is_refused() {
    let (scratch, key) = (Scratch::new(), es256());
    let store = format!("sqlite: {{ path: {:?} }}", scratch.file("revoxy.db"));
    let config = Config::trusting(&key, &scratch).store(store);
    let first = Revoxy::start(&scratch, &config).await;
    let (status, said) = Revoxy::refused(&scratch, &config.yaml()).await;
    assert_eq!(status.code(), Some(2), "{said}");
    assert!(said.contains("revocation.store.sqlite"), "{said}");
    assert!(said.contains("another process has it open"), "{said}");
    // The first does not mind.
    let token = Token::access("a").sign(&key);
    first.revoke(&token).await;
    assert_eq!(
        first.checks().await.bearer(&token).await.reason(),
        "revoked"
    );
}
