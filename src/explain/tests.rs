//! Tests of explanations, with and without a store.

use super::*;
use crate::authz::{Policy, TypeDemand};
use crate::jwt::testing::{self, Signer};
use crate::revocation::{CheckedTypes, KeyRule, Lookups, Match, WithoutClaim};

fn explain(token: &str, now: Timestamp, policy: &str) -> Explanation {
    let policies = ["default", "refresh"];
    let policies = policies.iter().enumerate().map(|(index, name)| Policy {
        name: (*name).to_owned(),
        index,
        token_type: [TypeDemand::Access, TypeDemand::Refresh][index],
        ..Policy::default()
    });
    let policies = Policies::new(policies.collect(), Vec::new()).unwrap();
    let terms = Terms {
        policies,
        policy: Some(policy),
        keys: KeyRules {
            types: CheckedTypes {
                access: true,
                refresh: true,
            },
            lookups: lookups(),
            allow_list: false,
        },
    };
    Explanation::of(token, testing::verifier(), terms, now)
}

fn lookups() -> Lookups {
    let skipping = KeyRule {
        without_claim: WithoutClaim::Skip,
        ..KeyRule::named("session:{sid}", Match::Exists).unwrap()
    };
    let of = |key| KeyRule::named(key, Match::Exists).unwrap();
    Lookups::new(vec![of("bl:{jti}"), of("{token_sha256_hex}"), skipping])
}

#[test]
fn the_keys_of_applications_are_shown_but_none_that_is_made_of_the_token_s_text() {
    let token = testing::token_of(Signer::of("EdDSA"), "EdDSA", "ed25519");
    let text = explain(&token, testing::now(), "default").to_string();
    let lookups: Vec<_> = text.lines().filter(|l| l.starts_with("lookup")).collect();
    let expected = [
        "lookup     --  not asked; would be under \"bl:t1\"",
        "lookup     --  not asked; would be under \"{token_sha256_hex}\"",
    ];
    assert_eq!(lookups, expected);
}

#[test]
fn a_token_that_cannot_be_looked_up_is_said_to_be_refused() {
    let policy = Policy {
        name: "default".to_owned(),
        ..Policy::default()
    };
    let policies = Policies::new(vec![policy], Vec::new()).unwrap();
    let lookups = Lookups::new(vec![KeyRule::named("{sid}", Match::Exists).unwrap()]);
    let types = CheckedTypes {
        access: true,
        refresh: false,
    };
    let terms = Terms {
        policies,
        policy: None,
        keys: KeyRules {
            types,
            lookups,
            allow_list: false,
        },
    };
    let token = testing::token_of(Signer::of("EdDSA"), "EdDSA", "ed25519");
    let explanation = Explanation::of(&token, testing::verifier(), terms, testing::now());
    let text = explanation.to_string();
    assert!(text.ends_with("deny: unidentified"), "{text}");
    assert!(!explanation.allows());
}

#[test]
fn a_good_token_passes_every_step_and_none_of_it_is_shown() {
    let token = testing::token_of(Signer::of("ES256"), "ES256", "p256");
    let explanation = explain(&token, testing::now(), "default");
    let text = explanation.to_string();
    let steps: Vec<_> = text
        .lines()
        .filter_map(|l| l.split_whitespace().next())
        .collect();
    let expected = [
        "form",
        "header",
        "issuer",
        "algorithm",
        "key",
        "signature",
        "claims",
    ];
    assert_eq!(steps[..7], expected, "{text}");
    assert!(text.contains("revoxy:jti:shop:t1"), "{text}");
    assert!(text.ends_with("allow: ok, unless revoked"), "{text}");
    for part in token.split('.') {
        assert!(!text.contains(&part[..10]), "{text}");
    }
}

#[test]
fn the_step_that_fails_is_the_last_and_says_why() {
    let token = testing::token_of(Signer::of("ES256"), "ES256", "p256");
    let forged = testing::token_of(&Signer::p256(), "ES256", "p256");
    let late = testing::now().plus(std::time::Duration::from_secs(10_000));
    for (token, now, policy, expected) in [
        (
            "garbage",
            testing::now(),
            "default",
            "form       no  the token is malformed: parts: 1, a signed JWT has three\nverdict        deny: malformed",
        ),
        (
            &*forged,
            testing::now(),
            "default",
            "signature  no  the signature is invalid\nverdict        deny: bad_signature",
        ),
        (
            &*token,
            late,
            "default",
            "claims     no  the token has expired: exp 2027-01-15T08:10:00Z (9400s ago), leeway 30s\nverdict        deny: expired",
        ),
        (&*token, testing::now(), "refresh", "deny: wrong_token_type"),
        (&*token, testing::now(), "absent", "error: unknown_policy"),
    ] {
        let explanation = explain(token, now, policy);
        assert!(explanation.to_string().ends_with(expected), "{explanation}");
        assert!(!explanation.allows());
    }
}

/// The explanation of the step that fails for a token with these claims.
fn failure(payload: &serde_json::Value, header: &serde_json::Value) -> String {
    let signer = Signer::of("ES256");
    let token = signer.token("ES256", &header.to_string(), &payload.to_string());
    let text = explain(&token, testing::now(), "default").to_string();
    let failed = text.lines().find(|line| line.contains(" no  "));
    failed.unwrap_or_default().to_owned()
}

#[test]
fn what_a_refused_token_says_stands_beside_what_is_configured() {
    use serde_json::{Value, json};
    let header = json!({ "alg": "ES256", "kid": "p256" });
    let claims = testing::claims();
    let but = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims.insert(name.to_owned(), value);
        Value::Object(claims)
    };
    let iss = testing::ISS;
    for (payload, header, expected) in [
        (
            but("iss", json!("https://evil.example")),
            header.clone(),
            format!("the issuer is not known: iss \"https://evil.example\", configured: {iss:?}"),
        ),
        (
            but("iss", json!(format!("{iss}/"))),
            header.clone(),
            format!("configured: {iss:?}; {iss:?} differs by a slash at the end"),
        ),
        (
            but("aud", json!(["a", "b"])),
            header.clone(),
            "another audience: aud [\"a\",\"b\"], configured: \"shop\"".to_owned(),
        ),
        (
            but("nbf", json!(testing::now().secs() + 60)),
            header.clone(),
            "not valid yet: nbf 2027-01-15T08:01:00Z (in 60s), leeway 30s".to_owned(),
        ),
        (
            but("jti", json!({ "a": "\u{9b}31m" })),
            header.clone(),
            "a claim has an invalid value: jti: found {\"a\":\"?31m\"}".to_owned(),
        ),
        (
            but("iss", json!(iss)),
            json!({ "alg": "ES256", "kid": "new\u{1b}" }),
            "the signing key is not known: kid \"new\\u{1b}\", alg \"ES256\"; the issuer has: ".to_owned(),
        ),
        (
            but("iss", json!(iss)),
            json!({ "alg": "ES256", "kid": "p256", "typ": "logout+jwt" }),
            "this kind of token is not accepted: header \"alg\" \"ES256\", \"kid\" \"p256\", \"typ\" \"logout+jwt\"".to_owned(),
        ),
    ] {
        let failed = failure(&payload, &header);
        assert!(failed.contains(&expected), "{failed}\n{expected}");
    }
}

#[test]
fn what_was_copied_along_with_a_token_is_named() {
    let token = testing::token_of(Signer::of("ES256"), "ES256", "p256");
    let (without_signature, _) = token.rsplit_once('.').unwrap();
    for (token, expected) in [
        (
            format!("\"{token}\""),
            "it has the character '\"', which no JWT has",
        ),
        (
            without_signature.to_owned(),
            "parts: 2, a signed JWT has three",
        ),
    ] {
        let text = explain(&token, testing::now(), "default").to_string();
        assert!(text.contains(expected), "{text}");
    }
}

#[tokio::test]
async fn the_store_says_which_revocation_stands_and_until_when() {
    use crate::revocation::{Cutoff, MemoryStore, Revocation, RevocationStore as _};
    let token = testing::token_of(Signer::of("ES256"), "ES256", "p256");
    let now = testing::now();
    let store = MemoryStore::new(Arc::new(ManualClock::at(now)));
    let asked = async || {
        let mut explanation = explain(&token, now, "default");
        // A memory store does not support application keys.
        explanation.question.as_mut().unwrap().keys = {
            let keys = &explanation.question.as_ref().unwrap().keys;
            keys.clone().with_foreign(Vec::new())
        };
        explanation.ask(&store).await;
        explanation
    };
    let clear = asked().await;
    assert!(clear.to_string().ends_with("allow: ok"), "{clear}");
    assert!(
        clear
            .to_string()
            .contains("no revocation under \"revoxy:jti:shop:t1\"")
    );
    let keys = clear.question.unwrap().keys;
    let revocation = |cutoff| Revocation {
        key: keys.keys()[0].clone(),
        cutoff,
        expires_at: now.plus(std::time::Duration::from_secs(60)),
        reason: Some("lost phone".to_owned()),
        actor: None,
        revoked_at: now,
    };
    store
        .revoke(&revocation(Cutoff::IssuedUpTo(Timestamp::from_secs(1))))
        .await
        .unwrap();
    let spared = asked().await.to_string();
    assert!(
        spared.contains("ok  revoked if issued up to 1970-01-01T00:00:01Z (this one: "),
        "{spared}"
    );
    assert!(spared.ends_with("allow: ok"), "{spared}");
    store.revoke(&revocation(Cutoff::All)).await.unwrap();
    let refused = asked().await.to_string();
    let expected = "revocation no  revoked, reason \"lost phone\", since 2027-01-15T08:00:00Z, until \
                    2027-01-15T08:01:00Z, under \"revoxy:jti:shop:t1\"";
    assert!(refused.contains(expected), "{refused}");
    assert!(refused.ends_with("deny: revoked"), "{refused}");
}
