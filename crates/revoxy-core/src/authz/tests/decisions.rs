//! Tests of the decision about a request, from the policy to the store's answer, and of what the verdict
//! contains.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::authz::{
    Authorizer, AuthzRequest, OnUnavailable, Policies, Policy, ProxyClaims, RequestHeaders,
    TokenDemand, TokenPlace, TokenSource, Verdict,
};
use crate::clock::ManualClock;
use crate::jwt::testing::{self, Signer};
use crate::jwt::{CachingVerifier, Issuer, IssuerProfile, KeyDemand, Verifier};
use crate::revocation::scripted_store::Answering;
use crate::revocation::{
    CheckedTypes, Checker, CheckerSettings, Cutoff, RegistrationKey, StoreError, TokenKeys,
};

struct Headers(Vec<(&'static str, String)>);

impl RequestHeaders for Headers {
    fn visit<'h>(&'h self, name: &str, visit: &mut dyn FnMut(&'h [u8])) {
        for (_, value) in self.0.iter().filter(|(n, _)| *n == name) {
            visit(value.as_bytes());
        }
    }
}

fn bearer(token: &str) -> Headers {
    Headers(vec![("authorization", format!("Bearer {token}"))])
}

fn request<'r>(policy: &'r str, headers: &'r Headers) -> AuthzRequest<'r> {
    AuthzRequest {
        policy: Some(policy),
        method: "GET",
        host: "shop.example",
        path: "/",
        headers,
        proxy: None,
    }
}

fn token() -> String {
    testing::token_of(Signer::of("ES256"), "ES256", "p256")
}

fn policies() -> Policies {
    let on = |choice| (TokenDemand::Required, choice);
    let named = [
        ("default", on(OnUnavailable::Deny)),
        ("optional", (TokenDemand::Optional, OnUnavailable::Deny)),
        ("public", (TokenDemand::None, OnUnavailable::Deny)),
        ("allow", on(OnUnavailable::Allow)),
        ("delegate", on(OnUnavailable::Delegate)),
        ("stale", on(OnUnavailable::ServeStale(SERVE_STALE))),
    ];
    let policy = |(index, (name, (token, on_unavailable)))| Policy {
        name: str::to_owned(name),
        index,
        token,
        on_unavailable,
        ..Policy::default()
    };
    let policies = named.into_iter().enumerate().map(policy).collect();
    Policies::new(policies, Vec::new()).unwrap()
}

const SERVE_STALE: Duration = Duration::from_secs(100);

fn over(verifier: Verifier, checker: Option<Checker>, listed: bool) -> Authorizer {
    let derive = move |claims: &_, _: Option<&str>| {
        let keys = TokenKeys::of(claims);
        let own = RegistrationKey::of(&keys.keys()[0]);
        if listed {
            keys.on_allow_list(own)
        } else {
            keys
        }
    };
    let verifier = CachingVerifier::new(Arc::new(verifier), 10, derive);
    let clock = Arc::new(ManualClock::at(testing::now()));
    Authorizer::new(policies(), verifier, checker, clock)
}

fn checking(store: Answering) -> Checker {
    let settings = CheckerSettings {
        types: CheckedTypes {
            access: true,
            refresh: true,
        },
        deadline: Duration::from_secs(1),
        max_staleness: Duration::from_secs(1),
    };
    Checker::new(Arc::new(store), settings, Arc::new(()))
}

/// The reason, policy, issuer and claim of a verdict.
type Said<'v> = (
    &'static str,
    Option<&'v str>,
    Option<&'v str>,
    Option<&'v str>,
);

fn said<'v>(verdict: &'v Verdict<'v>) -> Said<'v> {
    let policy = verdict.policy.map(|policy| policy.name.as_str());
    let reason = verdict.outcome.reason();
    (
        reason,
        policy,
        verdict.issuer.as_deref(),
        verdict.claim.as_deref(),
    )
}

#[tokio::test]
async fn a_verdict_names_the_policy_the_issuer_of_a_good_token_and_the_claim_of_a_bad_one() {
    let authorizer = over(testing::verifier(), None, false);
    let mut without_exp = testing::claims();
    without_exp.remove("exp");
    let header = json!({ "alg": "ES256", "kid": "p256" }).to_string();
    let payload = Value::Object(without_exp).to_string();
    let without_exp = Signer::of("ES256").token("ES256", &header, &payload);
    let default = Some("default");
    for (policy, headers, expected) in [
        (
            "default",
            bearer(&token()),
            ("ok", default, Some("shop"), None),
        ),
        (
            "default",
            bearer(&without_exp),
            ("missing_claim", default, None, Some("exp")),
        ),
        (
            "default",
            Headers(Vec::new()),
            ("no_token", default, None, None),
        ),
        (
            "optional",
            Headers(Vec::new()),
            ("anonymous", Some("optional"), None, None),
        ),
        (
            "optional",
            bearer("x"),
            ("malformed", Some("optional"), None, None),
        ),
        (
            "public",
            bearer("x"),
            ("public", Some("public"), None, None),
        ),
        (
            "absent",
            bearer(&token()),
            ("unknown_policy", None, None, None),
        ),
    ] {
        let verdict = authorizer.authorize(&request(policy, &headers)).await;
        assert_eq!(said(&verdict), expected);
    }
}

#[tokio::test]
async fn tokens_are_looked_for_and_stripped_where_that_is_configured_and_remembered() {
    let source = TokenSource {
        place: TokenPlace::Header {
            name: "x-token".to_owned(),
            scheme: None,
        },
        strip: true,
    };
    let authorizer = over(testing::verifier(), None, false).with_token_sources(vec![source]);
    assert_eq!(authorizer.cached_tokens().entries, 0);
    let headers = Headers(vec![("x-token", token())]);
    let verdict = authorizer.authorize(&request("default", &headers)).await;
    assert_eq!(verdict.outcome.reason(), "ok");
    assert_eq!(authorizer.cached_tokens().entries, 1);
    let stripped = authorizer.strip(&request("default", &headers));
    assert_eq!(stripped.headers, ["x-token"]);
}

#[tokio::test]
async fn the_store_s_word_decides_and_its_silence_is_what_the_policy_says() {
    let revoked = || Answering::with(Ok(Some(Cutoff::All)));
    let silent = || Answering::with(Err(StoreError::Timeout));
    let (young, old) = (SERVE_STALE / 2, SERVE_STALE * 2);
    for (policy, store, listed, expected) in [
        ("default", Answering::with(Ok(None)), false, "ok"),
        ("default", revoked(), false, "revoked"),
        ("allow", revoked(), false, "revoked"),
        ("default", silent(), false, "revocation_unavailable"),
        ("allow", silent(), false, "fail_open"),
        ("delegate", silent(), false, "revocation_delegated"),
        ("stale", silent(), false, "revocation_unavailable"),
        ("stale", silent().with_view(young), false, "stale"),
        (
            "stale",
            silent().with_view(old),
            false,
            "revocation_unavailable",
        ),
        // The view does not contain all that the token needs.
        (
            "stale",
            silent().with_view(young),
            true,
            "revocation_unavailable",
        ),
    ] {
        let authorizer = over(testing::verifier(), Some(checking(store)), listed);
        let headers = bearer(&token());
        let verdict = authorizer.authorize(&request(policy, &headers)).await;
        let expected = (expected, Some(policy), Some("shop"), None);
        assert_eq!(said(&verdict), expected, "{listed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_check_waits_for_keys_that_are_being_fetched_and_decides_again() {
    let demand = KeyDemand::new(Duration::from_secs(10), Duration::from_millis(50));
    let issuer = Arc::new(Issuer::fetched(testing::profile(), demand));
    let authorizer = over(Verifier::new([Arc::clone(&issuer)]), None, false);
    let headers = bearer(&token());
    let request = request("default", &headers);
    let verdict = authorizer.authorize(&request).await;
    assert_eq!(verdict.outcome.reason(), "keys_unavailable");
    let fetching = issuer.demand().unwrap().begin();
    let fetched = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        issuer.replace_keys(testing::all_keys());
        drop(fetching);
    };
    let (verdict, ()) = tokio::join!(authorizer.authorize(&request), fetched);
    assert_eq!(verdict.outcome.reason(), "ok");
}

/// The claims that the proxy passes under each key.
struct Handed(Vec<(&'static str, Value)>);

impl ProxyClaims for Handed {
    fn payload(&self, key: &str) -> Option<Map<String, Value>> {
        let (_, payload) = self.0.iter().find(|(k, _)| *k == key)?;
        payload.as_object().cloned()
    }
}

#[tokio::test]
async fn two_issuers_may_share_a_key_of_the_proxy_and_two_different_payloads_are_ambiguous() {
    let issuer = |name: &str, key: &str| {
        let profile = IssuerProfile {
            name: Arc::from(name),
            issuer: Some(format!("https://{name}.example")),
            ..testing::profile()
        };
        Arc::new(Issuer::proxied(profile, key.to_owned()))
    };
    let payload = |name: &str| {
        let mut claims = testing::claims();
        claims.insert("iss".to_owned(), json!(format!("https://{name}.example")));
        Value::Object(claims)
    };
    let issuers = [issuer("a", "one"), issuer("b", "one"), issuer("c", "two")];
    let authorizer = over(Verifier::new(issuers), None, false);
    for (handed, expected) in [
        (vec![("one", payload("a"))], "ok"),
        (vec![("one", payload("b"))], "ok"),
        (
            vec![("one", payload("a")), ("two", payload("c"))],
            "ambiguous_token",
        ),
        // Found under a key that is not the issuer's.
        (vec![("two", payload("a"))], "no_token"),
    ] {
        let (headers, handed) = (Headers(Vec::new()), Handed(handed));
        let request = AuthzRequest {
            proxy: Some(&handed),
            ..request("default", &headers)
        };
        let verdict = authorizer.authorize(&request).await;
        assert_eq!(verdict.outcome.reason(), expected);
    }
}
