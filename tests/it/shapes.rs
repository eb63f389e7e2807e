//! Tokens as real applications and providers make them: each taken by a Revoxy that is configured for it, over a real
//! Redis, and refused once it is revoked in whichever way.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use crate::config::mistakes;
use crate::support::server::{revoxy, run_with};
use crate::support::tokens::now;
use crate::support::{Admin, Ask, Checks, Redis, Revoxy, Scratch, admin, eventually};

/// As long as HS256 demands.
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
/// A hundred years, in milliseconds.
const FOR_EVER: i64 = 100 * 365 * 86_400 * 1000;

struct Scene {
    redis: Redis,
    revoxy: Revoxy,
    checks: Checks,
}

/// The configuration, with these lines of the issuer `app` and of the section `revocation`, and more sections.
fn yaml(redis: &str, issuer: &str, revocation: &str, more: &str) -> String {
    let algorithms = match issuer.contains("algorithms:") {
        true => "",
        false => "algorithms: [HS256], ",
    };
    format!(
        "server: {{ check: \"127.0.0.1:0\", operations: \"127.0.0.1:0\", api: \"127.0.0.1:0\", shutdown: {{ delay: 0s }} }}
issuers: [{{ name: app, {algorithms}{issuer} }}]
revocation: {{ store: {{ redis: {{ url: {redis:?}, timeout: 10s }} }}, {revocation} }}
policies: {{ refresh: {{ token_type: refresh }} }}
{more}"
    )
}

impl Scene {
    async fn set(scratch: &Scratch, issuer: &str, revocation: &str, more: &str) -> Self {
        let redis = Redis::start(scratch).await;
        let config = yaml(&redis.url(), issuer, revocation, more);
        let path = scratch.write("revoxy.yaml", config);
        let mut serve = revoxy(&["serve", "--config", path.to_str().unwrap()]);
        let revoxy = Revoxy::start_as(&mut serve, scratch).await;
        Self {
            checks: revoxy.checks().await,
            revoxy,
            redis,
        }
    }

    async fn is(&self, token: &str, reason: &str) {
        assert_eq!(self.checks.bearer(token).await.reason(), reason);
    }

    async fn becomes(&self, token: &str, reason: &str) {
        eventually(&format!("the answer {reason}"), async || {
            (self.checks.bearer(token).await.reason() == reason).then_some(())
        })
        .await;
    }

    /// The token is good, until this key is set, and again when it is deleted.
    async fn is_revoked_by(&self, key: &str, token: &str) {
        self.becomes(token, "ok").await;
        let _: redis::Value = self.redis.run(&["SET", key, ""]);
        self.becomes(token, "revoked").await;
        let _: redis::Value = self.redis.run(&["DEL", key]);
        self.becomes(token, "ok").await;
    }
}

fn signed_as(algorithm: Algorithm, secret: &[u8], claims: &Value) -> String {
    revoxy::jwt::install_crypto().unwrap();
    let header = jsonwebtoken::Header::new(algorithm);
    let key = jsonwebtoken::EncodingKey::from_secret(secret);
    jsonwebtoken::encode(&header, claims, &key).unwrap()
}

fn signed_with(secret: &[u8], claims: &Value) -> String {
    signed_as(Algorithm::HS256, secret, claims)
}

fn signed(claims: &Value) -> String {
    signed_with(SECRET, claims)
}

#[tokio::test]
async fn the_numbers_of_a_nestjs_token_name_the_same_keys_as_the_application_s() {
    let scratch = Scratch::new();
    // Base64, as `JWT_SECRET` often is.
    let secret = scratch.write("secret", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n");
    let issuer = format!(
        "allow_missing_iss: true, allow_numeric_ids: true, keys: {{ secret_file: {secret:?}, secret_encoding: base64 }}"
    );
    let lookups = "lookups: [{ key: \"blacklist:{jti}\" }, { key: \"user:{sub}\", match: exists }]";
    let scene = Scene::set(&scratch, &issuer, lookups, "").await;
    let claims = json!({
        "sub": 1, "username": "john", "jti": 4242, "iat": now(), "exp": now() + 600,
    });
    let token = signed(&claims);
    for key in [
        "blacklist:4242",
        "user:1",
        "revoxy:jti:app:4242",
        "revoxy:sub:app:1",
    ] {
        scene.is_revoked_by(key, &token).await;
    }
    // The API names it alike.
    scene.revoxy.revoke(&token).await;
    scene.is(&token, "revoked").await;
    let found: i64 = scene.redis.run(&["EXISTS", "revoxy:jti:app:4242"]);
    assert_eq!(found, 1);
}

#[tokio::test]
async fn sessions_and_clients_of_providers_can_be_revoked() {
    let scratch = Scratch::new();
    let secret = scratch.write("secret", SECRET);
    let issuer = format!(
        "issuer: \"https://p.example\", sid_claim: [session_id, origin_jti], client_claim: [cid, appid, azp], \
         sub_claim: oid, keys: {{ secret_file: {secret:?} }}"
    );
    let scene = Scene::set(&scratch, &issuer, "", "").await;
    for (claims, key) in [
        // Supabase, Cognito, Okta, Azure v1 and v2.
        (
            json!({ "session_id": "b1", "role": "authenticated" }),
            "revoxy:sid:app:b1",
        ),
        (
            json!({ "origin_jti": "aa", "token_use": "access" }),
            "revoxy:sid:app:aa",
        ),
        (json!({ "cid": "0oa1", "ver": 1 }), "revoxy:client:app:0oa1"),
        (
            json!({ "appid": "6e74", "ver": "1.0" }),
            "revoxy:client:app:6e74",
        ),
        (
            json!({ "azp": "6e75", "ver": "2.0" }),
            "revoxy:client:app:6e75",
        ),
        (
            json!({ "oid": "u-1", "sub": "pairwise" }),
            "revoxy:sub:app:u-1",
        ),
    ] {
        let mut all = json!({ "iss": "https://p.example", "exp": now() + 600, "jti": key });
        all.as_object_mut()
            .unwrap()
            .extend(claims.as_object().unwrap().clone());
        scene.is_revoked_by(key, &signed(&all)).await;
    }
}

#[tokio::test]
async fn what_revokes_a_token_without_exp_does_not_end() {
    let scratch = Scratch::new();
    // The stock secret of RuoYi has 26 letters, which jjwt 0.9 takes for base64, leaving out what does not fill four.
    let secret = scratch.write("secret", "abcdefghijklmnopqrstuvwx");
    let stock = STANDARD.decode("abcdefghijklmnopqrstuvwx").unwrap();
    let issuer = format!(
        "algorithms: [HS512], allow_missing_iss: true, allow_missing_exp: true, \
         keys: {{ secret_file: {secret:?}, secret_encoding: base64, allow_short_secret: true }}"
    );
    let lookups = "lookups: [{ key: \"login_tokens:{claim:login_user_key}\", match: never, missing: revoked }]";
    let scene = Scene::set(&scratch, &issuer, lookups, "").await;
    let claims = json!({ "sub": "admin", "login_user_key": "8f3c" });
    let token = signed_as(Algorithm::HS512, &stock, &claims);
    scene.is(&token, "revoked").await;
    let _: redis::Value = scene
        .redis
        .run(&["SET", "login_tokens:8f3c", "{}", "EX", "1800"]);
    scene.becomes(&token, "ok").await;
    scene.is_revoked_by("revoxy:sub:app:admin", &token).await;
    scene.revoxy.revoke(&token).await;
    scene.is(&token, "revoked").await;
    let keys: Vec<String> = scene.redis.run(&["KEYS", "revoxy:digest:app:*"]);
    let life: i64 = scene.redis.run(&["PTTL", &keys[0]]);
    assert!(life > FOR_EVER, "{life}");
    // The secret is complained about at every start.
    let log = scene.revoxy.log().await;
    assert!(log.contains("allow_short_secret"), "{log}");
}

#[tokio::test]
async fn a_token_without_exp_may_be_registered_for_ever_or_for_its_longest_life() {
    for (more, least, most) in [
        ("", FOR_EVER, i64::MAX),
        (", max_lifetime: 1h", 3_500_000, 3_800_000),
    ] {
        let scratch = Scratch::new();
        let secret = scratch.write("secret", SECRET);
        let issuer = format!(
            "issuer: app, allow_missing_exp: true{more}, keys: {{ secret_file: {secret:?} }}"
        );
        let section = admin::section(&scratch);
        let scene = Scene::set(&scratch, &issuer, "mode: allow_list", &section).await;
        let token = signed(&json!({ "iss": "app", "sub": "a", "jti": "t1", "iat": now() }));
        scene.is(&token, "revoked").await;
        let said = Admin::of(&scene.revoxy)
            .post("/tokens", json!({ "token": token }))
            .await;
        assert!(matches!(said.status, 200 | 201), "{said:?}");
        scene.becomes(&token, "ok").await;
        let life: i64 = scene.redis.run(&["PTTL", "revoxy:registered:jti:app:t1"]);
        assert!((least..most).contains(&life), "{life}");
        scene.is_revoked_by("revoxy:jti:app:t1", &token).await;
        scene.revoxy.revoke(&token).await;
        let life: i64 = scene.redis.run(&["PTTL", "revoxy:jti:app:t1"]);
        assert!((least..most).contains(&life), "{life}");
    }
}

#[tokio::test]
async fn one_revocation_finds_the_tokens_of_every_value_of_iss() {
    let scratch = Scratch::new();
    let secret = scratch.write("secret", SECRET);
    let issuer = format!(
        "issuer: [\"https://shop.example/api/login\", \"https://shop.example/api/refresh\"], \
         issuer_pattern: \"https://login.microsoftonline.com/{{uuid}}/v2.0\", keys: {{ secret_file: {secret:?} }}"
    );
    let scene = Scene::set(&scratch, &issuer, "", "").await;
    let of = |iss: &str| signed(&json!({ "iss": iss, "sub": "1", "jti": iss, "exp": now() + 600 }));
    let values = [
        "https://shop.example/api/login",
        "https://shop.example/api/refresh",
        "https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47/v2.0",
    ];
    for iss in values {
        scene.is_revoked_by("revoxy:sub:app:1", &of(iss)).await;
    }
    for iss in [
        "https://shop.example/api/logout",
        "https://login.microsoftonline.com/common/v2.0",
    ] {
        scene.is(&of(iss), "unknown_issuer").await;
    }
}

#[tokio::test]
async fn refresh_tokens_with_a_secret_of_their_own_are_told_apart_and_revoked() {
    let scratch = Scratch::new();
    let refresh_secret = b"another secret of the same application";
    let (access, refresh) = (
        scratch.write("access", SECRET),
        scratch.write("refresh", refresh_secret),
    );
    let issuer = format!(
        "allow_missing_iss: true, keys: {{ secret_file: {access:?} }}, refresh_keys: {{ secret_file: {refresh:?} }}"
    );
    let scene = Scene::set(&scratch, &issuer, "", "").await;
    let claims = json!({ "userId": 7, "sub": "7", "iat": now(), "exp": now() + 600 });
    let (access, refresh) = (signed(&claims), signed_with(refresh_secret, &claims));
    let with = async |token: &str, policy: &str| {
        let ask = Ask::bearer(token).policy(policy);
        scene.checks.ask(ask).await.reason().to_owned()
    };
    assert_eq!(with(&access, "default").await, "ok");
    assert_eq!(with(&refresh, "default").await, "wrong_token_type");
    assert_eq!(with(&refresh, "refresh").await, "ok");
    assert_eq!(with(&access, "refresh").await, "wrong_token_type");
    let forged = signed_with(b"a secret of somebody else's, long enough", &claims);
    assert_eq!(with(&forged, "default").await, "bad_signature");
    scene.revoxy.revoke(&refresh).await;
    assert_eq!(with(&refresh, "refresh").await, "revoked");
    for key_of in ["app", "app/refresh"] {
        let keys = format!("revoxy_jwks_keys{{issuer=\"{key_of}\"}}");
        assert!((scene.revoxy.metric(&keys).await - 1.0).abs() < 0.1);
    }
}

#[tokio::test]
async fn claims_must_have_the_values_that_are_configured() {
    let scratch = Scratch::new();
    let secret = scratch.write("secret", SECRET);
    let issuer = format!(
        "issuer: app, required_claims: {{ client_id: [abc, def], email_verified: true, /realm/roles: user }}, \
         keys: {{ secret_file: {secret:?} }}"
    );
    let scene = Scene::set(&scratch, &issuer, "", "").await;
    let good = json!({
        "iss": "app", "exp": now() + 600, "client_id": "abc", "email_verified": true,
        "realm": { "roles": ["guest", "user"] },
    });
    scene.is(&signed(&good), "ok").await;
    for (claim, value, reason) in [
        ("client_id", json!("xyz"), "wrong_claim"),
        ("email_verified", json!(false), "wrong_claim"),
        ("realm", json!({ "roles": ["guest"] }), "wrong_claim"),
        ("realm", json!({}), "missing_claim"),
    ] {
        let mut claims = good.clone();
        claims[claim] = value;
        let answer = scene.checks.bearer(&signed(&claims)).await;
        assert_eq!(answer.verdict(), (401, reason), "{claim}");
    }
}

#[tokio::test]
async fn check_config_names_every_relaxation() {
    let scratch = Scratch::new();
    let secret = scratch.write("secret", "short");
    let issuer = format!(
        "issuer: [a, b], issuer_pattern: \"user-{{digits}}\", allow_missing_iss: true, allow_missing_exp: true, \
         allow_numeric_ids: true, keys: {{ secret_file: {secret:?}, allow_short_secret: true }}"
    );
    let strict = yaml(
        "redis://127.0.0.1:1/0",
        &format!(
            "issuer: a, keys: {{ secret_file: {:?} }}",
            scratch.write("long", SECRET)
        ),
        "",
        "",
    );
    let relaxed = yaml("redis://127.0.0.1:1/0", &issuer, "", "");
    let says = async |yaml: &str| {
        let (status, said) = run_with(&scratch, &["check-config"], yaml).await;
        assert_eq!(status.code(), Some(0), "{said}");
        said
    };
    let said = says(&relaxed).await;
    for name in [
        "the issuer app is relaxed: ",
        "issuer (several",
        "issuer_pattern",
        "allow_missing_iss",
        "allow_missing_exp (such tokens never expire)",
        "allow_numeric_ids",
        "keys.allow_short_secret",
    ] {
        assert!(said.contains(name), "{name}: {said}");
    }
    let said = says(&strict).await;
    assert!(!said.contains("relaxed"), "{said}");
}

#[tokio::test]
async fn files_that_are_missing_are_named_for_both_kinds_of_keys_at_once() {
    let scratch = Scratch::new();
    let issuer = "issuer: a, keys: { secret_file: /nowhere/access }, refresh_keys: { secret_file: /nowhere/refresh }";
    let yaml = yaml("redis://127.0.0.1:1/0", issuer, "", "");
    let found = mistakes(&scratch, &yaml).await;
    for (key, file) in [
        ("issuers.0.keys: ", "/nowhere/access"),
        ("issuers.0.refresh_keys: ", "/nowhere/refresh"),
    ] {
        let named = |line: &&String| line.contains(key) && line.contains(file);
        assert_eq!(found.iter().filter(named).count(), 1, "{key}{found:?}");
    }
}
