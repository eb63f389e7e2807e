//! Who may use `/v1`, and what it makes of what it does not understand.

use serde_json::json;

use super::Scene;
use crate::support::admin::{Admin, KEY};
use crate::support::tokens::now;
use crate::support::{Config, Revoxy, Scratch, SigningKey, Token};

#[tokio::test]
async fn only_the_administrator_s_key_opens_it() {
    let scene = Scene::set(&[]).await;
    let replica = scene.replica().await;
    let right = format!("Bearer {KEY}");
    let body = json!({ "token": scene.token("a") }).to_string();
    for path in [
        "/tokens",
        "/tokens/revoke",
        "/tokens/unrevoke",
        "/no-such-path",
    ] {
        for wrong in [
            &[][..],
            &["Bearer"],
            &["Bearer "],
            &["Bearer wrong"],
            &[KEY],
            &["Basic Y29ycmVjdA=="],
            &[&format!("{right} ").replace("staple", "stapler")],
            &[&right[..right.len() - 1]],
            &[right.as_str(), right.as_str()],
        ] {
            let said = replica.admin.send(path, wrong, Some(body.clone())).await;
            assert_eq!(said.status, 401, "{path} {wrong:?}");
            assert_eq!(said.body["error"], "invalid_token");
            let challenge = said.headers["www-authenticate"].to_str().unwrap();
            assert!(challenge.starts_with("Bearer realm="), "{challenge}");
            assert!(!said.body.to_string().contains(KEY));
        }
    }
    assert!(replica.revoxy.metric("revoxy_api_unauthorized_total").await > 35.5);
    assert_eq!(replica.admin.get("/no-such-path").await.status, 404);
    assert_eq!(replica.admin.get("/tokens/revoke").await.status, 405);
    let keys: Vec<String> = scene.redis.run(&["KEYS", "*"]);
    assert_eq!(keys, [""; 0]);
    // The scheme is a word in whichever case.
    let right = format!("bearer {KEY}");
    let said = replica.admin.send("/tokens", &[&right], Some(body)).await;
    assert_eq!(said.status, 201);
    // RFC 7009 asks for nothing but the token.
    replica.revoxy.revoke(&scene.token("a")).await;
    assert!(!replica.revoxy.log().await.contains(KEY));
}

#[tokio::test]
async fn without_a_key_in_the_configuration_it_is_switched_off() {
    let scratch = Scratch::new();
    let key = SigningKey::generate(jsonwebtoken::Algorithm::ES256);
    let revoxy = Revoxy::start(&scratch, &Config::trusting(&key, &scratch)).await;
    let said = Admin::of(&revoxy)
        .get("/tokens?issuer=shop&sub=alice")
        .await;
    assert_eq!(said.status, 403);
    assert_eq!(said.body["error"], "not_configured");
    assert!(said.body.to_string().contains("api.admin_key_file"));
}

#[tokio::test]
async fn a_wrong_request_is_refused_with_its_reason() {
    let scene = Scene::set(&[]).await;
    let replica = scene.replica().await;
    let admin = &replica.admin;
    let (later, token) = (now() + 3600, scene.token("a"));
    let expired = Token::access("a")
        .with("exp", now() - 3600)
        .sign(&scene.key);
    let long = "x".repeat(1025);
    for (path, body, why) in [
        ("", json!({}), "`issuer` is missing"),
        ("", json!({ "issuer": "shop" }), "`id` is missing"),
        (
            "",
            json!({ "issuer": "shop", "id": "a" }),
            "`expires_at` is missing",
        ),
        (
            "",
            json!({ "issuer": "shop", "id": "", "expires_at": later }),
            "`id` is empty",
        ),
        (
            "",
            json!({ "issuer": "none", "id": "a", "expires_at": later }),
            "`issuer` is none of",
        ),
        (
            "",
            json!({ "issuer": "shop", "id": "a", "expires_at": now() - 60 }),
            "expired",
        ),
        (
            "",
            json!({ "issuer": "shop", "id": "a", "expires_at": 1e15 }),
            "not a time",
        ),
        (
            "",
            json!({ "issuer": "shop", "id": "a", "expires_at": -1 }),
            "not a time",
        ),
        (
            "",
            json!({ "issuer": "shop", "id": "a", "expires_at": "soon" }),
            "invalid type",
        ),
        (
            "",
            json!({ "issuer": "shop", "id": 7, "expires_at": later }),
            "invalid type",
        ),
        (
            "",
            json!({ "issuer": "shop", "id": "a", "expires_at": later, "type": "x" }),
            "`type` is none of",
        ),
        (
            "",
            json!({ "issuer": "shop", "id": "a", "id_kind": "digest", "expires_at": later }),
            "no digest",
        ),
        (
            "",
            json!({ "issuer": "shop", "id": "a", "id_kind": "x", "expires_at": later }),
            "unknown variant",
        ),
        (
            "",
            json!({ "issuer": "shop", "id": "a", "subject": "alice", "expires_at": later }),
            "unknown field",
        ),
        (
            "",
            json!({ "token": token, "sub": "alice" }),
            "`sub` has no place beside `token`",
        ),
        ("", json!({ "token": expired }), "expired"),
        ("", json!({ "token": "garbage" }), "does not verify"),
        ("", json!([1, 2]), "invalid"),
        ("/revoke", json!({}), "`issuer` (or `token`) is missing"),
        (
            "/revoke",
            json!({ "issuer": "shop" }),
            "`id` (or `all` with `sub`) is missing",
        ),
        (
            "/revoke",
            json!({ "issuer": "shop", "id": "a" }),
            "`expires_at` is missing",
        ),
        (
            "/revoke",
            json!({ "issuer": "shop", "id": "a", "except": ["b"], "expires_at": later }),
            "`except`",
        ),
        (
            "/revoke",
            json!({ "issuer": "shop", "id": "a", "expires_at": later, "reason": long }),
            "`reason` is longer",
        ),
        (
            "/revoke",
            json!({ "issuer": "shop", "id": "a", "expires_at": later, "actor": long }),
            "`actor` is longer",
        ),
        (
            "/revoke",
            json!({ "issuer": "shop", "all": true }),
            "`sub` is missing",
        ),
        (
            "/revoke",
            json!({ "issuer": "shop", "sub": "alice", "all": true, "id": "a" }),
            "`id` has no place",
        ),
        (
            "/revoke",
            json!({ "issuer": "shop", "sub": "alice", "all": true }),
            "`expires_at` is missing",
        ),
        (
            "/revoke",
            json!({ "issuer": "shop", "sub": "alice", "all": true, "except": ["b"], "expires_at": later }),
            "`expires_at` has no place",
        ),
        (
            "/revoke",
            json!({ "issuer": "shop", "sub": "alice", "all": true, "expires_at": 5 }),
            "`expires_at` is over",
        ),
        (
            "/revoke",
            json!({ "token": token, "expires_at": later }),
            "`expires_at` has no place",
        ),
        (
            "/unrevoke",
            json!({ "issuer": "shop" }),
            "`id` (or `all` with `sub`) is missing",
        ),
    ] {
        let said = admin.post(&format!("/tokens{path}"), body.clone()).await;
        assert!(matches!(said.status, 400 | 422), "{body}: {said:?}");
        let description = said.body["error_description"].as_str().unwrap();
        assert!(description.contains(why), "{body}: {description}");
    }
    for query in [
        "",
        "issuer=shop",
        "sub=alice",
        "issuer=x&sub=a",
        "issuer=shop&sub=a&limit=0",
    ] {
        let said = admin.get(&format!("/tokens?{query}")).await;
        assert_eq!(said.status, 400, "{query}");
        assert_eq!(said.body["error"], "invalid_request");
    }
    let key = format!("Bearer {KEY}");
    let said = admin.send("/tokens", &[&key], Some("{".to_owned())).await;
    assert_eq!(said.status, 400);
    let said = admin
        .send("/tokens", &[&key], Some("x".repeat(200_000)))
        .await;
    assert_eq!(said.status, 413);
    let keys: Vec<String> = scene.redis.run(&["KEYS", "*"]);
    assert_eq!(keys, [""; 0]);
}

#[tokio::test]
async fn a_token_that_nobody_has_noted_can_be_revoked_too() {
    let scene = Scene::set(&[]).await;
    let replica = scene.replica().await;
    let token = scene.token("unheard-of");
    replica.is(&token, "ok").await;
    let named = json!({ "issuer": "shop", "id": "unheard-of", "expires_at": now() + 3600 });
    assert_eq!(replica.admin.revoke(named.clone()).await["revoked"], 1);
    replica.is(&token, "revoked").await;
    let life: i64 = scene.redis.run(&["TTL", "revoxy:jti:shop:unheard-of"]);
    // The leeway, and a minute for clocks that differ.
    assert!((3680..=3690).contains(&life), "{life}");
    let mut over = named;
    over["expires_at"] = json!(now() - 600);
    over["id"] = json!("long-dead");
    assert_eq!(replica.admin.revoke(over).await["revoked"], 0);
    let recorded = "revoxy_revocation_requests_total{result=\"recorded\"}";
    assert!((0.5..1.5).contains(&replica.revoxy.metric(recorded).await));
}

#[tokio::test]
async fn un_revoking_is_counted_and_takes_the_subject_beside_the_token() {
    let scene = Scene::set(&[]).await;
    let replica = scene.replica().await;
    let token = scene.token("a");
    let named = json!({ "issuer": "shop", "id": "a", "expires_at": now() + 3600 });
    assert_eq!(replica.admin.revoke(named).await["revoked"], 1);
    replica.is(&token, "revoked").await;
    let named = json!({ "issuer": "shop", "id": "a", "sub": "alice" });
    replica.admin.unrevoke(named.clone()).await;
    replica.is(&token, "ok").await;
    replica.admin.unrevoke_nothing(named).await;
    for result in ["recorded", "ignored"] {
        let metric = format!("revoxy_unrevocation_requests_total{{result=\"{result}\"}}");
        assert!(
            (0.5..1.5).contains(&replica.revoxy.metric(&metric).await),
            "{result}"
        );
    }
}

#[tokio::test]
async fn a_wrong_key_file_or_a_mode_without_effect_does_not_start() {
    let scratch = Scratch::new();
    let key = SigningKey::generate(jsonwebtoken::Algorithm::ES256);
    let config = Config::trusting(&key, &scratch);
    let short = scratch.write("short", "too-short\n");
    for (config, path, why) in [
        (
            config
                .clone()
                .section(&format!("api: {{ admin_key_file: {short:?} }}")),
            "api.admin_key_file",
            "less than 16 bytes",
        ),
        (
            config
                .clone()
                .section("api: { admin_key_file: /no/such/file }"),
            "api.admin_key_file",
            "cannot be read",
        ),
        (
            config.clone().section("api: { admin_key: x }"),
            "api.admin_key",
            "unknown key",
        ),
        (
            config
                .clone()
                .revocation("enabled: false")
                .revocation("mode: allow_list"),
            "revocation.mode",
            "no effect",
        ),
        (
            config
                .clone()
                .revocation("enabled: false")
                .revocation("note_tokens: true"),
            "revocation.note_tokens",
            "no effect",
        ),
        (
            config.revocation("mode: allowlist"),
            "revocation.mode",
            "did you mean `allow_list`?",
        ),
    ] {
        let (status, said) = Revoxy::refused(&scratch, &config.yaml()).await;
        assert_eq!(status.code(), Some(2), "{said}");
        let line = said.lines().find(|l| l.contains(&format!(" {path}: ")));
        assert!(line.is_some_and(|l| l.contains(why)), "{path}: {said}");
        assert!(!said.contains("too-short"), "{said}");
    }
}
