//! Claims for the application: the headers that it gets through a real Envoy, and those that a client cannot forge.

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use crate::support::server::run_with;
use crate::support::{
    Ask, Config, Envoy, Mood, Proxy, Redis, Revoxy, Scratch, SigningKey, Token, Upstream,
    eventually,
};

const HEADERS: &str = "  lenient: { on_unavailable: { serve_stale: 1h } }
upstream:
  headers:
    x-auth-user-id: sub
    x-auth-roles: { claim: /realm_access/roles, format: text }
    x-auth-tenant: { claim: tenant, format: json }
    x-auth-profile: { claim: profile, format: base64_json }
routes:
  - { path: /public, policy: public }
  - { path: /maybe, policy: optional }
  - { path: /stale, policy: lenient }";

/// Every spelling of `x-auth-user-id` and `x-auth-roles` that a framework may read as them.
const FORGED: [(&str, &str); 7] = [
    ("x-auth-user-id", "mallory"),
    ("X-Auth-User-Id", "mallory"),
    ("x_auth_user_id", "mallory"),
    ("x-auth-user_id", "mallory"),
    ("X_Auth-User-ID", "mallory"),
    ("x-auth-roles", "admin"),
    ("x_auth_roles", "admin"),
];

struct Scene {
    scratch: Scratch,
    key: SigningKey,
    revoxy: Revoxy,
    envoy: Envoy,
    _app: Upstream,
}

impl Scene {
    async fn set(edits: &[(&str, &str)]) -> Self {
        let scratch = Scratch::new();
        let key = SigningKey::generate(Algorithm::ES256);
        let config = Config::trusting(&key, &scratch).section(HEADERS);
        Self::with(scratch, key, &config, edits).await
    }

    async fn with(
        scratch: Scratch,
        key: SigningKey,
        config: &Config,
        edits: &[(&str, &str)],
    ) -> Self {
        let revoxy = Revoxy::start(&scratch, config).await;
        let app = Upstream::start().await;
        // The shipped configuration refuses such names before a filter sees them.
        let edits = [
            &[(
                "underscores_action: REJECT_REQUEST",
                "underscores_action: ALLOW",
            )],
            edits,
        ]
        .concat();
        Self {
            envoy: Envoy::start_edited(&scratch, &revoxy.check, app.address, &edits).await,
            scratch,
            key,
            revoxy,
            _app: app,
        }
    }

    /// The headers that the application gets and that start with `x-` or `x_` and are ours, of a request with forged ones.
    async fn received(&self, path: &str, token: Option<&str>) -> Value {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let mut headers = FORGED.to_vec();
        if let Some(bearer) = &bearer {
            headers.push(("authorization", bearer));
        }
        let seen = self.envoy.send(path, &headers).await;
        assert!(seen.passed(), "{path}: {seen:?}");
        let ours = ["user", "roles", "tenant", "profile"];
        let headers = seen.body["headers"].as_object().unwrap().iter();
        let headers = headers.filter(|(name, _)| ours.iter().any(|part| name.contains(part)));
        headers.map(|(k, v)| (k.clone(), v.clone())).collect()
    }
}

#[tokio::test]
async fn the_application_gets_the_claims_and_no_header_that_a_client_has_forged() {
    for edits in [
        &[][..],
        &[("encode_raw_headers: true", "encode_raw_headers: false")],
    ] {
        let scene = Scene::set(edits).await;
        let whole = Token::access("a")
            .with("realm_access", json!({ "roles": ["user", "a,b", "Zoë"] }))
            .with("tenant", "Ünited")
            .with("profile", json!({ "name": "Zoë" }))
            .sign(&scene.key);
        let expected = json!({
            "x-auth-user-id": "alice",
            "x-auth-roles": "user,a%2Cb,Zo%C3%AB",
            "x-auth-tenant": "\"\\u00dcnited\"",
            "x-auth-profile": "eyJuYW1lIjoiWm_DqyJ9",
        });
        for path in ["/protected", "/maybe", "/stale"] {
            assert_eq!(scene.received(path, Some(&whole)).await, expected, "{path}");
        }
        let poor = Token::access("b").without("sub").sign(&scene.key);
        assert_eq!(scene.received("/protected", Some(&poor)).await, json!({}));
        // Nobody has verified the token of a public route.
        for (path, token) in [
            ("/public", None),
            ("/public", Some(&*whole)),
            ("/maybe", None),
        ] {
            assert_eq!(scene.received(path, token).await, json!({}), "{path}");
        }
    }
}

#[tokio::test]
async fn claims_are_forwarded_from_a_stale_view_too() {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    let redis = Redis::start(&scratch).await;
    let proxy = Proxy::before(redis.port()).await;
    let config = Config::trusting(&key, &scratch)
        .store(proxy.store())
        .section(HEADERS);
    let scene = Scene::with(scratch, key, &config, &[]).await;
    let token = Token::access("a").sign(&scene.key);
    let expected = json!({ "x-auth-user-id": "alice" });
    assert_eq!(scene.received("/stale", Some(&token)).await, expected);
    proxy.set(Mood::Hanging);
    eventually("a view that is too old", async || {
        let seen = scene.envoy.bearer("/protected", &token).await;
        (seen.reason() == "revocation_unavailable").then_some(())
    })
    .await;
    assert_eq!(scene.received("/stale", Some(&token)).await, expected);
    let stale = "revoxy_checks_total{decision=\"allow\",policy=\"lenient\",reason=\"stale\"}";
    assert!(scene.revoxy.metric(stale).await > 0.5);
}

#[tokio::test]
async fn a_claim_that_is_too_long_is_not_forwarded() {
    let scene = Scene::set(&[]).await;
    for (length, is_there) in [(4096, true), (4097, false)] {
        let token = Token::access("a").with("sub", "x".repeat(length));
        let received = scene
            .received("/protected", Some(&token.sign(&scene.key)))
            .await;
        assert_eq!(
            received.get("x-auth-user-id").is_some(),
            is_there,
            "{length}"
        );
    }
    let log = scene.revoxy.log().await;
    assert!(log.contains("a claim is too long for its header"), "{log}");
    drop(scene.scratch);
}

#[tokio::test]
async fn claims_keep_their_types_in_the_metadata_of_every_verified_token() {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    let section = "  scoped: { scopes: [orders] }
upstream:
  metadata: { user: sub, roles: /realm_access/roles, level: level, mfa: mfa, address: address, missing: missing }";
    let config = Config::trusting(&key, &scratch).section(section);
    let revoxy = Revoxy::start(&scratch, &config).await;
    let checks = revoxy.checks().await;
    let token = Token::access("a")
        .with("realm_access", json!({ "roles": ["user", "admin"] }))
        .with("level", 2.5)
        .with("mfa", true)
        .with("address", json!({ "city": null, "lines": [] }))
        .sign(&key);
    let expected = json!({
        "user": "alice", "roles": ["user", "admin"], "level": 2.5, "mfa": true,
        "address": { "city": null, "lines": [] },
    });
    let ask = |policy: &str| checks.ask(Ask::bearer(&token).policy(policy));
    for (policy, verdict, claims) in [
        ("default", (0, "ok"), &expected),
        ("scoped", (403, "insufficient_scope"), &expected),
        ("public", (0, "public"), &Value::Null),
    ] {
        let answer = ask(policy).await;
        assert_eq!(answer.verdict(), verdict, "{policy}");
        assert_eq!(&answer.claims, claims, "{policy}");
    }
    revoxy.revoke(&token).await;
    let answer = ask("default").await;
    assert_eq!(
        (answer.verdict(), &answer.claims),
        ((401, "revoked"), &expected)
    );
}

#[tokio::test]
async fn a_header_that_cannot_be_ours_is_a_mistake() {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    for (headers, said) in [
        ("{ X-User: sub }", "small letters"),
        ("{ host: sub }", "another meaning"),
        ("{ authorization: sub }", "another meaning"),
        ("{ x-user: sub, x_user: sub }", "take this name for another"),
        ("{ x-user: { format: json } }", "missing field `claim`"),
        (
            "{ x-user: { claim: sub, format: xml } }",
            "`xml` is none of `text`, `json`, `base64_json`",
        ),
        ("{ a-b-c-d-e-f-g: sub }", "more than 5"),
    ] {
        let section = format!("upstream: {{ headers: {headers} }}");
        let config = Config::trusting(&key, &scratch).section(&section);
        let (status, output) = run_with(&scratch, &["check-config"], &config.yaml()).await;
        assert_eq!(status.code(), Some(2), "{headers}: {output}");
        assert!(output.contains(said), "{headers}: {output}");
    }
}
