//! Verification where Envoy has its part: stripping what it is told to, and handing over what it verified itself.

use jsonwebtoken::Algorithm;
use serde_json::json;

use crate::support::tokens::{AUDIENCE, ISSUER};
use crate::support::{Config, Envoy, Revoxy, Scratch, SigningKey, Token, Upstream};

#[tokio::test]
async fn a_stripped_token_reaches_no_application_whichever_way_it_came() {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    let sources = "token_sources:\n  - { header: authorization, strip: true }\n  \
                   - { cookie: at, strip: true }\n  - { query: at, strip: true }";
    let config = Config::trusting(&key, &scratch).section(sources);
    let revoxy = Revoxy::start(&scratch, &config).await;
    let app = Upstream::start().await;
    let envoy = Envoy::start(&scratch, &revoxy.check, app.address).await;
    let token = Token::access("a").sign(&key);
    let bearer = format!("Bearer {token}");
    let cookie = format!("at={token}");
    let among = format!("x=1; at={token}; y=2");
    let query = format!("/a?x=1&at={token}&y=2");
    // The public route lets anything through, but no token of ours either.
    for path in ["/protected", "/login"] {
        let seen = envoy.send(path, &[("authorization", &bearer)]).await;
        assert!(seen.passed(), "{seen:?}");
        assert_eq!(seen.body["headers"]["authorization"], json!(null));
        let seen = envoy.send(path, &[("cookie", &cookie)]).await;
        assert!(seen.passed(), "{seen:?}");
        assert_eq!(seen.body["headers"]["cookie"], json!(null));
    }
    let seen = envoy.send("/protected", &[("cookie", &among)]).await;
    assert_eq!(seen.body["headers"]["cookie"], "x=1; y=2");
    let seen = envoy.send(&query, &[]).await;
    assert!(seen.passed(), "{seen:?}");
    assert_eq!(seen.body["query"], "x=1&y=2");
    let seen = envoy.send("/a?x=1&%61t=t", &[]).await;
    assert_eq!(seen.reason(), "ambiguous_token");
    let seen = envoy
        .send("/login", &[("authorization", "Basic dTpw")])
        .await;
    assert_eq!(seen.body["headers"]["authorization"], "Basic dTpw");
}

#[tokio::test]
async fn no_application_behind_envoy_gets_another_token_than_the_one_that_was_checked() {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    let sources = "token_sources: [{ cookie: access_token }, { query: access_token }]";
    let config = Config::trusting(&key, &scratch).section(sources);
    let revoxy = Revoxy::start(&scratch, &config).await;
    let app = Upstream::start().await;
    let envoy = Envoy::start(&scratch, &revoxy.check, app.address).await;
    let (good, revoked) = (Token::access("good"), Token::access("revoked"));
    let (good, revoked) = (good.sign(&key), revoked.sign(&key));
    revoxy.revoke(&revoked).await;
    let ask = async |query: &str, cookie: &str| {
        let request = format!(
            "GET /protected?{query} HTTP/1.1\r\nhost: shop.example\r\ncookie: {cookie}\r\nconnection: close\r\n\r\n"
        );
        envoy.raw(&request).await
    };
    let token = format!("access_token={good}");
    assert_eq!(ask(&token, &token).await, 200);
    // What PHP 8.2 takes for `access_token`, and what readers that do not mind the case do.
    for name in [
        "access.token",
        "access%2Etoken",
        "access+token",
        "access[token",
        "+access_token",
        "%20access_token",
        "access_token%00x",
        "access_token[]",
        "[access_token]",
        "Access_Token",
    ] {
        let status = ask(&format!("{token}&{name}={revoked}"), "").await;
        assert!(matches!(status, 400 | 401), "{name} in the query: {status}");
    }
    for cookie in [
        format!("access.token={revoked}; {token}"),
        format!("access token={revoked}; {token}"),
        format!("access_token[]={revoked}; {token}"),
        format!("ACCESS_TOKEN={revoked}; {token}"),
        // Python takes both for two cookies.
        format!("{token}; x=1 access_token={revoked}"),
        format!("{token}; x=1, access_token={revoked}"),
    ] {
        assert_eq!(ask("", &cookie).await, 401, "{cookie}");
    }
}

/// `envoy.yaml` with Envoy's own verification before Revoxy's.
async fn with_jwt_authn(
    scratch: &Scratch,
    revoxy: &Revoxy,
    app: &Upstream,
    key: &SigningKey,
    forward: bool,
) -> Envoy {
    let jwks = json!({ "keys": [key.jwk("k")] }).to_string();
    let provider = json!({
        "issuer": ISSUER, "audiences": [AUDIENCE], "payload_in_metadata": "payload", "forward": forward,
        "local_jwks": { "inline_string": jwks },
    });
    let known_or_none = json!({ "requires_any": { "requirements": [
        { "provider_name": "shop" }, { "allow_missing": {} },
    ] } });
    let filter = json!({
        "name": "envoy.filters.http.jwt_authn",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
            "providers": { "shop": provider },
            "rules": [{ "match": { "prefix": "/" }, "requires": known_or_none }],
        },
    });
    let filters = "                http_filters:\n";
    let prefix = "                      stat_prefix: revoxy\n";
    let indent = " ".repeat(22);
    let namespaces =
        format!("{prefix}{indent}metadata_context_namespaces: [envoy.filters.http.jwt_authn]\n");
    let edits = [
        (
            filters,
            &*format!("{filters}                  - {filter}\n"),
        ),
        (prefix, &*namespaces),
    ];
    Envoy::start_edited(scratch, &revoxy.check, app.address, &edits).await
}

#[tokio::test]
async fn claims_that_envoy_has_verified_are_taken_with_and_without_the_token() {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::RS256));
    let mut config = Config::trusting(&key, &scratch)
        .issuer("verification: envoy_metadata")
        .issuer("metadata_key: payload");
    config.keys = "{}".to_owned();
    config.algorithms = String::new();
    let revoxy = Revoxy::start(&scratch, &config).await;
    assert!(
        revoxy
            .process
            .output()
            .contains("signatures of this issuer are not verified here")
    );
    let app = Upstream::start().await;
    let token = Token::access("a").sign(&key);
    for forward in [true, false] {
        let envoy = with_jwt_authn(&scratch, &revoxy, &app, &key, forward).await;
        let seen = envoy.bearer("/protected", &token).await;
        assert!(seen.passed(), "{seen:?}");
        let forwarded = seen.body["headers"]["authorization"].is_string();
        assert_eq!(forwarded, forward);
        let refresh = Token::refresh("r").sign(&key);
        let seen = envoy.bearer("/protected", &refresh).await;
        assert_eq!(seen.reason(), "wrong_token_type");
        let seen = envoy.get("/protected", &[]).await;
        assert_eq!((seen.status, seen.reason()), (401, "no_token"));
        let stranger = Token::access("a").sign(&SigningKey::generate(Algorithm::RS256));
        let seen = envoy.bearer("/protected", &stranger).await;
        // Envoy itself says so.
        assert_eq!((seen.status, seen.reason()), (401, ""));
    }
    // Past Envoy's filter nothing is believed, and nothing can be revoked.
    let answer = revoxy.checks().await.bearer(&token).await;
    assert_eq!(answer.verdict(), (401, "not_verified_by_proxy"));
    let (status, body) = revoxy.post_revoke(format!("token={token}")).await;
    assert_eq!(
        (status, &body["error"]),
        (400, &json!("unsupported_token_type"))
    );
}
