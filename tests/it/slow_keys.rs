//! Keys that are fetched slowly: a token with a key that nobody knows is refused all the same, in the time that Envoy gives.

use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::support::key_server::{signed, signed_as};
use crate::support::{
    Config, Envoy, KeyServer, PATIENCE, Revoxy, Scratch, SigningKey, Token, Upstream, eventually,
};

/// By how much everything is slower here than as shipped: a busy machine must not look like a check that waits for too long. That the
/// times that are shipped have the same proportions is shown in `src/config/limits.rs`.
const SLOWER: u32 = 20;
/// How long the server takes. The last is for ever.
const PAUSES: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(50).saturating_mul(SLOWER),
    Duration::from_millis(180).saturating_mul(SLOWER),
    Duration::from_millis(400).saturating_mul(SLOWER),
    Duration::from_secs(3),
    Duration::from_secs(3600),
];
/// An answer that waits for nothing takes far less.
const QUICK: Duration = Duration::from_secs(1);
/// As long as a signature of ES256, and none.
const NO_SIGNATURE: &str =
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
/// More failures than outlier detection puts up with.
const AT_ONCE: usize = 10;

/// Many tokens at once that anybody could have made.
///
/// A machine that is too busy to answer in time what need not wait for anything shows nothing: then they are sent again.
async fn forged_tokens_are_refused(envoy: &Envoy, key: &SigningKey, pause: Duration) {
    let known = signed(key);
    let control = format!("{}.{}", &known[..known.rfind('.').unwrap()], NO_SIGNATURE);
    eventually("a machine that is quick enough", async || {
        let token = Token::access("x").with("sub", "admin");
        let forged: Vec<_> = (0..AT_ONCE)
            .map(|_| signed_as(token.clone(), &SigningKey::es256()))
            .collect();
        let asked = forged.iter().map(|token| envoy.bearer("/protected", token));
        let started = Instant::now();
        let control = async {
            let seen = envoy.bearer("/protected", &control).await;
            (seen.reason().to_owned(), started.elapsed())
        };
        let (all, (reason, took)) = tokio::join!(join_all(asked), control);
        let verdict = (401, "unknown_key");
        let odd = all
            .iter()
            .find(|seen| (seen.status, seen.reason()) != verdict);
        match odd {
            None => Some(()),
            Some(_) if reason != "bad_signature" || took > QUICK => None,
            Some(odd) => panic!("{pause:?}: {odd:?}"),
        }
    })
    .await;
}

#[tokio::test]
async fn a_forged_token_is_refused_by_an_envoy_that_fails_closed_whatever_the_key_server_does() {
    whatever_the_key_server_does("false").await;
}

#[tokio::test]
async fn a_forged_token_is_refused_by_an_envoy_that_fails_open_whatever_the_key_server_does() {
    whatever_the_key_server_does("true").await;
}

/// Forged tokens are refused, good ones pass, and no replica is ejected.
async fn whatever_the_key_server_does(fails_open: &str) {
    let (scratch, key) = (Scratch::new(), SigningKey::es256());
    let server = KeyServer::start(&[&key]).await;
    let mut config = Config::trusting(&key, &scratch);
    // So that every pause is met by a fetch.
    config.keys = server.keys(&format!("cooldown: 1s, wait: {}ms", 30 * SLOWER));
    let revoxy = Revoxy::start(&scratch, &config).await;
    let app = Upstream::start().await;
    let edit = format!("failure_mode_allow: {fails_open}");
    let edits = [
        ("failure_mode_allow: false", &*edit),
        ("max_interval: 0.1s", "max_interval: 2s"),
        (
            "timeout: 0.25s\n                        # envoy_grpc",
            "timeout: 5s\n                        # envoy_grpc",
        ),
    ];
    let envoy = Envoy::start_edited(&scratch, &revoxy.check, app.address, &edits).await;
    assert!(envoy.bearer("/protected", &signed(&key)).await.passed());
    for pause in PAUSES {
        server.pause(pause);
        let before = server.requests();
        eventually("a fetch", async || {
            forged_tokens_are_refused(&envoy, &key, pause).await;
            (server.requests() > before).then_some(())
        })
        .await;
        // While the fetch is under way, if it is.
        forged_tokens_are_refused(&envoy, &key, pause).await;
        let good = envoy.bearer("/protected", &signed(&key)).await;
        assert!(good.passed(), "{pause:?}: {good:?}");
    }
    for failure in [
        "outlier_detection.ejections_detected_consecutive_5xx",
        "outlier_detection.ejections_enforced_total",
    ] {
        let count = envoy.stat(&format!("cluster.revoxy.{failure}")).await;
        assert_eq!(count, 0, "{failure}");
    }
}

#[tokio::test]
async fn two_rotations_within_the_cooldown_refuse_nobody_for_long() {
    let (scratch, keys) = (Scratch::new(), [(); 3].map(|()| SigningKey::es256()));
    let server = KeyServer::start(&[&keys[0]]).await;
    let mut config = Config::trusting(&keys[0], &scratch);
    config.keys = server.keys("cooldown: 10m, wait: 5s");
    let revoxy = Revoxy::start(&scratch, &config).await;
    let checks = revoxy.checks().await;
    assert!(checks.bearer(&signed(&keys[0])).await.allows());
    for key in &keys[1..] {
        server.rotate(&[key]);
        let started = Instant::now();
        eventually("the new key", async || {
            checks.bearer(&signed(key)).await.allows().then_some(())
        })
        .await;
        assert!(started.elapsed() < PATIENCE / 4, "{:?}", started.elapsed());
    }
}
