//! What policies demand of a token, and the challenge to a token that does not suffice.

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use crate::support::server::run_with;
use crate::support::tokens::{AUDIENCE, now};
use crate::support::{
    Answer, Ask, Checks, Config, Envoy, Revoxy, Scratch, SigningKey, Token, Upstream,
};

const POLICIES: &str = "  reads: { scopes: [orders:read, profile] }
  reads_or_writes: { any_scope: [orders:write, orders:read] }
  admins: { claims: { /realm_access/roles: { contains: admin }, email_verified: { equals: true } } }
  gold: { claims: { tier: { any_of: [gold, platinum, 3] }, tenant: exists } }
  of_shop: { issuers: [shop], audiences: [billing, payments] }
  of_other: { issuers: [other] }
  fresh: { fresh: true }
  strong: { acr: [urn:mfa, urn:hardware], max_age: 5m }
  lenient: { scopes: [orders:read], check_revocation: false }
  maybe: { token: optional, scopes: [orders:read] }";

struct Scene {
    key: SigningKey,
    revoxy: Revoxy,
    checks: Checks,
    _scratch: Scratch,
}

impl Scene {
    async fn set() -> Self {
        let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
        let config = Config::trusting(&key, &scratch).section(POLICIES);
        // With the same keys.
        let other = format!(
            "leeway: 0s\n  - {{ name: other, issuer: https://other.example, algorithms: [ES256], keys: {} }}",
            config.keys
        );
        let config = config.issuer(&other);
        let revoxy = Revoxy::start(&scratch, &config).await;
        Self {
            checks: revoxy.checks().await,
            key,
            revoxy,
            _scratch: scratch,
        }
    }

    async fn ask(&self, policy: &str, claims: Value) -> Answer {
        let mut token = Token::access("a");
        for (name, value) in claims.as_object().unwrap() {
            token = token.with(name, value.clone());
        }
        let token = token.sign(&self.key);
        self.checks.ask(Ask::bearer(&token).policy(policy)).await
    }

    async fn verdicts(&self, policy: &str, refused: (i32, &str), cases: &[(Value, bool)]) {
        for (claims, passes) in cases {
            let answer = self.ask(policy, claims.clone()).await;
            let expected = if *passes { (0, "ok") } else { refused };
            assert_eq!(answer.verdict(), expected, "{policy}: {claims}");
            assert_eq!(answer.allows(), *passes, "{policy}: {claims}");
        }
    }
}

#[tokio::test]
async fn scopes_are_read_from_a_text_and_a_list_under_both_names() {
    let scene = Scene::set().await;
    let refused = (403, "insufficient_scope");
    let cases = [
        (json!({}), false),
        (json!({ "scope": "profile orders:read" }), true),
        (json!({ "scope": ["orders:read", "profile"] }), true),
        (json!({ "scp": ["profile", "orders:read", "x"] }), true),
        (json!({ "scp": "profile", "scope": "orders:read" }), true),
        (json!({ "scope": "profile" }), false),
        (json!({ "scope": "profile orders:reading" }), false),
        (json!({ "scope": "profile Orders:read" }), false),
        (json!({ "scope": ["profile orders:read"] }), false),
        (json!({ "scope": null }), false),
        (json!({ "scope": { "profile": "orders:read" } }), false),
    ];
    scene.verdicts("reads", refused, &cases).await;
    let cases = [
        (json!({ "scope": "orders:read" }), true),
        (json!({ "scp": ["orders:write"] }), true),
        (json!({ "scope": "orders" }), false),
    ];
    scene.verdicts("reads_or_writes", refused, &cases).await;
}

#[tokio::test]
async fn claims_are_compared_without_converting_types() {
    let scene = Scene::set().await;
    let refused = (403, "insufficient_claims");
    let roles =
        |roles: Value| json!({ "realm_access": { "roles": roles }, "email_verified": true });
    let cases = [
        (roles(json!(["user", "admin"])), true),
        (roles(json!(["user"])), false),
        (roles(json!("admin")), false),
        (roles(json!([["admin"]])), false),
        (
            json!({ "realm_access": { "roles": ["admin"] }, "email_verified": "true" }),
            false,
        ),
        (json!({ "email_verified": true }), false),
    ];
    scene.verdicts("admins", refused, &cases).await;
    let cases = [
        (json!({ "tier": "gold", "tenant": 0 }), true),
        (json!({ "tier": 3, "tenant": false }), true),
        (json!({ "tier": 3.0, "tenant": "" }), true),
        (json!({ "tier": "3", "tenant": "a" }), false),
        (json!({ "tier": ["gold"], "tenant": "a" }), false),
        (json!({ "tier": "gold" }), false),
        (json!({ "tier": "gold", "tenant": null }), false),
    ];
    scene.verdicts("gold", refused, &cases).await;
    let answer = scene.ask("gold", json!({ "tier": "gold" })).await;
    assert_eq!(answer.metadata["claim"], "tenant");
}

#[tokio::test]
async fn issuers_and_audiences_narrow_what_the_issuer_permits() {
    let scene = Scene::set().await;
    let with = |audience: &str| json!({ "aud": [AUDIENCE, audience] });
    let refused = (401, "audience_not_accepted");
    let cases = [
        (with("billing"), true),
        (with("payments"), true),
        (with("Billing"), false),
        (json!({}), false),
    ];
    scene.verdicts("of_shop", refused, &cases).await;
    let refused = (401, "issuer_not_accepted");
    let other = json!({ "iss": "https://other.example", "aud": "billing" });
    scene
        .verdicts("of_shop", refused, &[(other.clone(), false)])
        .await;
    let cases = [(other, true), (json!({}), false)];
    scene.verdicts("of_other", refused, &cases).await;
}

#[tokio::test]
async fn a_weak_or_old_authentication_is_challenged_to_a_stronger_one() {
    let scene = Scene::set().await;
    let cases = [
        (json!({ "fresh": true }), true),
        (json!({ "fresh": now() + 60 }), true),
        (json!({ "fresh": now() - 60 }), false),
        (json!({ "fresh": false }), false),
        (json!({ "fresh": "true" }), false),
        (json!({}), false),
    ];
    scene.verdicts("fresh", (401, "not_fresh"), &cases).await;
    let since = |seconds: i64| json!({ "acr": "urn:mfa", "auth_time": now() - seconds });
    let cases = [
        (since(10), true),
        (since(400), false),
        (json!({ "acr": "urn:hardware" }), false),
        (json!({ "acr": "urn:mfa", "auth_time": "now" }), false),
    ];
    let refused = (401, "authentication_too_old");
    scene.verdicts("strong", refused, &cases).await;
    let refused = (401, "insufficient_acr");
    let cases = [
        (json!({ "acr": "urn:pwd", "auth_time": now() }), false),
        (json!({ "auth_time": now() }), false),
    ];
    scene.verdicts("strong", refused, &cases).await;
}

#[tokio::test]
async fn a_revoked_token_is_refused_as_revoked_and_only_a_policy_that_says_so_lets_it_pass() {
    let scene = Scene::set().await;
    let token = Token::access("revoked")
        .with("scope", "orders:read")
        .sign(&scene.key);
    scene.revoxy.revoke(&token).await;
    for (policy, expected) in [
        ("reads", (401, "revoked")),
        ("maybe", (401, "revoked")),
        ("lenient", (0, "ok")),
    ] {
        let answer = scene.checks.ask(Ask::bearer(&token).policy(policy)).await;
        assert_eq!(answer.verdict(), expected, "{policy}");
    }
    let anonymous = scene.checks.ask(Ask::new().policy("maybe")).await;
    assert_eq!(anonymous.verdict(), (0, "anonymous"));
    let refused = (403, "insufficient_scope");
    scene
        .verdicts("maybe", refused, &[(json!({}), false)])
        .await;
}

#[tokio::test]
async fn through_envoy_the_challenge_says_what_would_suffice() {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    let routes = format!(
        "{POLICIES}
routes:
  - {{ path_template: \"/orders/{{id}}\", methods: [GET], policy: reads }}
  - {{ path: /admin, policy: admins }}
  - {{ path_prefix: /bank, policy: strong }}"
    );
    let routes = routes.replace("  of_other: { issuers: [other] }\n", "");
    let config = Config::trusting(&key, &scratch).section(&routes);
    let revoxy = Revoxy::start(&scratch, &config).await;
    let app = Upstream::start().await;
    let envoy = Envoy::start(&scratch, &revoxy.check, app.address).await;
    let token = Token::access("a").with("scope", "profile").sign(&key);
    for (path, status, reason, challenge) in [
        (
            "/orders/7",
            403,
            "insufficient_scope",
            "error=\"insufficient_scope\", error_description=\"the token lacks a scope that is needed here\", \
             scope=\"orders:read profile\"",
        ),
        (
            "/admin/",
            403,
            "insufficient_claims",
            "error=\"insufficient_scope\", error_description=\"a claim is not as it is needed here: /realm_access/roles\"",
        ),
        (
            "/bank/transfer",
            401,
            "insufficient_acr",
            "error=\"insufficient_user_authentication\", error_description=\"a stronger authentication is needed here\", \
             acr_values=\"urn:mfa urn:hardware\", max_age=\"300\"",
        ),
    ] {
        let seen = envoy.bearer(path, &token).await;
        assert_eq!((seen.status, seen.reason()), (status, reason), "{path}");
        let expected = format!("Bearer realm=\"revoxy\", {challenge}");
        assert_eq!(seen.challenge, Some(expected), "{path}");
    }
    let granted = Token::access("a")
        .with("scope", "profile orders:read")
        .sign(&key);
    assert!(envoy.bearer("/orders/7?page=2", &granted).await.passed());
    assert!(envoy.bearer("/elsewhere", &token).await.passed());
}

#[tokio::test]
async fn a_demand_that_nobody_can_meet_is_a_mistake_at_start() {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    for (policy, said) in [
        (
            "{ issuers: [shops] }",
            "there is no issuer `shops`; configured: shop",
        ),
        (
            "{ token: none, scopes: [a] }",
            "tokens, which are not looked at with `token: none`",
        ),
        ("{ scopes: [\"a b\"] }", "`a b` is no scope (RFC 6749 §3.3)"),
        ("{ acr: [\"\"] }", "is empty"),
        ("{ max_age: 0s }", "must be whole seconds"),
        (
            "{ claims: { tier: { any_of: [] } } }",
            "no value meets this condition",
        ),
        ("{ max_age: 1500ms }", "must be whole seconds"),
        (
            "{ claims: { tier: { equals: null } } }",
            "no value meets this condition",
        ),
        ("{ claims: { tier: { equal: 1 } } }", "equal"),
    ] {
        let config = Config::trusting(&key, &scratch).section(&format!("  bad: {policy}"));
        let (status, output) = run_with(&scratch, &["check-config"], &config.yaml()).await;
        assert_eq!(status.code(), Some(2), "{policy}: {output}");
        assert!(output.contains(said), "{policy}: {output}");
    }
}

#[tokio::test]
async fn every_example_in_the_documentation_is_a_valid_configuration() {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    let page = include_str!("../../docs/policies.md");
    let examples = page.split("```yaml\npolicies:\n").skip(1);
    let mut seen = 0;
    for example in examples {
        let (example, _) = example.split_once("```").unwrap();
        // The configuration of the tests has a policy of this name already.
        let example = example.replace("  public: { token: none }\n", "");
        let config = Config::trusting(&key, &scratch).section(&example);
        let (status, output) = run_with(&scratch, &["check-config"], &config.yaml()).await;
        assert_eq!(status.code(), Some(0), "{example}\n{output}");
        assert!(!output.contains("never match"), "{example}\n{output}");
        seen += 1;
    }
    assert_eq!(seen, page.matches("```yaml").count());
}

#[tokio::test]
async fn a_path_is_compared_in_one_spelling_and_a_route_that_has_none_is_a_mistake() {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    let section = "  reads: { scopes: [a] }
routes:
  - { path: \"/orders:cancel\", policy: reads }
  - { path_prefix: /café, policy: reads }
  - { path_template: \"/users/{id}/@admin\", policy: reads }";
    let config = Config::trusting(&key, &scratch).section(section);
    let revoxy = Revoxy::start(&scratch, &config).await;
    let checks = revoxy.checks().await;
    let token = Token::access("a").sign(&key);
    for path in [
        "/orders:cancel",
        "/orders%3Acancel",
        "/orders%3acancel/",
        "/caf%C3%A9/1",
        "/caf%c3%a9",
        "/users/bob%40x/%40admin",
    ] {
        let ask = Ask::bearer(&token).to("GET", "shop.example", path);
        let answer = checks.ask(ask).await;
        assert_eq!(answer.verdict(), (403, "insufficient_scope"), "{path}");
    }
    for (route, said) in [
        ("path: /orders?x=1", "has a query"),
        ("path: /a//b", "not in normal form"),
        ("path_prefix: /%61dmin", "not in normal form"),
        (
            "path: \"/orders/{id}\"",
            "a variable goes with `path_template`",
        ),
        (
            "path_template: \"/orders/{id\"",
            "a variable is a whole segment",
        ),
    ] {
        let section = format!("routes:\n  - {{ {route}, policy: default }}");
        let config = Config::trusting(&key, &scratch).section(&section);
        let (status, output) = run_with(&scratch, &["check-config"], &config.yaml()).await;
        assert_eq!(status.code(), Some(2), "{route}: {output}");
        assert!(output.contains(said), "{route}: {output}");
    }
}

#[tokio::test]
async fn a_route_that_can_never_match_is_named() {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    let section = "  reads: { scopes: [a] }
routes:
  - { path_prefix: /orders, policy: reads }
  - { path_template: \"/orders/{id}\", methods: [GET], policy: default }";
    let config = Config::trusting(&key, &scratch).section(section);
    let (status, output) = run_with(&scratch, &["check-config"], &config.yaml()).await;
    assert_eq!(status.code(), Some(0), "{output}");
    let expected =
        "routes.1 can never match: routes.0, which comes first, matches all that it matches";
    assert!(output.contains(expected), "{output}");
}
