//! The service over PostgreSQL: it dies, hangs, comes back, and never is a token allowed that nobody vouches for. Whether
//! every check asks (`read: store`) or a view is read.

use std::time::{Duration, Instant};

use jsonwebtoken::Algorithm;

use crate::support::{Config, Postgres, Revoxy, Scratch, SigningKey, Token, eventually};

/// Far more than the deadline of 50 ms, because the machine may be busy, and far less than a library's own timeouts.
const SOON: Duration = Duration::from_secs(2);

#[tokio::test]
async fn a_server_that_dies_or_hangs_is_a_503_and_its_return_heals() {
    for read in ["store", "view"] {
        let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
        let mut postgres = Postgres::start(&scratch).await;
        let config = Config::trusting(&key, &scratch).store(postgres.store());
        let revoxy = Revoxy::start(&scratch, &config.revocation(&format!("read: {read}"))).await;
        let checks = revoxy.checks().await;
        let (good, revoked) = (
            Token::access("good").sign(&key),
            Token::access("revoked").sign(&key),
        );
        revoxy.revoke(&revoked).await;
        assert_eq!(checks.bearer(&revoked).await.reason(), "revoked", "{read}");
        assert_eq!(checks.bearer(&good).await.reason(), "ok", "{read}");
        // Many at once, as a store that is asked has to bear.
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let (checks, good) = (checks.clone(), good.clone());
            tasks.spawn(async move { checks.bearer(&good).await.allows() });
        }
        assert!(tasks.join_all().await.contains(&true));
        for hangs in [false, true, false] {
            if hangs {
                postgres.pause();
            } else {
                postgres.kill();
            }
            eventually("a check that is refused", async || {
                let answer = checks.bearer(&good).await;
                assert!(answer.status == 503 || answer.allows(), "{answer:?}");
                (answer.status == 503).then_some(())
            })
            .await;
            for _ in 0..10 {
                let start = Instant::now();
                assert_eq!(
                    checks.bearer(&good).await.reason(),
                    "revocation_unavailable"
                );
                assert!(!checks.bearer(&revoked).await.allows());
                assert!(start.elapsed() < SOON, "after {:?}", start.elapsed());
            }
            if hangs {
                postgres.resume();
            } else {
                postgres.restart(&scratch).await;
            }
            eventually("an allowed check", async || {
                checks.bearer(&good).await.allows().then_some(())
            })
            .await;
            assert_eq!(checks.bearer(&revoked).await.reason(), "revoked", "{read}");
        }
    }
}

#[tokio::test]
async fn what_one_replica_revokes_the_other_denies() {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    let postgres = Postgres::start(&scratch).await;
    let config = Config::trusting(&key, &scratch).store(postgres.store());
    let (one, other) = (
        Revoxy::start(&scratch, &config).await,
        Revoxy::start(&scratch, &config).await,
    );
    let checks = other.checks().await;
    let token = Token::access("a").sign(&key);
    assert!(checks.bearer(&token).await.allows());
    one.revoke(&token).await;
    eventually("a denial", async || {
        (checks.bearer(&token).await.reason() == "revoked").then_some(())
    })
    .await;
    assert!(other.metric("revoxy_revocation_feed_pushes_total").await >= 1.0);
    let seen = "revoxy_revocation_propagation_seconds_count";
    assert!(other.metric(seen).await >= 1.0);
}
