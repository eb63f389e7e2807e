//! Tests of keys that change, are invented, or grow old.

use super::*;
use crate::authz::{Authorizer, AuthzRequest, Outcome, Policies, Policy, RequestHeaders};
use crate::jwt::{CachingVerifier, Rejection};
use crate::revocation::TokenKeys;

struct Bearer(String);

impl RequestHeaders for Bearer {
    fn visit<'h>(&'h self, name: &str, visit: &mut dyn FnMut(&'h [u8])) {
        if name == "authorization" {
            visit(self.0.as_bytes());
        }
    }
}

fn authorizer(issuer: &Arc<Issuer>) -> Authorizer {
    let policy = Policy {
        name: "default".to_owned(),
        ..Policy::default()
    };
    let verifier = Arc::new(Verifier::new([Arc::clone(issuer)]));
    Authorizer::new(
        Policies::new(vec![policy], Vec::new()).unwrap(),
        CachingVerifier::new(verifier, 1000, |claims, _| TokenKeys::of(claims)),
        None,
        Arc::new(ManualClock::at(testing::now())),
    )
}

async fn outcome(authorizer: &Authorizer, token: &str) -> Outcome {
    let headers = Bearer(format!("Bearer {token}"));
    let request = AuthzRequest {
        policy: None,
        method: "GET",
        host: "shop.example",
        path: "/",
        headers: &headers,
        proxy: None,
    };
    authorizer.authorize(&request).await.outcome
}

#[tokio::test]
async fn a_rotation_fails_no_request_not_even_the_first_with_the_new_key() {
    let server = Server::plain().await;
    let (old, new) = (Signer::p256(), Signer::p256());
    server.answer(JWKS, Answer::Ok("", jwks(&[(&old, "old")])));
    let location = Location::Jwks(url(&server, "http", JWKS));
    let mut fetched = Fetched::start(&remote(location, timing()));
    fetched.loaded().await;
    let authorizer = authorizer(&fetched.issuer);
    let (old_token, new_token) = (token(&old, "old"), token(&new, "new"));
    assert_eq!(outcome(&authorizer, &old_token).await.reason(), "ok");
    server.answer(JWKS, Answer::Ok("", jwks(&[(&old, "old"), (&new, "new")])));
    let (first, second, third) = tokio::join!(
        outcome(&authorizer, &new_token),
        outcome(&authorizer, &old_token),
        outcome(&authorizer, &new_token),
    );
    for outcome in [first, second, third] {
        assert_eq!(outcome.reason(), "ok");
    }
    // One fetch at start, and one for all callers.
    assert_eq!(server.requests(), 2);
    // The old key is withdrawn: a token that it signed is refused, although it was verified before.
    server.answer(JWKS, Answer::Ok("", jwks(&[(&new, "new")])));
    let invented = token(&Signer::p256(), "invented");
    eventually_so(async || {
        // A new fetch begins as soon as the cooldown permits.
        outcome(&authorizer, &invented).await;
        outcome(&authorizer, &old_token).await.reason() == "unknown_key"
    })
    .await;
    assert_eq!(outcome(&authorizer, &new_token).await.reason(), "ok");
}

#[tokio::test]
async fn ten_thousand_invented_keys_cause_a_few_fetches_and_evict_nothing() {
    let server = Server::plain().await;
    let key = Signer::p256();
    server.answer(JWKS, Answer::Ok("", jwks(&[(&key, "good")])));
    let location = Location::Jwks(url(&server, "http", JWKS));
    let mut slow = timing();
    slow.cooldown = Duration::from_secs(600);
    let mut fetched = Fetched::start(&remote(location, slow));
    fetched.loaded().await;
    let good = token(&key, "good");
    for n in 0..10_000 {
        let forged = testing::unsigned("ES256", &format!("kid-{n}"));
        let verdict = fetched.verify(&forged).await;
        assert_eq!(verdict, Err(Rejection::UnknownKey.into()));
        if n % 1000 == 0 {
            assert_eq!(fetched.verify(&good).await, Ok(()));
        }
    }
    // One at start, and as many as may be requested in a row.
    assert!(
        (2..=4).contains(&server.requests()),
        "{}",
        server.requests()
    );
    assert_eq!(fetched.metric("revoxy_jwks_keys"), 1);
}

#[tokio::test]
async fn two_rotations_within_a_cooldown_fail_no_request() {
    let server = Server::plain().await;
    let keys = [Signer::p256(), Signer::p256(), Signer::p256()];
    server.answer(JWKS, Answer::Ok("", jwks(&[(&keys[0], "k0")])));
    let location = Location::Jwks(url(&server, "http", JWKS));
    let mut slow = timing();
    slow.cooldown = Duration::from_secs(5);
    let mut fetched = Fetched::start(&remote(location, slow));
    fetched.loaded().await;
    for (key, kid, pause) in [
        (&keys[1], "k1", Duration::ZERO),
        (&keys[2], "k2", slow.cooldown / 9),
    ] {
        // Longer than the minimum time between two fetches in a row, which is a tenth of the cooldown.
        tokio::time::sleep(pause).await;
        server.answer(JWKS, Answer::Ok("", jwks(&[(key, kid)])));
        assert_eq!(fetched.verify(&token(key, kid)).await, Ok(()), "{kid}");
    }
    assert_eq!(server.requests(), 3);
}

#[tokio::test]
async fn the_cooldown_holds_for_a_server_that_fails_and_an_issuer_without_keys() {
    let server = Server::plain().await;
    server.answer(JWKS, Answer::Status(500));
    let location = Location::Jwks(url(&server, "http", JWKS));
    let mut slow = timing();
    slow.cooldown = Duration::from_secs(600);
    let fetched = Fetched::start(&remote(location, slow));
    let started = std::time::Instant::now();
    for n in 0..1000 {
        let forged = testing::unsigned("ES256", &format!("kid-{n}"));
        let verdict = fetched.verify(&forged).await;
        assert_eq!(verdict, Err(VerifyError::KeysUnavailable));
    }
    // One at start, three on demand, and scheduled ones after one second, two more, four more …
    let by_itself = started.elapsed().as_secs() + 1;
    assert!(
        server.requests() as u64 <= 4 + by_itself,
        "{}",
        server.requests()
    );
}

#[tokio::test]
async fn a_check_does_not_wait_for_a_slow_server() {
    let server = Server::plain().await;
    let key = Signer::p256();
    server.answer(JWKS, Answer::Ok("", jwks(&[(&key, "good")])));
    let location = Location::Jwks(url(&server, "http", JWKS));
    let mut impatient = timing();
    impatient.patience = Duration::from_millis(20);
    let mut fetched = Fetched::start(&remote(location, impatient));
    fetched.loaded().await;
    server.answer(JWKS, Answer::Silence);
    let started = std::time::Instant::now();
    let verdict = fetched.verify(&token(&Signer::p256(), "new")).await;
    assert_eq!(verdict, Err(Rejection::UnknownKey.into()));
    assert_eq!(
        fetched.refreshes("timeout"),
        0,
        "after {:?}",
        started.elapsed()
    );
    assert_eq!(fetched.verify(&token(&key, "good")).await, Ok(()));
}

#[tokio::test]
async fn keys_are_kept_while_the_server_is_away_but_not_for_ever() {
    let server = Server::plain().await;
    let key = Signer::p256();
    server.answer(JWKS, Answer::Ok("", jwks(&[(&key, "good")])));
    let location = Location::Jwks(url(&server, "http", JWKS));
    let short = Timing {
        refresh: Some(Duration::from_millis(50)),
        max_age: Duration::from_millis(700),
        patience: Duration::from_millis(50),
        ..timing()
    };
    let mut fetched = Fetched::start(&remote(location, short));
    fetched.loaded().await;
    server.answer(JWKS, Answer::Status(500));
    eventually(|| fetched.refreshes("status") > 0).await;
    assert_eq!(fetched.verify(&token(&key, "good")).await, Ok(()));
    eventually(|| fetched.metric("revoxy_jwks_keys") == 0).await;
    let verdict = fetched.verify(&token(&key, "good")).await;
    assert_eq!(verdict, Err(VerifyError::KeysUnavailable));
    server.answer(JWKS, Answer::Ok("", jwks(&[(&key, "good")])));
    eventually(|| fetched.metric("revoxy_jwks_keys") == 1).await;
    assert_eq!(fetched.verify(&token(&key, "good")).await, Ok(()));
}

#[tokio::test]
async fn the_same_set_again_leaves_verified_tokens_verified() {
    let server = Server::plain().await;
    let key = Signer::p256();
    server.answer(JWKS, Answer::Ok("", jwks(&[(&key, "good")])));
    let location = Location::Jwks(url(&server, "http", JWKS));
    let often = Timing {
        refresh: Some(Duration::from_millis(20)),
        ..timing()
    };
    let mut fetched = Fetched::start(&remote(location, often));
    fetched.loaded().await;
    let verifier = Arc::new(Verifier::new([Arc::clone(&fetched.issuer)]));
    let cache = CachingVerifier::new(verifier, 10, |_, _| ());
    let token = token(&key, "good");
    let first = cache.verify(&token, testing::now()).unwrap();
    let requests = server.requests();
    eventually(|| server.requests() > requests + 2).await;
    let second = cache.verify(&token, testing::now()).unwrap();
    assert!(Arc::ptr_eq(&first, &second));
}

#[tokio::test]
async fn an_issuer_whose_server_hangs_delays_no_other() {
    let (good, bad) = (Server::plain().await, Server::plain().await);
    let key = Signer::p256();
    good.answer(JWKS, Answer::Ok("", jwks(&[(&key, "good")])));
    bad.answer(JWKS, Answer::Silence);
    let hanging = Fetched::start(&remote(Location::Jwks(url(&bad, "http", JWKS)), timing()));
    let mut fetched = Fetched::start(&remote(Location::Jwks(url(&good, "http", JWKS)), timing()));
    fetched.loaded().await;
    assert!(!hanging.is_loaded());
    assert_eq!(fetched.verify(&token(&key, "good")).await, Ok(()));
}
