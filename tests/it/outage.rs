//! Redis dies, hangs, comes back: never a 200 that nobody vouches for, and no restart to recover. Whether every check
//! asks Redis (`read: store`) or a view is read (`read: view`).

use std::time::{Duration, Instant};

use jsonwebtoken::Algorithm;

use crate::support::{
    Answer, Checks, Config, Envoy, Redis, Revoxy, Scratch, SigningKey, Token, Upstream, eventually,
};

/// Far more than the deadline of 50 ms, because the machine may be busy, and far less than a library's own timeouts.
const SOON: Duration = Duration::from_secs(2);
/// The default of `max_staleness`.
const MAX_STALENESS: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Read {
    Store,
    View,
}

impl Read {
    const BOTH: [Self; 2] = [Self::Store, Self::View];

    fn line(self) -> String {
        format!("read: {self:?}").to_lowercase()
    }

    /// What becomes of a revoked token while Redis is down: a view remembers, and only Redis takes it back.
    fn of_the_revoked(self) -> (i32, &'static str) {
        match self {
            Self::Store => (503, "revocation_unavailable"),
            Self::View => (401, "revoked"),
        }
    }
}

struct Scene {
    read: Read,
    redis: Redis,
    revoxy: Revoxy,
    checks: Checks,
    good: String,
    revoked: String,
    scratch: Scratch,
}

impl Scene {
    async fn set(read: Read, durable: bool) -> Self {
        let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
        let redis = if durable {
            Redis::durable(&scratch).await
        } else {
            Redis::start(&scratch).await
        };
        let config = Config::trusting(&key, &scratch).store(redis.store());
        let revoxy = Revoxy::start(&scratch, &config.revocation(&read.line())).await;
        let scene = Self {
            read,
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

    /// Redis has just gone down: a view may be believed for a while, and not longer.
    async fn refused(&self) {
        let away = Instant::now();
        eventually("a check that is refused", async || {
            let late = away.elapsed() > MAX_STALENESS || self.read == Read::Store;
            let answer = self.checks.bearer(&self.good).await;
            assert!(answer.status == 503 || (answer.allows() && !late));
            let revoked = self.checks.bearer(&self.revoked).await;
            assert_eq!(revoked.verdict(), self.read.of_the_revoked());
            (answer.status == 503).then_some(())
        })
        .await;
        self.refused_soon().await;
    }

    /// Checks one after the other, and many at once: none allowed, each answered soon.
    async fn refused_soon(&self) {
        let unavailable = Read::Store.of_the_revoked();
        for _ in 0..10 {
            must_be(unavailable, &timed(&self.checks, &self.good).await);
            must_be(
                self.read.of_the_revoked(),
                &timed(&self.checks, &self.revoked).await,
            );
        }
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let (checks, token) = (self.checks.clone(), self.good.clone());
            tasks.spawn(async move { timed(&checks, &token).await });
        }
        for answer in tasks.join_all().await {
            must_be(unavailable, &answer);
        }
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

fn must_be(expected: (i32, &str), (answer, took): &(Answer, Duration)) {
    assert_eq!(answer.verdict(), expected);
    assert!(*took < SOON, "after {took:?}");
}

#[tokio::test]
async fn a_killed_redis_is_a_503_and_its_return_heals() {
    for read in Read::BOTH {
        let mut scene = Scene::set(read, true).await;
        for _ in 0..2 {
            scene.redis.kill();
            scene.refused().await;
            assert!(scene.revoxy.metric("revoxy_revocation_store_up").await < 0.5);
            scene.redis.restart(&scene.scratch).await;
            scene.healed().await;
            scene.vouched_for().await;
        }
    }
}

#[tokio::test]
async fn a_hanging_redis_is_a_503_and_its_waking_heals() {
    for read in Read::BOTH {
        let scene = Scene::set(read, false).await;
        for _ in 0..2 {
            scene.redis.pause();
            scene.refused().await;
            scene.redis.resume();
            scene.healed().await;
            scene.vouched_for().await;
        }
    }
}

#[tokio::test]
async fn a_redis_that_hangs_and_then_dies_is_left_behind() {
    for read in Read::BOTH {
        let mut scene = Scene::set(read, true).await;
        scene.redis.pause();
        scene.refused().await;
        scene.redis.kill();
        scene.refused_soon().await;
        scene.redis.restart(&scene.scratch).await;
        scene.healed().await;
        scene.vouched_for().await;
    }
}

#[tokio::test]
async fn connections_that_redis_drops_are_made_anew_unnoticed() {
    for read in Read::BOTH {
        let scene = Scene::set(read, false).await;
        for _ in 0..10 {
            let _: u64 = scene
                .redis
                .run(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
            scene.healed().await;
            scene.vouched_for().await;
        }
    }
}

#[tokio::test]
async fn a_store_that_answers_again_is_noticed_although_nobody_asks_about_the_view() {
    let mut scene = Scene::set(Read::View, true).await;
    scene.redis.kill();
    scene.refused().await;
    scene.redis.restart(&scene.scratch).await;
    eventually("a view that is followed again", async || {
        let up = scene.revoxy.metric("revoxy_revocation_feed_up").await;
        let age = "revoxy_revocation_view_age_seconds";
        (up > 0.5 && scene.revoxy.metric(age).await < MAX_STALENESS.as_secs_f64()).then_some(())
    })
    .await;
    scene.vouched_for().await;
}

#[tokio::test]
async fn a_key_that_no_revocation_can_be_read_from_allows_nothing_and_hurts_no_other_token() {
    for read in Read::BOTH {
        let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
        let redis = Redis::start(&scratch).await;
        let () = redis.run(&["SADD", "revoxy:jti:shop:odd", "x"]);
        let config = Config::trusting(&key, &scratch).store(redis.store());
        let revoxy = Revoxy::start(&scratch, &config.revocation(&read.line())).await;
        let checks = revoxy.checks().await;
        let odd = Token::access("odd").sign(&key);
        let good = Token::access("good").sign(&key);
        // A view sees that there is a key, which is to say "revoked"; GET only says that something is wrong.
        assert_eq!(checks.bearer(&odd).await.verdict(), read.of_the_revoked());
        assert!(checks.bearer(&good).await.allows());
    }
}

#[tokio::test]
async fn a_dead_redis_makes_the_service_neither_unready_nor_dead() {
    for read in Read::BOTH {
        let mut scene = Scene::set(read, false).await;
        scene.redis.kill();
        scene.refused().await;
        assert_eq!(scene.revoxy.get("/readyz").await.0, 200);
        assert_eq!(scene.revoxy.get("/livez").await.0, 200);
        let errors = "revoxy_checks_total{decision=\"error\",policy=\"default\",\
                      reason=\"revocation_unavailable\"}";
        assert!(scene.revoxy.metric(errors).await > 60.5);
    }
}

#[tokio::test]
async fn through_envoy_a_killed_redis_is_a_503_and_its_return_heals() {
    for read in Read::BOTH {
        let mut scene = Scene::set(read, true).await;
        let app = Upstream::start().await;
        let envoy = Envoy::start(&scene.scratch, &scene.revoxy.check, app.address).await;
        assert!(envoy.bearer("/protected", &scene.good).await.passed());
        scene.redis.kill();
        scene.refused().await;
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
}
