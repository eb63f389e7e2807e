//! Keys that are fetched slowly: a token with a key that nobody knows is refused all the same, in the time that Envoy gives.

use std::time::Duration;

use jsonwebtoken::Algorithm;

use crate::support::key_server::{signed, signed_as};
use crate::support::{
    Config, Envoy, KeyServer, PATIENCE, Revoxy, Scratch, SigningKey, Token, Upstream, eventually,
};

/// How long the server takes. The last is for ever.
const PAUSES: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(50),
    Duration::from_millis(180),
    Duration::from_millis(400),
    Duration::from_secs(3),
    Duration::from_secs(3600),
];
/// More failures than outlier detection puts up with.
const AT_ONCE: usize = 10;

fn es256() -> SigningKey {
    SigningKey::generate(Algorithm::ES256)
}

/// Many tokens at once that anybody could have made.
async fn forged_tokens_are_refused(envoy: &Envoy, pause: Duration) {
    let forged: Vec<_> = (0..AT_ONCE)
        .map(|_| signed_as(Token::access("x").with("sub", "admin"), &es256()))
        .collect();
    let asked = forged.iter().map(|token| envoy.bearer("/protected", token));
    for seen in futures_util::future::join_all(asked).await {
        let verdict = (seen.status, seen.reason());
        assert_eq!(verdict, (401, "unknown_key"), "{pause:?}");
    }
}

#[tokio::test]
async fn a_forged_token_is_refused_whatever_the_key_server_does_and_ejects_no_replica() {
    for fails_open in ["false", "true"] {
        let (scratch, key) = (Scratch::new(), es256());
        let server = KeyServer::start(&[&key]).await;
        let mut config = Config::trusting(&key, &scratch);
        // So that every pause is met by a fetch; all the rest is as shipped.
        config.keys = server.keys("cooldown: 1s");
        let revoxy = Revoxy::start(&scratch, &config).await;
        let app = Upstream::start().await;
        let edit = format!("failure_mode_allow: {fails_open}");
        let edits = [("failure_mode_allow: false", &*edit)];
        let envoy = Envoy::start_edited(&scratch, &revoxy.check, app.address, &edits).await;
        assert!(envoy.bearer("/protected", &signed(&key)).await.passed());
        for pause in PAUSES {
            server.pause(pause);
            let before = server.requests();
            eventually("a fetch", async || {
                forged_tokens_are_refused(&envoy, pause).await;
                (server.requests() > before).then_some(())
            })
            .await;
            // While the fetch is under way, if it is.
            forged_tokens_are_refused(&envoy, pause).await;
            let good = envoy.bearer("/protected", &signed(&key)).await;
            assert!(good.passed(), "{pause:?}: {good:?}");
        }
        for failure in [
            "outlier_detection.ejections_detected_consecutive_5xx",
            "outlier_detection.ejections_enforced_total",
            "upstream_rq_timeout",
        ] {
            let count = envoy.stat(&format!("cluster.revoxy.{failure}")).await;
            assert_eq!(count, 0, "{failure}");
        }
        let cancelled = revoxy.metric("revoxy_checks_cancelled_total").await;
        assert!(cancelled < 0.5, "{cancelled}");
    }
}

#[tokio::test]
async fn two_rotations_within_the_cooldown_refuse_nobody_for_long() {
    let (scratch, keys) = (Scratch::new(), [es256(), es256(), es256()]);
    let server = KeyServer::start(&[&keys[0]]).await;
    let mut config = Config::trusting(&keys[0], &scratch);
    config.keys = server.keys("cooldown: 10m, wait: 5s");
    let revoxy = Revoxy::start(&scratch, &config).await;
    let checks = revoxy.checks().await;
    assert!(checks.bearer(&signed(&keys[0])).await.allows());
    for key in &keys[1..] {
        server.rotate(&[key]);
        let started = std::time::Instant::now();
        eventually("the new key", async || {
            checks.bearer(&signed(key)).await.allows().then_some(())
        })
        .await;
        assert!(started.elapsed() < PATIENCE / 4, "{:?}", started.elapsed());
    }
}
