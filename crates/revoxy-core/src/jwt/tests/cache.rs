//! Attacks on the cache of verified tokens.

use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::*;
use crate::jwt::cache::{CacheLimits, CachingVerifier};
use crate::jwt::claims::VerifiedClaims;
use crate::jwt::error::VerifyError;
use crate::jwt::rejection::Rejection;

/// A cache and its issuer.
fn caching(capacity: usize) -> (CachingVerifier<String>, Arc<Issuer>) {
    let issuer = issuer_with(profile(), all_keys());
    let verifier = Arc::new(Verifier::new([Arc::clone(&issuer)]));
    let derive =
        |claims: &VerifiedClaims, _: Option<&str>| claims.token_id().unwrap_or_default().to_owned();
    (CachingVerifier::new(verifier, capacity, derive), issuer)
}

fn rejected(rejection: Rejection) -> Option<VerifyError> {
    Some(rejection.into())
}

#[test]
fn a_token_is_verified_once_and_found_afterwards() {
    let verifier = Arc::new(verifier());
    let derived = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&derived);
    let derive = move |_: &VerifiedClaims, _: Option<&str>| counted.fetch_add(1, Ordering::SeqCst);
    let cache = CachingVerifier::new(verifier, 100, derive);
    let token = good_token("ES256");
    let first = cache.verify(&token, now()).unwrap();
    let second = cache.verify(&token, now()).unwrap();
    assert!(Arc::ptr_eq(&first, &second));
    assert_eq!(derived.load(Ordering::SeqCst), 1);
}

#[test]
fn a_cached_token_expires_on_time_and_not_a_millisecond_later() {
    let (cache, _) = caching(100);
    let token = good_token("HS256");
    cache.verify(&token, now()).unwrap();
    let last = Timestamp::from_millis(at(600 + LEEWAY).millis() - 1);
    assert!(cache.verify(&token, last).is_ok());
    let expired = cache.verify(&token, at(600 + LEEWAY)).err();
    assert_eq!(expired, rejected(Rejection::Expired));
}

#[test]
fn a_cached_token_is_not_valid_before_its_time_when_the_clock_is_set_back() {
    let (cache, _) = caching(100);
    let token = good_token("HS256");
    cache.verify(&token, now()).unwrap();
    let early = cache.verify(&token, at(-10 - LEEWAY - 1)).err();
    assert_eq!(early, rejected(Rejection::NotYetValid));
    let token = token_without_nbf();
    cache.verify(&token, now()).unwrap();
    let early = cache.verify(&token, at(-10 - LEEWAY - 1)).err();
    assert_eq!(early, rejected(Rejection::IssuedInFuture));
}

fn token_without_nbf() -> String {
    token("HS256", &claims_without("nbf"))
}

#[test]
fn a_cached_token_dies_with_the_key_that_signed_it() {
    let (cache, issuer) = caching(100);
    let token = good_token("ES256");
    cache.verify(&token, now()).unwrap();
    let another = Signer::p256().jwk(Some("next"));
    issuer.replace_keys(key_set(&[another]));
    let refused = cache.verify(&token, now()).err();
    assert_eq!(refused, rejected(Rejection::UnknownKey));
}

#[test]
fn a_key_that_changed_under_the_same_kid_refuses_what_the_old_one_signed() {
    let (cache, issuer) = caching(100);
    let token = good_token("ES256");
    cache.verify(&token, now()).unwrap();
    issuer.replace_keys(key_set(&[Signer::p256().jwk(Some("p256"))]));
    let refused = cache.verify(&token, now()).err();
    assert_eq!(refused, rejected(Rejection::BadSignature));
}

#[test]
fn a_token_is_verified_anew_when_the_set_changed_but_its_key_stayed() {
    let (cache, issuer) = caching(100);
    let token = good_token("ES256");
    let before = cache.verify(&token, now()).unwrap();
    issuer.replace_keys(all_keys());
    let after = cache.verify(&token, now()).unwrap();
    assert!(!Arc::ptr_eq(&before, &after));
}

#[test]
fn a_forged_token_neither_hits_nor_poisons() {
    let (cache, _) = caching(100);
    let victim = good_token("ES256");
    // The same header and claims, including the victim's jti and kid, but signed with another key.
    let forged = Signer::p256().token(
        "ES256",
        &header("ES256"),
        &Value::Object(claims()).to_string(),
    );
    for _ in 0..2 {
        let refused = cache.verify(&forged, now()).err();
        assert_eq!(refused, rejected(Rejection::BadSignature));
        assert!(cache.verify(&victim, now()).is_ok());
    }
}

#[test]
fn tokens_that_share_all_but_their_end_are_two_tokens() {
    let (cache, _) = caching(100);
    let (one, two) = (
        token("HS256", &claims_but("jti", json!("a"))),
        token("HS256", &claims_but("jti", json!("b"))),
    );
    assert_eq!(cache.verify(&one, now()).unwrap().derived(), "a");
    assert_eq!(cache.verify(&two, now()).unwrap().derived(), "b");
    let (input, _) = one.rsplit_once('.').unwrap();
    let (_, foreign) = two.rsplit_once('.').unwrap();
    let spliced = cache.verify(&format!("{input}.{foreign}"), now()).err();
    assert_eq!(spliced, rejected(Rejection::BadSignature));
}

#[test]
fn what_is_longer_than_a_token_may_be_is_refused_with_a_warm_cache_too() {
    let (cache, _) = caching(100);
    let long = "a".repeat(crate::jwt::MAX_TOKEN_BYTES + 1);
    let refused = cache.verify(&long, now()).err();
    assert_eq!(refused, rejected(Rejection::TooLarge));
}

#[test]
fn without_capacity_everything_is_verified_anew() {
    let (cache, _) = caching(0);
    let token = good_token("HS256");
    let (first, second) = (cache.verify(&token, now()), cache.verify(&token, now()));
    assert!(!Arc::ptr_eq(&first.unwrap(), &second.unwrap()));
}

/// Events that may happen to a cache, in any order.
#[derive(Clone, Debug)]
enum Event {
    Verify(usize),
    Rotate(bool),
    ClockTo(i64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0..12_usize).prop_map(Event::Verify),
        1 => any::<bool>().prop_map(Event::Rotate),
        2 => (-100..800_i64).prop_map(Event::ClockTo),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// The model is the verifier without a cache. The cache holds four tokens, so that it also evicts.
    #[test]
    fn a_cache_answers_as_the_verifier_without_it_whatever_happens(
        events in proptest::collection::vec(event(), 1..60)
    ) {
        let (cache, issuer) = caching(4);
        let model = Verifier::new([Arc::clone(&issuer)]);
        let tokens: Vec<_> = (0..12_i64).map(|n| {
            let mut claims = claims();
            claims.insert("jti".to_owned(), json!(n.to_string()));
            claims.insert("exp".to_owned(), json!(NOW + 60 * n));
            let algorithm = ["HS256", "EdDSA"][usize::from(n % 2 == 0)];
            let token = token(algorithm, &Value::Object(claims).to_string());
            // Every third token has a damaged signature.
            if n % 3 == 2 { format!("{}AA", &token[..token.len() - 4]) } else { token }
        }).collect();
        let mut clock = now();
        for event in events {
            match event {
                Event::ClockTo(offset) => clock = at(offset),
                Event::Rotate(whole) => issuer.replace_keys(if whole {
                    all_keys()
                } else {
                    key_set(&[Signer::of("EdDSA").jwk(Some("ed25519"))])
                }),
                Event::Verify(n) => {
                    let expected = model.verify(&tokens[n], clock).map(|c| c.token_id().map(str::to_owned));
                    let found = cache.verify(&tokens[n], clock).map(|t| Some(t.derived().clone()));
                    prop_assert_eq!(found, expected);
                }
            }
        }
    }
}

#[test]
fn the_cache_stays_within_its_bytes_however_long_tokens_are() {
    let verifier = Arc::new(verifier());
    let limits = CacheLimits {
        entries: 1000,
        bytes: 1 << 20,
    };
    let cache = CachingVerifier::new(verifier, limits, |_, _| ());
    let token = |number: usize, length: usize| {
        let pad = format!("{number}-{}", "x".repeat(length));
        token("HS256", &claims_but("pad", pad.into()))
    };
    for number in 0..200 {
        cache.verify(&token(number, 8_000), now()).unwrap();
    }
    let size = cache.size();
    assert!(size.bytes <= 1 << 20, "{size:?}");
    assert!((20..60).contains(&size.entries), "{size:?}");
    for number in 0..2_000 {
        cache.verify(&token(number, 1), now()).unwrap();
    }
    let size = cache.size();
    assert!(size.bytes <= 1 << 20 && size.entries <= 1000, "{size:?}");
}
