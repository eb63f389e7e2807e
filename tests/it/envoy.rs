//! The whole picture: a client, a real Envoy with the repository's `envoy.yaml`, Revoxy, an application.

use jsonwebtoken::Algorithm;

use crate::support::tokens::now;
use crate::support::{Config, Envoy, Revoxy, Scratch, SigningKey, Token, Upstream, eventually};

struct Scene {
    envoy: Envoy,
    revoxy: Revoxy,
    key: SigningKey,
    _app: Upstream,
    _scratch: Scratch,
}

impl Scene {
    async fn set(edits: &[(&str, &str)]) -> Self {
        let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::RS256));
        let revoxy = Revoxy::start(&scratch, &Config::trusting(&key, &scratch)).await;
        let app = Upstream::start().await;
        Self {
            envoy: Envoy::start_edited(&scratch, &revoxy.check, app.address, edits).await,
            revoxy,
            key,
            _app: app,
            _scratch: scratch,
        }
    }

    fn access(&self) -> String {
        Token::access("a").sign(&self.key)
    }
}

/// Every verdict that a client can meet; the same whichever way Envoy hands over the headers.
async fn every_verdict(scene: &Scene) {
    let (envoy, key) = (&scene.envoy, &scene.key);
    let good = || Token::access("a");
    let seen = envoy.bearer("/protected", &good().sign(key)).await;
    assert!(seen.passed(), "{seen:?}");
    assert_eq!(seen.body["path"], "/protected");

    let revoked = Token::access("revoked").sign(key);
    assert!(envoy.bearer("/protected", &revoked).await.passed());
    scene.revoxy.revoke(&revoked).await;
    let stranger = SigningKey::generate(Algorithm::RS256);
    let refresh = Token::refresh("r").sign(key);
    for (token, reason, said) in [
        ("garbage".to_owned(), "malformed", "malformed"),
        (
            good().with("exp", now() - 3600).sign(key),
            "expired",
            "expired",
        ),
        (good().sign(&stranger), "bad_signature", "signature"),
        (
            good().with("iss", "https://x.example").sign(key),
            "unknown_issuer",
            "issuer",
        ),
        (
            good().with("aud", "x").sign(key),
            "wrong_audience",
            "audience",
        ),
        (revoked, "revoked", "revoked"),
        (refresh.clone(), "wrong_token_type", "type"),
    ] {
        let seen = envoy.bearer("/protected", &token).await;
        assert_eq!((seen.status, seen.reason()), (401, reason));
        assert_eq!(seen.body["error"], "invalid_token");
        let challenge = seen.challenge.unwrap();
        let head = "Bearer realm=\"revoxy\", error=\"invalid_token\", error_description=\"";
        assert!(challenge.starts_with(head), "{challenge}");
        assert!(challenge.contains(said), "{challenge}");
    }

    let seen = envoy.get("/protected", &[]).await;
    assert_eq!((seen.status, seen.reason()), (401, "no_token"));
    assert_eq!(seen.challenge.as_deref(), Some("Bearer realm=\"revoxy\""));

    assert!(envoy.bearer("/refresh", &refresh).await.passed());
    assert!(envoy.bearer("/logout2", &refresh).await.passed());
    let seen = envoy.bearer("/refresh", &good().sign(key)).await;
    assert_eq!((seen.status, seen.reason()), (401, "wrong_token_type"));
    assert!(envoy.get("/login", &[]).await.passed());
    assert!(envoy.bearer("/login", "garbage").await.passed());

    let (one, two) = (
        format!("Bearer {}", good().sign(key)),
        format!("Bearer {refresh}"),
    );
    let joined = format!("{one}, {two}");
    for values in [
        &[&*one, &*two][..],
        &[&*one, &*one],
        &[&*one, "Basic dTpw"],
        &[&*joined],
    ] {
        let seen = envoy.get("/protected", values).await;
        assert_eq!((seen.status, seen.reason()), (401, "ambiguous_token"));
        assert_eq!(seen.body["error"], "invalid_request");
    }
}

#[tokio::test]
async fn a_client_meets_every_verdict() {
    every_verdict(&Scene::set(&[]).await).await;
}

#[tokio::test]
async fn verdicts_are_the_same_without_raw_headers() {
    let edit = ("encode_raw_headers: true", "encode_raw_headers: false");
    every_verdict(&Scene::set(&[edit]).await).await;
}

#[tokio::test]
async fn a_policy_that_revoxy_does_not_know_is_a_503() {
    let edit = ("policy: public }", "policy: unheard-of }");
    let scene = Scene::set(&[edit]).await;
    let seen = scene.envoy.bearer("/login", &scene.access()).await;
    assert_eq!((seen.status, seen.reason()), (503, "unknown_policy"));
    assert_eq!(seen.challenge, None);
    assert!(
        scene
            .envoy
            .bearer("/protected", &scene.access())
            .await
            .passed()
    );
}

#[tokio::test]
async fn nobody_talks_himself_onto_a_public_route() {
    let scene = Scene::set(&[]).await;
    let ask = async |path: &str, headers: &str| {
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: shop.example\r\nconnection: close\r\n{headers}\r\n"
        );
        scene.envoy.raw(&request).await
    };
    assert_eq!(ask("/login", "").await, 200);
    assert_eq!(ask("/protected", "").await, 401);
    for path in [
        "/login/../protected",
        "/login/./../protected",
        "/login/%2e%2e/protected",
        "/login/",
        "/login/x",
        "/login;x",
        "/LOGIN",
        "/Login",
        "//protected",
        "/protected?x=/login",
        "/protected?policy=public",
        "/protected#/login",
        "/login%2f..%2fprotected",
        "/login%5c..%5cprotected",
    ] {
        let status = ask(path, "").await;
        assert!(matches!(status, 400 | 401 | 307), "{path}: {status}");
    }
    for headers in [
        "policy: public\r\n",
        "x-policy: public\r\n",
        "x-envoy-original-path: /login\r\n",
        "x-original-url: /login\r\n",
        "x-rewrite-url: /login\r\n",
        "x-forwarded-uri: /login\r\n",
        "x-forwarded-for: 127.0.0.1\r\n",
        "x-envoy-internal: true\r\n",
        "x-auth-subject: admin\r\nx-jwt-sub: admin\r\n",
        "authorization_: Bearer x\r\n",
        "x-authorization: Bearer x\r\n",
        "proxy-authorization: Bearer x\r\n",
    ] {
        let status = ask("/protected", headers).await;
        assert!(matches!(status, 400 | 401), "{headers}: {status}");
    }
}

#[tokio::test]
async fn a_revoxy_that_is_gone_is_a_503_and_never_a_200() {
    let mut scene = Scene::set(&[]).await;
    let token = scene.access();
    assert!(scene.envoy.bearer("/protected", &token).await.passed());
    scene.revoxy.process.kill();
    for path in ["/protected", "/login", "/refresh"] {
        assert_eq!(scene.envoy.bearer(path, &token).await.status, 503, "{path}");
    }
}

#[tokio::test]
async fn a_request_too_large_to_be_checked_does_not_pass_an_envoy_that_fails_open() {
    let scene = Scene::set(&[
        ("failure_mode_allow: false", "failure_mode_allow: true"),
        (
            "generate_request_id: true\n",
            "generate_request_id: true\n                max_request_headers_kb: 600\n",
        ),
    ])
    .await;
    let bearer = format!("Bearer {}", scene.access());
    for (length, status) in [(100, 200), (300 << 10, 503)] {
        let cookie = format!("x={}", "y".repeat(length));
        let headers = [("authorization", &*bearer), ("cookie", &*cookie)];
        let seen = scene.envoy.send("/protected", &headers).await;
        assert_eq!(seen.status, status, "{length} bytes: {}", seen.reason());
    }
}

#[tokio::test]
async fn the_access_log_of_envoy_shows_the_verdict_and_no_token() {
    let scene = Scene::set(&[]).await;
    let token = scene.access();
    assert!(
        scene
            .envoy
            .bearer("/protected?x=secret", &token)
            .await
            .passed()
    );
    assert_eq!(scene.envoy.get("/protected", &[]).await.status, 401);
    let log = eventually("two lines in the access log", async || {
        let log = scene.envoy.log();
        let lines = log.lines().filter(|l| l.starts_with('{')).count();
        (lines >= 2).then_some(log)
    })
    .await;
    for part in [
        "\"decision\":\"allow\"",
        "\"reason\":\"ok\"",
        "\"reason\":\"no_token\"",
    ] {
        assert!(log.contains(part), "{part} in {log}");
    }
    assert!(!log.contains(&token) && !log.contains("secret"), "{log}");
}
