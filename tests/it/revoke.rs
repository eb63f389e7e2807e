//! `POST /oauth2/revoke` (RFC 7009), and that what it recorded outlives the process.

use std::time::Duration;

use serde_json::json;

use crate::support::key_server::{signed, signed_as};
use crate::support::tokens::now;
use crate::support::{
    Ask, Config, KeyServer, PATIENCE, Redis, Revoxy, Scratch, SigningKey, Token, eventually,
};

async fn recorded(revoxy: &Revoxy) -> f64 {
    revoxy
        .metric("revoxy_revocation_requests_total{result=\"recorded\"}")
        .await
}

#[tokio::test]
async fn a_revoked_token_is_refused_from_then_on_and_no_other() {
    let (scratch, key) = (Scratch::new(), SigningKey::es256());
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
    let (scratch, key) = (Scratch::new(), SigningKey::es256());
    let revoxy = Revoxy::start(&scratch, &Config::trusting(&key, &scratch)).await;
    let forged = Token::access("victim").sign(&SigningKey::es256());
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
    let (scratch, key) = (Scratch::new(), SigningKey::es256());
    let config = Config::trusting(&key, &scratch).issuer("leeway: 5m");
    let revoxy = Revoxy::start(&scratch, &config).await;
    // It is not accepted any more, but another replica, whose clock is behind, may still do so.
    let token = Token::access("a").with("exp", now() - 10).sign(&key);
    revoxy.revoke(&token).await;
    assert!((recorded(&revoxy).await - 1.0).abs() < 0.1);
}

#[tokio::test]
async fn a_wrong_request_is_refused_with_its_reason() {
    let (scratch, key) = (Scratch::new(), SigningKey::es256());
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
    let (scratch, key) = (Scratch::new(), SigningKey::es256());
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
    let (scratch, key) = (Scratch::new(), SigningKey::es256());
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
    let (scratch, key) = (Scratch::new(), SigningKey::es256());
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

/// What is said of a token: the status, and when to try again.
async fn said_of(revoxy: &Revoxy, token: &str) -> (u16, Option<String>) {
    let url = format!("http://{}/oauth2/revoke", revoxy.api);
    let form = "application/x-www-form-urlencoded";
    let request = reqwest::Client::new()
        .post(url)
        .header("content-type", form);
    let answer = request.body(format!("token={token}")).send().await.unwrap();
    let retry_after = answer.headers().get("retry-after");
    let retry_after = retry_after.map(|value| value.to_str().unwrap().to_owned());
    (answer.status().as_u16(), retry_after)
}

#[tokio::test]
async fn a_token_whose_key_is_not_known_yet_is_a_503_until_it_can_be_recorded() {
    let (scratch, old, new) = (Scratch::new(), SigningKey::es256(), SigningKey::es256());
    let server = KeyServer::start(&[&old]).await;
    let mut config = Config::trusting(&old, &scratch);
    config.keys = server.keys("cooldown: 1s, timeout: 1s");
    let revoxy = Revoxy::start(&scratch, &config).await;
    let token = signed(&new);
    server.rotate(&[&new]);
    server.pause(PATIENCE);
    assert_eq!(said_of(&revoxy, &token).await, (503, Some("5".to_owned())));
    assert!(recorded(&revoxy).await < 0.5);
    let unknown = "revoxy_revocation_requests_total{result=\"unknown_key\"}";
    assert!(revoxy.metric(unknown).await > 0.5);
    server.pause(Duration::ZERO);
    eventually("a revocation", async || {
        let (status, _) = said_of(&revoxy, &token).await;
        assert!(status == 200 || status == 503, "{status}");
        (status == 200).then_some(())
    })
    .await;
    assert!(recorded(&revoxy).await > 0.5);
    let checks = revoxy.checks().await;
    assert_eq!(checks.bearer(&token).await.reason(), "revoked");
    // The old key is gone here, and may be there on another replica: but not for ever.
    assert_eq!(said_of(&revoxy, &signed(&old)).await.0, 503);
    let over = Token::access("x").with("exp", now() - 3600);
    assert_eq!(said_of(&revoxy, &signed_as(over, &old)).await.0, 200);
    // Of a key that is known by its name, a wrong signature is wrong for ever.
    let forged = signed(&new);
    let (input, signature) = forged.rsplit_once('.').unwrap();
    let other = signed_as(Token::access("other"), &new);
    let forged = format!("{input}.{}", other.rsplit_once('.').unwrap().1);
    assert_ne!(other.rsplit_once('.').unwrap().1, signature);
    assert_eq!(said_of(&revoxy, &forged).await.0, 200);
}

#[tokio::test]
async fn a_key_file_that_has_changed_is_read_again_before_a_token_is_taken_for_invalid() {
    for by_name in [true, false] {
        let (scratch, old, new) = (Scratch::new(), SigningKey::es256(), SigningKey::es256());
        let mut config = Config::trusting(&old, &scratch);
        write_keys(&scratch, "keys", &old, by_name.then_some("old"));
        let option = if by_name { "jwks_file" } else { "pem_file" };
        config.keys = format!("{{ {option}: {:?} }}", scratch.file("keys"));
        let revoxy = Revoxy::start(&scratch, &config).await;
        let token = match by_name {
            true => Token::access("a").header("kid", "new").sign(&new),
            false => Token::access("a").sign(&new),
        };
        write_keys(&scratch, "keys", &new, by_name.then_some("new"));
        assert_eq!(said_of(&revoxy, &token).await.0, 200, "{option}");
        assert!(recorded(&revoxy).await > 0.5, "{option}");
        let checks = revoxy.checks().await;
        assert_eq!(checks.bearer(&token).await.reason(), "revoked", "{option}");
    }
}

#[tokio::test]
async fn a_key_file_that_cannot_be_read_just_now_makes_no_token_invalid() {
    let (scratch, old, new) = (Scratch::new(), SigningKey::es256(), SigningKey::es256());
    let mut config = Config::trusting(&old, &scratch);
    config.keys = format!("{{ pem_file: {:?} }}", scratch.file("keys"));
    write_keys(&scratch, "keys", &old, None);
    let revoxy = Revoxy::start(&scratch, &config).await;
    let token = Token::access("a").sign(&new);
    assert_eq!(said_of(&revoxy, &token).await.0, 200);
    // As while somebody writes it.
    scratch.write("keys", "-----BEGIN PUBLIC KEY-----\n");
    assert_eq!(said_of(&revoxy, &token).await, (503, Some("5".to_owned())));
    assert!(recorded(&revoxy).await < 0.5);
    write_keys(&scratch, "keys", &new, None);
    assert_eq!(said_of(&revoxy, &token).await.0, 200);
    assert!(recorded(&revoxy).await > 0.5);
}

/// The PEM or JWK set of a key, in a file of this name that is overwritten.
fn write_keys(scratch: &Scratch, name: &str, key: &SigningKey, kid: Option<&str>) {
    let content = match kid {
        Some(kid) => json!({ "keys": [key.jwk(kid)] }).to_string().into_bytes(),
        None => {
            let keys = key.write(scratch);
            std::fs::read(keys.split('"').nth(1).unwrap()).unwrap()
        }
    };
    scratch.write(name, content);
}

#[tokio::test]
async fn key_files_of_refresh_tokens_that_have_changed_are_read_again_as_well() {
    // The names of the keys for access tokens and for refresh tokens; `None`: a PEM file.
    for (access_kid, refresh_kid) in [
        (None, None),
        (None, Some("new")),
        (Some("new"), None),
        (Some("other"), Some("new")),
        // Two sets may name their keys alike.
        (Some("new"), Some("new")),
    ] {
        let case = format!("{access_kid:?} {refresh_kid:?}");
        let (scratch, access) = (Scratch::new(), SigningKey::es256());
        let (old, new, stranger) = (
            SigningKey::es256(),
            SigningKey::es256(),
            SigningKey::es256(),
        );
        let keys = |name: &str, kid: Option<&str>| {
            let option = kid.map_or("pem_file", |_| "jwks_file");
            format!("{{ {option}: {:?} }}", scratch.file(name))
        };
        write_keys(&scratch, "access", &access, access_kid);
        write_keys(&scratch, "refresh", &old, refresh_kid.map(|_| "old"));
        let refresh_keys = format!("refresh_keys: {}", keys("refresh", refresh_kid));
        let mut config = Config::trusting(&access, &scratch).issuer(&refresh_keys);
        config.keys = keys("access", access_kid);
        let revoxy = Revoxy::start(&scratch, &config).await;
        let checks = revoxy.checks().await;
        let signed = |jti: &str, key: &SigningKey| match refresh_kid {
            Some(kid) => Token::refresh(jti).header("kid", kid).sign(key),
            None => Token::refresh(jti).sign(key),
        };
        let token = signed("a", &new);
        // A key whose name the file does not hold may be in that of another machine.
        let unknown = if refresh_kid.is_some() { 503 } else { 200 };
        assert_eq!(said_of(&revoxy, &token).await.0, unknown, "{case}");
        assert!(recorded(&revoxy).await < 0.5, "{case}");
        write_keys(&scratch, "refresh", &new, refresh_kid);
        assert_eq!(said_of(&revoxy, &token).await.0, 200, "{case}");
        assert!(recorded(&revoxy).await > 0.5, "{case}");
        let answer = checks.ask(Ask::bearer(&token).policy("refresh")).await;
        assert_eq!(answer.reason(), "revoked", "{case}");
        // Now its name, if it has one, is that of another key, unless the other set does not have it.
        let forged = signed("b", &stranger);
        let named = refresh_kid.is_none() || access_kid != Some("other");
        let expected = if named { 200 } else { 503 };
        assert_eq!(said_of(&revoxy, &forged).await.0, expected, "{case}");
    }
}
