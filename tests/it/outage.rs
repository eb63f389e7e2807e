//! Redis dies, hangs, comes back: never a 200 that nobody vouches for, and no restart to recover.

use std::time::{Duration, Instant};

use jsonwebtoken::Algorithm;

use crate::support::{
    Answer, Checks, Config, Envoy, Redis, Revoxy, Scratch, SigningKey, Token, Upstream, eventually,
};

/// Far more than the deadline of 50 ms, because the machine may be busy, and far less than a library's own timeouts.
const SOON: Duration = Duration::from_secs(2);

struct Scene {
    redis: Redis,
    revoxy: Revoxy,
    checks: Checks,
    good: String,
    revoked: String,
    scratch: Scratch,
}

impl Scene {
    async fn set(durable: bool) -> Self {
        let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
        let redis = if durable {
            Redis::durable(&scratch).await
        } else {
            Redis::start(&scratch).await
        };
        let config = Config::trusting(&key, &scratch).store(redis.store());
        let revoxy = Revoxy::start(&scratch, &config).await;
        let scene = Self {
            checks: revoxy.checks().await,
            redis,
            revoxy,
            good: Token::access("good").sign(&key),
            revoked: Token::access("revoked").sign(&key),
            scratch,
        };
        scene.revoxy.revoke(&scene.revoked).await;
        scene.vouched_for().await;
        scene
    }

    async fn vouched_for(&self) {
        assert_eq!(self.checks.bearer(&self.good).await.reason(), "ok");
        assert_eq!(self.checks.bearer(&self.revoked).await.reason(), "revoked");
    }

    /// Checks one after the other, and many at once: each a 503, each soon.
    async fn refused(&self) {
        for round in 0..20 {
            let token = if round % 2 == 0 {
                &self.good
            } else {
                &self.revoked
            };
            must_be_refused(&timed(&self.checks, token).await);
        }
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let (checks, token) = (self.checks.clone(), self.good.clone());
            tasks.spawn(async move { timed(&checks, &token).await });
        }
        tasks.join_all().await.iter().for_each(must_be_refused);
    }

    async fn healed(&self) {
        eventually("an allowed check", async || {
            let answer = self.checks.bearer(&self.good).await;
            assert!(answer.allows() || answer.status == 503, "{answer:?}");
            answer.allows().then_some(())
        })
        .await;
    }
}

async fn timed(checks: &Checks, token: &str) -> (Answer, Duration) {
    let start = Instant::now();
    (checks.bearer(token).await, start.elapsed())
}

fn must_be_refused((answer, took): &(Answer, Duration)) {
    assert_eq!(answer.verdict(), (503, "revocation_unavailable"));
    assert!(*took < SOON, "after {took:?}");
}

#[tokio::test]
async fn a_killed_redis_is_a_503_and_its_return_heals() {
    let mut scene = Scene::set(true).await;
    for _ in 0..3 {
        scene.redis.kill();
        scene.refused().await;
        assert!(scene.revoxy.metric("revoxy_revocation_store_up").await < 0.5);
        scene.redis.restart(&scene.scratch).await;
        scene.healed().await;
        scene.vouched_for().await;
        assert!(scene.revoxy.metric("revoxy_revocation_store_up").await > 0.5);
    }
}

#[tokio::test]
async fn a_hanging_redis_is_a_503_and_its_waking_heals() {
    let scene = Scene::set(false).await;
    for _ in 0..2 {
        scene.redis.pause();
        scene.refused().await;
        scene.redis.resume();
        scene.healed().await;
        scene.vouched_for().await;
    }
}

#[tokio::test]
async fn a_redis_that_hangs_and_then_dies_is_left_behind() {
    let mut scene = Scene::set(true).await;
    scene.redis.pause();
    scene.refused().await;
    scene.redis.kill();
    scene.refused().await;
    scene.redis.restart(&scene.scratch).await;
    scene.healed().await;
    scene.vouched_for().await;
}

#[tokio::test]
async fn connections_that_redis_drops_are_made_anew_unnoticed() {
    let scene = Scene::set(false).await;
    for _ in 0..10 {
        let _: u64 = scene
            .redis
            .run(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        scene.healed().await;
        scene.vouched_for().await;
    }
}

#[tokio::test]
async fn a_key_that_redis_cannot_read_is_a_503_and_hurts_no_other_token() {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    let redis = Redis::start(&scratch).await;
    let config = Config::trusting(&key, &scratch).store(redis.store());
    let revoxy = Revoxy::start(&scratch, &config).await;
    let checks = revoxy.checks().await;
    let () = redis.run(&["SADD", "revoxy:jti:shop:odd", "x"]);
    let odd = Token::access("odd").sign(&key);
    let good = Token::access("good").sign(&key);
    assert_eq!(
        checks.bearer(&odd).await.verdict(),
        (503, "revocation_unavailable")
    );
    assert!(checks.bearer(&good).await.allows());
}

#[tokio::test]
async fn a_dead_redis_makes_the_service_neither_unready_nor_dead() {
    let mut scene = Scene::set(false).await;
    scene.redis.kill();
    scene.refused().await;
    assert_eq!(scene.revoxy.get("/readyz").await.0, 200);
    assert_eq!(scene.revoxy.get("/livez").await.0, 200);
    let errors = "revoxy_checks_total{decision=\"error\",policy=\"default\",\
                  reason=\"revocation_unavailable\"}";
    assert!(scene.revoxy.metric(errors).await > 69.5);
}

#[tokio::test]
async fn through_envoy_a_killed_redis_is_a_503_and_its_return_heals() {
    let mut scene = Scene::set(true).await;
    let app = Upstream::start().await;
    let envoy = Envoy::start(&scene.scratch, &scene.revoxy.check, app.address).await;
    assert!(envoy.bearer("/protected", &scene.good).await.passed());
    scene.redis.kill();
    for _ in 0..20 {
        let start = Instant::now();
        let seen = envoy.bearer("/protected", &scene.good).await;
        assert_eq!(
            (seen.status, seen.reason()),
            (503, "revocation_unavailable")
        );
        assert_eq!(seen.retry_after.as_deref(), Some("1"));
        assert_eq!(seen.challenge, None);
        assert!(start.elapsed() < SOON);
    }
    // What needs no store is served all the while.
    assert!(envoy.get("/login", &[]).await.passed());
    assert_eq!(envoy.bearer("/protected", "garbage").await.status, 401);
    scene.redis.restart(&scene.scratch).await;
    eventually("a 200", async || {
        let seen = envoy.bearer("/protected", &scene.good).await;
        assert!(seen.passed() || seen.status == 503, "{seen:?}");
        seen.passed().then_some(())
    })
    .await;
    let seen = envoy.bearer("/protected", &scene.revoked).await;
    assert_eq!((seen.status, seen.reason()), (401, "revoked"));
}
