//! Verdicts, asked for as Envoy does: claims, headers, policies, routes.

use crate::support::tokens::now;
use crate::support::{Answer, Ask, Config, Revoxy, Scratch, SigningKey, Token};

#[tokio::test]
async fn every_fault_of_a_token_has_its_own_reason() {
    let (scratch, key) = (Scratch::new(), SigningKey::es256());
    let revoxy = Revoxy::start(&scratch, &Config::trusting(&key, &scratch)).await;
    let checks = revoxy.checks().await;
    let good = || Token::access("a");
    let day = 86_400;
    for (token, reason) in [
        (good().with("exp", now() - day), "expired"),
        (good().with("nbf", now() + day), "not_yet_valid"),
        (good().with("iat", now() + day), "issued_in_future"),
        (good().with("iss", "https://evil.example"), "unknown_issuer"),
        (good().with("aud", "another"), "wrong_audience"),
        (good().with("aud", vec!["x", "y"]), "wrong_audience"),
        (good().without("exp"), "missing_claim"),
        (good().without("iss"), "missing_claim"),
        (good().without("aud"), "missing_claim"),
        (good().with("exp", "tomorrow"), "invalid_claim"),
        (good().with("exp", -1), "invalid_claim"),
        (good().with("jti", 7), "invalid_claim"),
        (good().with("jti", ""), "invalid_claim"),
        (good().with("sub", vec!["a"]), "invalid_claim"),
        (good().header("typ", "logout+jwt"), "unsupported_token"),
        (good().header("crit", vec!["exp"]), "unsupported_token"),
        (good().with("pad", "x".repeat(17_000)), "token_too_large"),
        (Token::refresh("a"), "wrong_token_type"),
        (good().with("type", "id"), "wrong_token_type"),
    ] {
        let answer = checks.bearer(&token.sign(&key)).await;
        assert_eq!(answer.verdict(), (401, reason), "{answer:?}");
        assert_eq!(answer.metadata["decision"], "deny");
    }
    for token in [
        good(),
        good().without("type"),
        good().without("jti"),
        good().without("iat"),
        good().with("aud", vec!["x", "shop"]),
        good().header("typ", "at+jwt"),
        good().header("typ", "application/at+JWT"),
    ] {
        let answer = checks.bearer(&token.clone().sign(&key)).await;
        assert!(answer.allows(), "{answer:?}");
        assert_eq!(answer.metadata["issuer"], "shop");
        assert_eq!(answer.metadata["policy"], "default");
    }
}

#[tokio::test]
async fn a_changed_token_is_refused() {
    let (scratch, key) = (Scratch::new(), SigningKey::es256());
    let revoxy = Revoxy::start(&scratch, &Config::trusting(&key, &scratch)).await;
    let checks = revoxy.checks().await;
    let (a, b) = (Token::access("a").sign(&key), Token::access("b").sign(&key));
    let parts = |token: &str| token.split('.').map(str::to_owned).collect::<Vec<_>>();
    let (a, b) = (parts(&a), parts(&b));
    let mixed = format!("{}.{}.{}", a[0], b[1], a[2]);
    assert_eq!(
        checks.bearer(&mixed).await.verdict(),
        (401, "bad_signature")
    );
    for (token, reason) in [
        ("garbage".to_owned(), "malformed"),
        ("..".to_owned(), "malformed"),
        (format!("{}.{}", a[0], a[1]), "malformed"),
        (format!("{}.{}.{}=", a[0], a[1], a[2]), "malformed"),
        (format!("{}.{}.{}.{}", a[0], a[1], a[2], a[2]), "malformed"),
        (format!("{}.{}.", a[0], a[1]), "unsupported_token"),
        (format!("{}.a.b.c.d", a[0]), "unsupported_token"),
    ] {
        let answer = checks.bearer(&token).await;
        assert_eq!(answer.verdict(), (401, reason), "{token}");
    }
}

#[tokio::test]
async fn the_leeway_bridges_small_differences_between_clocks() {
    let (scratch, key) = (Scratch::new(), SigningKey::es256());
    // Where no revocation is looked up, `exp` has it too.
    let config = Config::trusting(&key, &scratch).issuer("leeway: 1m");
    let config = config.revocation("enabled: false");
    let revoxy = Revoxy::start(&scratch, &config).await;
    let checks = revoxy.checks().await;
    let ask = async |claim: &str, off: i64| {
        let token = Token::access("a").with(claim, now() + off).sign(&key);
        checks.bearer(&token).await.reason().to_owned()
    };
    for (claim, within, beyond, reason) in [
        ("exp", -30, -120, "expired"),
        ("nbf", 30, 120, "not_yet_valid"),
        ("iat", 30, 120, "issued_in_future"),
    ] {
        assert_eq!(ask(claim, within).await, "ok", "{claim}");
        assert_eq!(ask(claim, beyond).await, reason, "{claim}");
    }
}

#[tokio::test]
async fn the_leeway_is_none_for_exp_of_tokens_whose_revocation_is_looked_up() {
    let (scratch, key) = (Scratch::new(), SigningKey::es256());
    let config = Config::trusting(&key, &scratch).issuer("leeway: 1m");
    let config = config.revocation("token_types: [access]");
    let revoxy = Revoxy::start(&scratch, &config).await;
    let checks = revoxy.checks().await;
    let late = |token: Token| token.with("exp", now() - 5).sign(&key);
    let answer = checks.bearer(&late(Token::access("a"))).await;
    assert_eq!(answer.reason(), "expired");
    let early = Token::access("a").with("iat", now() + 30).sign(&key);
    assert!(checks.bearer(&early).await.allows());
    let refresh = late(Token::refresh("b"));
    let answer = checks.ask(Ask::bearer(&refresh).policy("refresh")).await;
    assert_eq!(answer.reason(), "ok");
}

#[tokio::test]
async fn token_types_are_read_where_the_issuer_puts_them() {
    let (scratch, key) = (Scratch::new(), SigningKey::es256());
    let keycloak = "token_type: { claim: typ, access: [Bearer], refresh: [Refresh, Offline] }";
    let config = Config::trusting(&key, &scratch).issuer(keycloak);
    let revoxy = Revoxy::start(&scratch, &config).await;
    let checks = revoxy.checks().await;
    // `type` means nothing to this issuer.
    let token = |typ: &str| Token::refresh("a").with("typ", typ).sign(&key);
    for (typ, default, refresh) in [
        ("Bearer", "ok", "wrong_token_type"),
        ("Refresh", "wrong_token_type", "ok"),
        ("Offline", "wrong_token_type", "ok"),
        ("ID", "wrong_token_type", "wrong_token_type"),
    ] {
        let ask = Ask::bearer(&token(typ));
        assert_eq!(checks.ask(ask.clone()).await.reason(), default, "{typ}");
        let answer = checks.ask(ask.clone().policy("refresh")).await;
        assert_eq!(answer.reason(), refresh, "{typ}");
        assert!(checks.ask(ask.policy("any")).await.allows(), "{typ}");
    }
}

#[tokio::test]
async fn policies_say_which_token_is_needed() {
    let (scratch, key) = (Scratch::new(), SigningKey::es256());
    let revoxy = Revoxy::start(&scratch, &Config::trusting(&key, &scratch)).await;
    let checks = revoxy.checks().await;
    let access = Ask::bearer(&Token::access("a").sign(&key));
    let refresh = Ask::bearer(&Token::refresh("r").sign(&key));
    let (bad, none) = (Ask::bearer("garbage"), Ask::new());
    let basic = Ask::new().header("authorization", "Basic dTpw");
    for (policy, ask, reason) in [
        ("default", &access, "ok"),
        ("default", &refresh, "wrong_token_type"),
        ("default", &none, "no_token"),
        ("default", &basic, "no_token"),
        ("refresh", &access, "wrong_token_type"),
        ("refresh", &refresh, "ok"),
        ("any", &access, "ok"),
        ("any", &refresh, "ok"),
        ("any", &none, "no_token"),
        ("optional", &none, "anonymous"),
        ("optional", &access, "ok"),
        ("optional", &bad, "malformed"),
        ("optional", &refresh, "wrong_token_type"),
        ("public", &none, "public"),
        ("public", &bad, "public"),
        ("nothing", &access, "unknown_policy"),
        ("", &access, "unknown_policy"),
        ("Default", &access, "unknown_policy"),
    ] {
        let answer = checks.ask(ask.clone().policy(policy)).await;
        assert_eq!(answer.reason(), reason, "{policy}");
        let status = match reason {
            "ok" | "anonymous" | "public" => 0,
            "unknown_policy" => 503,
            _ => 401,
        };
        assert_eq!(answer.status, status, "{policy} {reason}");
        assert_eq!(answer.allows(), status == 0);
    }
}

#[tokio::test]
async fn routes_choose_the_policy_where_the_proxy_names_none() {
    let (scratch, key) = (Scratch::new(), SigningKey::es256());
    let routes = "routes:
  - { path_prefix: /health, policy: public }
  - { path: /refresh, methods: [POST], policy: refresh }
  - { host: open.example, policy: public }";
    let config = Config::trusting(&key, &scratch).section(routes);
    let revoxy = Revoxy::start(&scratch, &config).await;
    let checks = revoxy.checks().await;
    let shop = "shop.example";
    let refresh = Token::refresh("r").sign(&key);
    for (method, host, path, status, reason) in [
        ("GET", shop, "/health", 0, "public"),
        ("GET", shop, "/health/live?x=//", 0, "public"),
        ("GET", shop, "/healthy", 401, "wrong_token_type"),
        ("GET", shop, "/HEALTH", 401, "wrong_token_type"),
        ("POST", shop, "/refresh", 0, "ok"),
        ("GET", shop, "/refresh", 401, "wrong_token_type"),
        ("POST", shop, "/refresh/", 0, "ok"),
        ("POST", shop, "/refresh/x", 401, "wrong_token_type"),
        ("GET", "Open.Example:8443", "/x", 0, "public"),
        ("GET", "open.example.", "/x", 0, "public"),
        ("GET", "open.example.:8443", "/x", 0, "public"),
        ("post", shop, "/refresh", 403, "ambiguous_method"),
        ("Get", shop, "/health", 403, "ambiguous_method"),
        (
            "GET",
            "open.example.evil.example",
            "/x",
            401,
            "wrong_token_type",
        ),
        ("GET", shop, "/health/../admin", 403, "ambiguous_path"),
        ("GET", shop, "//health", 403, "ambiguous_path"),
        ("GET", shop, "/health%2f..%2fadmin", 403, "ambiguous_path"),
        ("GET", shop, "/%68ealth", 403, "ambiguous_path"),
    ] {
        let ask = Ask::bearer(&refresh).to(method, host, path);
        let answer = checks.ask(ask.clone()).await;
        assert_eq!(answer.verdict(), (status, reason), "{method} {host}{path}");
        // What the proxy names comes first.
        let answer = checks.ask(ask.policy("refresh")).await;
        assert!(answer.allows(), "{method} {host}{path}");
    }
}

#[tokio::test]
async fn headers_in_either_encoding_give_the_same_verdict() {
    let (scratch, key) = (Scratch::new(), SigningKey::es256());
    let revoxy = Revoxy::start(&scratch, &Config::trusting(&key, &scratch)).await;
    let checks = revoxy.checks().await;
    let (good, other) = (Token::access("a").sign(&key), Token::access("b").sign(&key));
    for value in [
        format!("Bearer {good}"),
        format!("bearer {good}"),
        format!("Bearer  {good} "),
        format!("Bearer {good}, Bearer {other}"),
        format!("Bearer {good},Bearer {good}"),
        format!("Bearer {good} {other}"),
        "Bearer".to_owned(),
        "Basic dTpw".to_owned(),
        good.clone(),
        String::new(),
    ] {
        let plain = checks.ask(Ask::new().header("authorization", &value)).await;
        let raw = Ask::new().raw_header("authorization", value.as_bytes());
        assert_eq!(checks.ask(raw).await, plain, "{value}");
        let cased = Ask::new().raw_header("Authorization", value.as_bytes());
        assert_eq!(checks.ask(cased).await, plain, "{value}");
    }
    let raw = |value: &str| Ask::new().raw_header("authorization", value.as_bytes());
    let (good, other) = (format!("Bearer {good}"), format!("Bearer {other}"));
    let ambiguous = |answer: Answer| assert_eq!(answer.verdict(), (401, "ambiguous_token"));
    ambiguous(
        checks
            .ask(raw(&good).raw_header("authorization", other.as_bytes()))
            .await,
    );
    ambiguous(
        checks
            .ask(raw(&good).raw_header("authorization", b"Basic dTpw"))
            .await,
    );
    ambiguous(checks.ask(raw(&good).header("authorization", &other)).await);
    let answer = checks
        .ask(Ask::new().raw_header("authorization", b"Bearer \xff\xfe"))
        .await;
    assert_eq!(answer.verdict(), (401, "malformed"));
}

#[tokio::test]
async fn revocation_can_be_switched_off_or_limited_to_token_types() {
    let key = SigningKey::es256();
    let (access, refresh) = (
        Token::access("a").sign(&key),
        Token::refresh("r").sign(&key),
    );
    for (line, access_reason, refresh_reason) in [
        ("token_types: [access, refresh]", "revoked", "revoked"),
        ("token_types: [refresh]", "ok", "revoked"),
        ("token_types: [access]", "revoked", "ok"),
        ("enabled: false", "ok", "ok"),
    ] {
        let scratch = Scratch::new();
        let config = Config::trusting(&key, &scratch).revocation(line);
        let revoxy = Revoxy::start(&scratch, &config).await;
        for (token, reason) in [(&access, access_reason), (&refresh, refresh_reason)] {
            let (status, body) = revoxy.post_revoke(format!("token={token}")).await;
            // RFC 7009 §2.2.1: what would not be enforced is not acknowledged.
            let expected = if reason == "revoked" { 200 } else { 400 };
            assert_eq!(status, expected, "{line}: {body}");
        }
        let checks = revoxy.checks().await;
        assert_eq!(
            checks.bearer(&access).await.reason(),
            access_reason,
            "{line}"
        );
        let answer = checks.ask(Ask::bearer(&refresh).policy("refresh")).await;
        assert_eq!(answer.reason(), refresh_reason, "{line}");
    }
}
