//! The wording of answers: status, `WWW-Authenticate`, body, metadata, in every configured shape.

use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use jsonwebtoken::Algorithm;
use serde_json::json;
use tonic::Code;

use crate::support::tokens::now;
use crate::support::{Answer, Ask, Config, Revoxy, Scratch, SigningKey, Token};

async fn start(section: &str) -> (Scratch, SigningKey, Revoxy) {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    let config = Config::trusting(&key, &scratch).section(section);
    let revoxy = Revoxy::start(&scratch, &config).await;
    (scratch, key, revoxy)
}

fn challenge(answer: &Answer) -> &str {
    &answer.headers["www-authenticate"]
}

#[tokio::test]
async fn a_denial_says_why_in_header_and_body() {
    let (_scratch, key, revoxy) = start("responses: { realm: the shop }").await;
    let checks = revoxy.checks().await;

    let answer = checks.ask(Ask::new()).await;
    assert_eq!(
        (answer.code, answer.kind),
        (Code::Unauthenticated as i32, "denied")
    );
    assert_eq!(challenge(&answer), "Bearer realm=\"the shop\"");
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(answer.body["error"], "unauthorized");
    assert_eq!(answer.body["reason"], "no_token");

    let token = Token::access("a").with("exp", now() - 3600).sign(&key);
    let answer = checks.bearer(&token).await;
    assert_eq!(
        challenge(&answer),
        "Bearer realm=\"the shop\", error=\"invalid_token\", \
         error_description=\"the token has expired\""
    );
    let body = json!({
        "error": "invalid_token",
        "error_description": "the token has expired",
        "reason": "expired",
    });
    assert_eq!(answer.body, body);
    let metadata: Vec<_> = answer.metadata.iter().map(|(k, v)| (&**k, &**v)).collect();
    let expected = [
        ("decision", "deny"),
        ("policy", "default"),
        ("reason", "expired"),
    ];
    assert_eq!(metadata, expected);

    let token = Token::access("a").without("exp").sign(&key);
    let answer = checks.bearer(&token).await;
    let description = "a required claim is missing: exp";
    assert!(challenge(&answer).ends_with(&format!("error_description=\"{description}\"")));
    assert_eq!(answer.body["error_description"], description);
    assert_eq!(answer.metadata["claim"], "exp");

    let twice = Ask::new().header("authorization", "Bearer a, Bearer b");
    let answer = checks.ask(twice).await;
    assert!(challenge(&answer).contains("error=\"invalid_request\""));
}

#[tokio::test]
async fn an_error_of_ours_is_a_503_and_never_blames_the_token() {
    let (_scratch, key, revoxy) = start("").await;
    let checks = revoxy.checks().await;
    let ask = Ask::bearer(&Token::access("a").sign(&key)).policy("nothing");
    let answer = checks.ask(ask).await;
    assert_eq!(
        (answer.code, answer.kind),
        (Code::Unavailable as i32, "denied")
    );
    assert_eq!(answer.verdict(), (503, "unknown_policy"));
    assert_eq!(answer.headers["retry-after"], "1");
    assert!(!answer.headers.contains_key("www-authenticate"));
    assert_eq!(answer.body["error"], "temporarily_unavailable");
    assert_eq!(answer.metadata["decision"], "error");
}

#[tokio::test]
async fn a_request_without_http_attributes_is_an_error() {
    let (_scratch, _key, revoxy) = start("").await;
    let checks = revoxy.checks().await;
    let attributes = |attributes| CheckRequest { attributes };
    for request in [
        attributes(None),
        attributes(Some(AttributeContext::default())),
        attributes(Some(AttributeContext {
            context_extensions: [("policy".to_owned(), "public".to_owned())].into(),
            ..AttributeContext::default()
        })),
    ] {
        let answer = checks.ask(request).await;
        assert_eq!(answer.verdict(), (503, "bad_check_request"));
        assert!(!answer.allows());
    }
}

#[tokio::test]
async fn errors_are_sent_as_errors_where_that_is_configured() {
    let (_scratch, key, revoxy) = start("responses: { error_response: true }").await;
    let checks = revoxy.checks().await;
    let good = Ask::bearer(&Token::access("a").sign(&key));
    assert!(checks.ask(good.clone()).await.allows());
    let answer = checks.ask(good.policy("nothing")).await;
    assert_eq!((answer.kind, answer.status), ("error", 503));
    assert_eq!(answer.code, Code::Unavailable as i32);
    // A denial is no error, whatever is configured.
    let answer = checks.bearer("garbage").await;
    assert_eq!((answer.kind, answer.status), ("denied", 401));
}

#[tokio::test]
async fn bodies_can_look_like_those_of_flask_jwt_extended() {
    let (_scratch, key, revoxy) = start("responses: { body: flask-jwt-extended }").await;
    let checks = revoxy.checks().await;
    let msg = async |ask: Ask| checks.ask(ask).await.body;
    let revoked = Token::access("revoked").sign(&key);
    revoxy.revoke(&revoked).await;
    assert_eq!(
        msg(Ask::new()).await,
        json!({ "msg": "Missing Authorization Header" })
    );
    assert_eq!(
        msg(Ask::bearer(&revoked)).await,
        json!({ "msg": "Token has been revoked" })
    );
    let expired = Token::access("a").with("exp", now() - 3600).sign(&key);
    assert_eq!(
        msg(Ask::bearer(&expired)).await,
        json!({ "msg": "Token has expired" })
    );
    let body = msg(Ask::bearer("garbage")).await;
    assert_eq!(body, json!({ "msg": "the token is malformed" }));
    let body = msg(Ask::new().policy("nothing")).await;
    assert_eq!(body.as_object().unwrap().len(), 1);
    // The header stays that of OAuth.
    let answer = checks.bearer(&revoked).await;
    assert!(challenge(&answer).contains("error=\"invalid_token\""));
}

#[tokio::test]
async fn the_name_of_a_claim_that_no_header_can_hold_is_left_out_of_the_answer() {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    let config = Config::trusting(&key, &scratch).issuer("required_claims: ['a\"b', \"ü\"]");
    let revoxy = Revoxy::start(&scratch, &config).await;
    let answer = revoxy
        .checks()
        .await
        .bearer(&Token::access("a").sign(&key))
        .await;
    assert_eq!(answer.verdict(), (401, "missing_claim"));
    assert!(challenge(&answer).ends_with("error_description=\"a required claim is missing\""));
    assert_eq!(answer.metadata["claim"], "a\"b");
}
