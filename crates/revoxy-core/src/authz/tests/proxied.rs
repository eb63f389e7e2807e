//! Tests of claims that the proxy has verified: they are used only if that is configured, they are still
//! judged, and they are never mixed with the claims of a token.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::authz::{Authorizer, AuthzRequest, Policies, Policy, ProxyClaims, RequestHeaders};
use crate::clock::ManualClock;
use crate::jwt::testing::{self, Signer};
use crate::jwt::{CachingVerifier, Issuer, IssuerProfile, Verifier};
use crate::revocation::TokenKeys;

struct Request {
    token: Option<String>,
    payload: Option<Value>,
}

impl RequestHeaders for Request {
    fn visit<'h>(&'h self, name: &str, visit: &mut dyn FnMut(&'h [u8])) {
        if let (Some(token), "authorization") = (&self.token, name) {
            visit(token.as_bytes());
        }
    }
}

impl ProxyClaims for Request {
    fn payload(&self, key: &str) -> Option<Map<String, Value>> {
        let payload = self.payload.as_ref().filter(|_| key == "jwt_payload")?;
        payload.as_object().cloned()
    }
}

/// Two issuers: the proxy verifies the tokens of one, and Revoxy verifies the tokens of the other.
fn authorizer() -> Authorizer {
    let own = IssuerProfile {
        name: Arc::from("own"),
        issuer: Some("https://own.example".to_owned()),
        ..testing::profile()
    };
    let proxied = Issuer::proxied(testing::profile(), "jwt_payload".to_owned());
    let own = Issuer::new(own, testing::all_keys());
    let policy = Policy {
        name: "default".to_owned(),
        ..Policy::default()
    };
    let verifier = Arc::new(Verifier::new([Arc::new(proxied), Arc::new(own)]));
    Authorizer::new(
        Policies::new(vec![policy], Vec::new()).unwrap(),
        CachingVerifier::new(verifier, 10, |claims, _| TokenKeys::of(claims)),
        None,
        Arc::new(ManualClock::at(testing::now())),
    )
}

async fn reason(token: Option<&str>, payload: Option<Value>) -> &'static str {
    let request = Request {
        token: token.map(|t| format!("Bearer {t}")),
        payload,
    };
    let request = AuthzRequest {
        policy: None,
        method: "GET",
        host: "shop.example",
        path: "/",
        headers: &request,
        proxy: Some(&request),
    };
    authorizer().authorize(&request).await.outcome.reason()
}

/// The claims as in Envoy's metadata: every number is a double.
fn payload() -> Value {
    let mut claims = testing::claims();
    for claim in ["iat", "nbf", "exp"] {
        claims[claim] = json!(claims[claim].as_f64().unwrap());
    }
    Value::Object(claims)
}

fn but(claim: &str, value: Value) -> Value {
    let mut payload = payload();
    payload[claim] = value;
    payload
}

#[tokio::test]
async fn the_proxys_word_is_taken_for_the_signature_and_for_nothing_else() {
    let past = json!(testing::now().secs() - 1000);
    let mut anonymous = payload();
    anonymous.as_object_mut().unwrap().remove("jti");
    for (payload, expected) in [
        (payload(), "ok"),
        (but("exp", past), "expired"),
        (but("aud", json!("other")), "wrong_audience"),
        (but("exp", json!("9999999999")), "invalid_claim"),
        (but("type", json!("refresh")), "wrong_token_type"),
        (anonymous, "missing_claim"),
        // The proxy is not configured to verify this issuer's tokens, so its claims are ignored.
        (but("iss", json!("https://own.example")), "no_token"),
        (but("iss", json!("https://evil.example")), "no_token"),
        (json!("text"), "no_token"),
    ] {
        let found = reason(None, Some(payload.clone())).await;
        assert_eq!(found, expected, "{payload}");
    }
}

#[tokio::test]
async fn a_token_that_the_proxy_has_not_verified_is_refused_whoever_signed_it() {
    let token = testing::token_of(Signer::of("ES256"), "ES256", "p256");
    assert_eq!(reason(Some(&token), None).await, "not_verified_by_proxy");
}

#[tokio::test]
async fn a_token_beside_the_claims_must_be_theirs() {
    let token = testing::token_of(Signer::of("ES256"), "ES256", "p256");
    assert_eq!(reason(Some(&token), Some(payload())).await, "ok");
    let other = but("sub", json!("mallory"));
    let refused = reason(Some(&token), Some(other)).await;
    assert_eq!(refused, "not_verified_by_proxy");
    assert_eq!(reason(Some("garbage"), Some(payload())).await, "malformed");
}
