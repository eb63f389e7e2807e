//! Cutoffs: all tokens of a subject, a session, a client, a key or an issuer that were issued up to an instant. And
//! how long a revocation stands.

use std::sync::Arc;
use std::time::Instant;

use jsonwebtoken::Algorithm;
use revoxy::clock::{SystemClock, Timestamp};
use revoxy::revocation::{
    Cutoff, KeyKind, RedisStore, Revocation, RevocationKey, RevocationStore as _,
};

use crate::support::tokens::now;
use crate::support::{
    Checks, Config, PATIENCE, Redis, Revoxy, Scratch, SigningKey, Token, eventually,
};

const READS: [&str; 2] = ["read: view", "read: store"];

struct Scene {
    scratch: Scratch,
    key: SigningKey,
    redis: Redis,
    revoxy: Revoxy,
    checks: Checks,
}

impl Scene {
    async fn set(read: &str) -> Self {
        let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
        let redis = Redis::start(&scratch).await;
        let config = Config::trusting(&key, &scratch)
            .store(redis.store())
            .revocation(read);
        let revoxy = Revoxy::start(&scratch, &config).await;
        Self {
            checks: revoxy.checks().await,
            scratch,
            key,
            redis,
            revoxy,
        }
    }

    /// As with redis-cli.
    fn write(&self, key: &str, value: &str) {
        let () = self.redis.run(&["SET", key, value, "EX", "3600"]);
    }

    async fn reason(&self, token: Token) -> String {
        let answer = self.checks.bearer(&token.sign(&self.key)).await;
        answer.reason().to_owned()
    }

    async fn becomes(&self, token: &Token, reason: &str) {
        eventually(reason, async || {
            (self.reason(token.clone()).await == reason).then_some(())
        })
        .await;
    }

    async fn store(&self) -> RedisStore {
        let store = RedisStore::new(&self.redis.options(), Arc::new(SystemClock)).unwrap();
        store.ready(PATIENCE).await.unwrap();
        store
    }

    /// Waits until the view contains all that has been written before.
    async fn caught_up(&self) {
        let written = Instant::now();
        let age = "revoxy_revocation_view_age_seconds";
        eventually("a view that has caught up", async || {
            let since = written.elapsed().as_secs_f64();
            (self.revoxy.metric(age).await < since).then_some(())
        })
        .await;
    }
}

/// A token that every kind of key can name.
fn token() -> Token {
    Token::access("a")
        .with("sub", "alice")
        .with("sid", "session")
        .with("azp", "app")
        .header("kid", "k1")
}

const KEYS: [&str; 5] = [
    "revoxy:sub:shop:alice",
    "revoxy:sid:shop:session",
    "revoxy:client:shop:app",
    "revoxy:kid:shop:k1",
    "revoxy:iss:shop:all",
];

#[tokio::test]
async fn a_cutoff_means_the_tokens_issued_up_to_it_and_those_that_do_not_say() {
    for read in READS {
        let scene = Scene::set(read).await;
        let cutoff = now() - 100;
        for key in KEYS {
            assert_eq!(scene.reason(token()).await, "ok", "{key}");
            scene.write(key, &format!("{{\"not_before\": {cutoff}}}"));
            scene
                .becomes(&token().with("iat", cutoff - 1), "revoked")
                .await;
            for (token, expected) in [
                // The very second: a token could have been issued in it before the cutoff or after.
                (token().with("iat", cutoff), "revoked"),
                (token().with("iat", cutoff + 1), "ok"),
                (token(), "ok"),
                (token().without("iat"), "revoked"),
                // Of another subject, session, client and key, but of the same issuer.
                (
                    Token::access("b")
                        .with("sub", "bob")
                        .with("iat", cutoff - 1),
                    if key.contains(":iss:") {
                        "revoked"
                    } else {
                        "ok"
                    },
                ),
            ] {
                assert_eq!(scene.reason(token).await, expected, "{read}: {key}");
            }
            // The whole second is meant, whatever fractions of it the cutoff and the token name.
            for fraction in ["", ".0", ".5"] {
                scene.write(key, &format!("{{\"not_before\": {cutoff}{fraction}}}"));
                scene.caught_up_if(read).await;
                for (iat, expected) in [
                    (seconds(cutoff) + 0.001, "revoked"),
                    (seconds(cutoff) + 0.5, "revoked"),
                    (seconds(cutoff) + 0.999, "revoked"),
                    (seconds(cutoff) + 1.0, "ok"),
                ] {
                    let reason = scene.reason(token().with("iat", iat)).await;
                    assert_eq!(reason, expected, "{read}: {key}, issued at {iat}");
                }
            }
            // Without a cutoff every token is meant, and of what cannot be read it is assumed.
            for value in ["", "{\"not_before\": \"soon\"}"] {
                scene.write(key, value);
                scene.becomes(&token(), "revoked").await;
            }
            let _: u64 = scene.redis.run(&["DEL", key]);
            scene.becomes(&token(), "ok").await;
        }
    }
}

fn seconds(seconds: i64) -> f64 {
    f64::from(i32::try_from(seconds).unwrap())
}

impl Scene {
    async fn caught_up_if(&self, read: &str) {
        if read == "read: view" {
            self.caught_up().await;
        }
    }
}

fn revocation(cutoff: Cutoff, life: i64) -> Revocation {
    Revocation {
        key: RevocationKey::new(KeyKind::Subject, "shop", "alice"),
        cutoff,
        expires_at: Timestamp::from_secs(now() + life),
        reason: None,
        actor: None,
        revoked_at: Timestamp::from_secs(now()),
    }
}

fn up_to(seconds: i64) -> Cutoff {
    Cutoff::IssuedUpTo(Timestamp::from_secs(seconds))
}

#[tokio::test]
async fn a_cutoff_never_moves_back() {
    for read in READS {
        let scene = Scene::set(read).await;
        let store = scene.store().await;
        let (older, newer) = (now() - 200, now() - 100);
        let between = token().with("iat", now() - 150);
        let after = token().with("iat", now() - 50);
        store.revoke(&revocation(up_to(newer), 3600)).await.unwrap();
        scene.becomes(&between, "revoked").await;
        store.revoke(&revocation(up_to(older), 60)).await.unwrap();
        scene.caught_up_if(read).await;
        assert_eq!(scene.reason(between.clone()).await, "revoked");
        assert_eq!(scene.reason(after.clone()).await, "ok");
        let life: i64 = scene.redis.run(&["TTL", KEYS[0]]);
        assert!(life > 3000, "nor does the end: {life}");
        store.revoke(&revocation(Cutoff::All, 3600)).await.unwrap();
        scene.becomes(&after, "revoked").await;
        store.revoke(&revocation(up_to(newer), 3600)).await.unwrap();
        scene.caught_up_if(read).await;
        assert_eq!(scene.reason(after).await, "revoked");
    }
}

#[tokio::test]
async fn a_cutoff_does_not_move_back_although_redis_had_lost_it_in_between() {
    let mut scene = Scene::set("read: view").await;
    let (older, newer) = (now() - 200, now() - 100);
    let between = token().with("iat", now() - 150);
    let after = token().with("iat", now() - 50);
    scene.write(KEYS[0], &format!("{{\"not_before\": {newer}}}"));
    scene.becomes(&between, "revoked").await;
    scene.redis.kill();
    scene.redis.restart(&scene.scratch).await;
    let restored = "revoxy_revocations_restored_total";
    eventually("the cutoff, written back", async || {
        (scene.revoxy.metric(restored).await > 0.5).then_some(())
    })
    .await;
    let store = scene.store().await;
    store.revoke(&revocation(up_to(older), 3600)).await.unwrap();
    scene.caught_up().await;
    assert_eq!(scene.reason(between.clone()).await, "revoked");
    assert_eq!(scene.reason(after.clone()).await, "ok");
    let newcomer = Config::trusting(&scene.key, &scene.scratch).store(scene.redis.store());
    let newcomer = Revoxy::start(&scene.scratch, &newcomer).await;
    let checks = newcomer.checks().await;
    let answer = checks.bearer(&between.sign(&scene.key)).await;
    assert_eq!(answer.reason(), "revoked", "whoever reads both keys");
    assert!(checks.bearer(&after.sign(&scene.key)).await.allows());
}

#[tokio::test]
async fn a_revocation_outlives_its_token_by_the_leeway() {
    for read in READS {
        let scene = Scene::set(read).await;
        // Expired, and within the leeway of 30 s: a replica whose clock is behind may accept it.
        let exp = now() - 5;
        let token = token().with("exp", exp);
        scene.revoxy.revoke(&token.sign(&scene.key)).await;
        let ends: i64 = scene.redis.run(&["PEXPIRETIME", "revoxy:jti:shop:a"]);
        // As long as any replica could accept it, some more for clocks that differ, and not much longer.
        let (least, most) = ((exp + 30) * 1000 - 5, (exp + 200) * 1000);
        assert!((least..most).contains(&ends), "{ends} of {least}");
    }
}
