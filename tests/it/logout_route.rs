//! A logout route that needs no code: `on_allow: revoke`.

use jsonwebtoken::Algorithm;

use crate::support::server::run_with;
use crate::support::{
    Ask, Config, Envoy, Mood, Proxy, Redis, Revoxy, Scratch, SigningKey, Token, Upstream,
    eventually,
};

const POLICIES: &str = "  logout: { on_allow: revoke, on_unavailable: allow }
  logout_of_session: { token_type: refresh, on_allow: revoke }
  maybe_logout: { token: optional, on_allow: revoke }
  scoped_logout: { scopes: [logout], on_allow: revoke }
routes:
  - { path: /logout, methods: [POST], policy: logout }";

#[tokio::test]
async fn a_request_that_passes_the_logout_route_revokes_its_token_on_every_replica() {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    let redis = Redis::start(&scratch).await;
    let config = Config::trusting(&key, &scratch)
        .store(redis.store())
        .section(POLICIES);
    let revoxy = Revoxy::start(&scratch, &config).await;
    let elsewhere = Revoxy::start(&scratch, &config).await;
    let app = Upstream::start().await;
    let envoy = Envoy::start(&scratch, &revoxy.check, app.address).await;
    let token = Token::access("a").sign(&key);
    assert!(envoy.bearer("/protected", &token).await.passed());
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", &*bearer)];
    let seen = envoy.call(reqwest::Method::POST, "/logout", &headers).await;
    assert!(seen.passed(), "{seen:?}");
    let seen = envoy.bearer("/protected", &token).await;
    assert_eq!((seen.status, seen.reason()), (401, "revoked"));
    let checks = elsewhere.checks().await;
    eventually("a refusal by the other replica", async || {
        (checks.bearer(&token).await.reason() == "revoked").then_some(())
    })
    .await;
    let other = Token::access("b").sign(&key);
    assert!(envoy.bearer("/protected", &other).await.passed());
}

#[tokio::test]
async fn only_a_request_that_passes_revokes() {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    let config = Config::trusting(&key, &scratch).section(POLICIES);
    let revoxy = Revoxy::start(&scratch, &config).await;
    let checks = revoxy.checks().await;
    let token = Token::access("a").sign(&key);
    for (policy, expected) in [
        ("scoped_logout", (403, "insufficient_scope")),
        ("logout_of_session", (401, "wrong_token_type")),
        ("default", (0, "ok")),
        ("maybe_logout", (0, "ok")),
        ("default", (401, "revoked")),
    ] {
        let answer = checks.ask(Ask::bearer(&token).policy(policy)).await;
        assert_eq!(answer.verdict(), expected, "{policy}");
    }
    let anonymous = checks.ask(Ask::new().policy("maybe_logout")).await;
    assert_eq!(anonymous.verdict(), (0, "anonymous"));
}

#[tokio::test]
async fn a_logout_that_cannot_be_recorded_does_not_pass_whatever_the_policy_says_of_outages() {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    let redis = Redis::start(&scratch).await;
    let proxy = Proxy::before(redis.port()).await;
    let config = Config::trusting(&key, &scratch)
        .store(proxy.store())
        .section(POLICIES);
    let revoxy = Revoxy::start(&scratch, &config).await;
    let checks = revoxy.checks().await;
    let token = Token::access("a").sign(&key);
    proxy.set(Mood::Cutting);
    // Only now does the policy of the logout route allow because of the outage.
    eventually("a view that is too old", async || {
        (checks.bearer(&token).await.reason() == "revocation_unavailable").then_some(())
    })
    .await;
    let answer = checks.ask(Ask::bearer(&token).policy("logout")).await;
    assert_eq!(answer.verdict(), (503, "revocation_unavailable"));
    proxy.set(Mood::Passing);
    eventually("a logout", async || {
        let answer = checks.ask(Ask::bearer(&token).policy("logout")).await;
        // The attempt before may have been recorded after all.
        matches!(answer.reason(), "ok" | "revoked").then_some(())
    })
    .await;
    assert_eq!(checks.bearer(&token).await.verdict(), (401, "revoked"));
}

#[tokio::test]
async fn a_logout_route_that_logs_nobody_out_is_a_mistake() {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    for (line, policy, said) in [
        (
            "token_types: [access]",
            "{ token_type: refresh, on_allow: revoke }",
            "no check looks up tokens of type refresh",
        ),
        (
            "token_types: [access]",
            "{ token: none, on_allow: revoke }",
            "not looked at",
        ),
        (
            "on_unavailable: delegate",
            "{ on_allow: revoke }",
            "with `on_unavailable: delegate`, the proxy would let a logout pass",
        ),
    ] {
        let config = Config::trusting(&key, &scratch).revocation(line);
        let config = config.section(&format!("  bad: {policy}"));
        let (status, output) = run_with(&scratch, &["check-config"], &config.yaml()).await;
        assert_eq!(status.code(), Some(2), "{policy}: {output}");
        assert!(output.contains(said), "{policy}: {output}");
    }
}
