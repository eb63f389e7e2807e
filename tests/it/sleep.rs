//! A replica sleeps: it is stopped by a signal, or frozen with its container. When it wakes up it does not allow on what it
//! knew before.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use jsonwebtoken::Algorithm;
use rustix::process::Signal;

use crate::support::freezer::Freezer;
use crate::support::{
    Answer, Checks, Config, Mood, Proxy, Redis, Revoxy, Scratch, SigningKey, Token, eventually,
};

const MAX_STALENESS: Duration = Duration::from_millis(300);
/// How often it sleeps: each time at another moment of what it does by itself.
const ROUNDS: usize = 8;
/// How many checks wait for it to wake up.
const CHECKS: usize = 20;

struct Scene {
    key: SigningKey,
    redis: Redis,
    proxy: Proxy,
    revoxy: Revoxy,
    checks: Checks,
    _scratch: Scratch,
}

impl Scene {
    async fn set() -> Self {
        let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
        let redis = Redis::start(&scratch).await;
        let proxy = Proxy::before(redis.port()).await;
        let config = Config::trusting(&key, &scratch)
            .store(proxy.store())
            .revocation(&format!("max_staleness: {}ms", MAX_STALENESS.as_millis()));
        let revoxy = Revoxy::start(&scratch, &config).await;
        Self {
            checks: revoxy.checks().await,
            key,
            redis,
            proxy,
            revoxy,
            _scratch: scratch,
        }
    }

    /// Revokes a token while the replica sleeps, for longer than its view may be old, and tells what it answers when it wakes
    /// up, with its way to Redis in this mood.
    async fn revoked_in_its_sleep(&self, jti: &str, mood: Mood, sleep: &Sleep<'_>) -> Vec<Answer> {
        let token = Token::access(jti).sign(&self.key);
        eventually("a token that is allowed", async || {
            self.checks.bearer(&token).await.allows().then_some(())
        })
        .await;
        sleep.begins();
        self.proxy.set(mood);
        let key = format!("revoxy:jti:shop:{jti}");
        let () = self.redis.run(&["SET", &key, "", "EX", "3600"]);
        let acknowledged = Instant::now();
        eventually("a view that is too old", async || {
            (acknowledged.elapsed() > MAX_STALENESS).then_some(())
        })
        .await;
        let answers = join_all((0..CHECKS).map(|_| self.checks.bearer(&token)));
        let (answers, ()) = tokio::join!(answers, async { sleep.ends() });
        self.proxy.set(Mood::Passing);
        answers
    }

    async fn allows_nothing_that_was_revoked_in_its_sleep(&self, sleep: &Sleep<'_>) {
        for round in 0..ROUNDS {
            for mood in [Mood::Passing, Mood::Hanging] {
                let jti = format!("{round}-{mood:?}");
                for answer in self.revoked_in_its_sleep(&jti, mood, sleep).await {
                    let reason = answer.reason();
                    let expected = match mood {
                        Mood::Hanging => reason == "revocation_unavailable",
                        _ => matches!(reason, "revoked" | "revocation_unavailable"),
                    };
                    assert!(expected, "{jti}: {answer:?}");
                }
            }
        }
    }
}

/// A way to make a process sleep.
enum Sleep<'p> {
    Signal(&'p Revoxy),
    Freezer(Freezer),
}

impl Sleep<'_> {
    fn begins(&self) {
        match self {
            Self::Signal(revoxy) => revoxy.process.signal(Signal::STOP),
            Self::Freezer(freezer) => freezer.freeze(),
        }
    }

    fn ends(&self) {
        match self {
            Self::Signal(revoxy) => revoxy.process.signal(Signal::CONT),
            Self::Freezer(freezer) => freezer.thaw(),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_was_stopped_allows_nothing_that_was_revoked_meanwhile() {
    let scene = Scene::set().await;
    let sleep = Sleep::Signal(&scene.revoxy);
    scene
        .allows_nothing_that_was_revoked_in_its_sleep(&sleep)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_was_frozen_allows_nothing_that_was_revoked_meanwhile() {
    let scene = Scene::set().await;
    let Some(freezer) = Freezer::of(scene.revoxy.process.pid()) else {
        eprintln!("there is no control group to freeze a process in, so that this was not tested");
        return;
    };
    let sleep = Sleep::Freezer(freezer);
    scene
        .allows_nothing_that_was_revoked_in_its_sleep(&sleep)
        .await;
}
