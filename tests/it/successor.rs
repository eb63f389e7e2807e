//! Another server at the same address: a process that started without the data, a replica of something else. It is
//! not believed until it has been compared, by direct reads either.

use jsonwebtoken::Algorithm;

use crate::support::{
    Checks, Config, Mood, Proxy, Redis, Revoxy, Scratch, SigningKey, Token, eventually,
};

const AGE: &str = "revoxy_revocation_view_age_seconds";

struct Scene {
    scratch: Scratch,
    key: SigningKey,
    redis: Redis,
    /// Whether Redis does not say which process it is.
    is_reticent: bool,
}

/// Behind a proxy of its own.
struct Replica {
    proxy: Proxy,
    revoxy: Revoxy,
    checks: Checks,
}

impl Scene {
    async fn set() -> Self {
        let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
        let redis = Redis::start(&scratch).await;
        Self {
            scratch,
            key,
            redis,
            is_reticent: false,
        }
    }

    fn deny_info(&self) {
        if self.is_reticent {
            let () = self.redis.run(&["ACL", "SETUSER", "default", "-info"]);
        }
    }

    async fn replica(&self, line: &str) -> Replica {
        let proxy = Proxy::before(self.redis.port()).await;
        let config = Config::trusting(&self.key, &self.scratch)
            .store(proxy.store())
            .revocation(line);
        let revoxy = Revoxy::start(&self.scratch, &config).await;
        let checks = revoxy.checks().await;
        Replica {
            proxy,
            revoxy,
            checks,
        }
    }

    fn revoke_by_hand(&self, jti: &str) -> String {
        let key = format!("revoxy:jti:shop:{jti}");
        let () = self.redis.run(&["SET", &key, "", "EX", "3600"]);
        Token::access(jti).sign(&self.key)
    }
}

impl Replica {
    async fn becomes(&self, token: &str, reason: &str) {
        eventually(reason, async || {
            (self.checks.bearer(token).await.reason() == reason).then_some(())
        })
        .await;
    }

    async fn refused_as_unavailable(&self) -> f64 {
        let metric = "revoxy_revocation_lookup_errors_total{error=\"unavailable\"}";
        self.revoxy.metric(metric).await
    }
}

#[tokio::test]
async fn a_server_that_restarted_is_not_asked_before_those_who_remember_have_had_their_time() {
    restart_before_one_who_does_not_know(Scene::set().await).await;
}

#[tokio::test]
async fn without_info_a_server_that_restarted_is_not_asked_too_early_either() {
    let mut scene = Scene::set().await;
    scene.is_reticent = true;
    scene.deny_info();
    restart_before_one_who_does_not_know(scene).await;
}

async fn restart_before_one_who_does_not_know(mut scene: Scene) {
    let line = "max_staleness: 3s";
    let (knowing, ignorant) = (scene.replica(line).await, scene.replica(line).await);
    // One replica hears nothing any more, and would have to ask.
    ignorant.proxy.set(Mood::Hanging);
    eventually("a view that is too old", async || {
        (ignorant.revoxy.metric(AGE).await > 3.0).then_some(())
    })
    .await;
    let revoked = scene.revoke_by_hand("revoked-meanwhile");
    knowing.becomes(&revoked, "revoked").await;
    // Redis loses everything, and the one who does not know is the first to find it.
    for replica in [&knowing, &ignorant] {
        replica.proxy.set(Mood::Cutting);
    }
    scene.redis.kill();
    scene.redis.restart(&scene.scratch).await;
    scene.deny_info();
    let before = ignorant.refused_as_unavailable().await;
    ignorant.proxy.set(Mood::Passing);
    let must_not_be_allowed = async || {
        let answer = ignorant.checks.bearer(&revoked).await;
        assert!(!answer.allows(), "{answer:?}");
        answer.reason() == "revoked"
    };
    eventually("direct reads that are not believed", async || {
        must_not_be_allowed().await;
        (ignorant.refused_as_unavailable().await > before + 2.5).then_some(())
    })
    .await;
    knowing.proxy.set(Mood::Passing);
    eventually("the revocation, restored by the other", async || {
        must_not_be_allowed().await.then_some(())
    })
    .await;
    let good = Token::access("good").sign(&scene.key);
    ignorant.becomes(&good, "ok").await;
    must_not_be_allowed().await;
}

#[tokio::test]
async fn a_server_that_is_demoted_vouches_for_nothing_and_its_promotion_heals() {
    let scene = Scene::set().await;
    let other = Redis::start(&scene.scratch).await;
    let replica = scene.replica("read: view").await;
    let revoked = scene.revoke_by_hand("revoked");
    let good = Token::access("good").sign(&scene.key);
    replica.becomes(&revoked, "revoked").await;
    replica.becomes(&good, "ok").await;
    let port = other.port().to_string();
    let () = scene.redis.run(&["REPLICAOF", "127.0.0.1", &port]);
    eventually("the data of the other server", async || {
        let info: String = scene.redis.run(&["INFO", "replication"]);
        info.contains("master_link_status:up").then_some(())
    })
    .await;
    replica.becomes(&good, "revocation_unavailable").await;
    // Neither the view, which ages, nor a direct read, which would be answered readily, is believed.
    for _ in 0..50 {
        let answer = replica.checks.bearer(&good).await;
        assert_eq!(answer.verdict(), (503, "revocation_unavailable"));
        let answer = replica.checks.bearer(&revoked).await;
        assert_eq!(answer.verdict(), (401, "revoked"));
    }
    let () = scene.redis.run(&["REPLICAOF", "NO", "ONE"]);
    eventually("an allowed check", async || {
        let answer = replica.checks.bearer(&revoked).await;
        assert_eq!(answer.verdict(), (401, "revoked"));
        replica.checks.bearer(&good).await.allows().then_some(())
    })
    .await;
    let restored: Vec<String> = scene.redis.run(&["KEYS", "revoxy:restored:*"]);
    assert_eq!(restored.len(), 1, "what the other server did not have");
    let newcomer = scene.replica("read: view").await;
    let answer = newcomer.checks.bearer(&revoked).await;
    assert_eq!(answer.verdict(), (401, "revoked"));
}

#[tokio::test]
async fn what_a_demoted_server_refuses_to_record_is_not_acknowledged_and_its_promotion_heals() {
    let scene = Scene::set().await;
    let other = Redis::start(&scene.scratch).await;
    let replica = scene.replica("read: store").await;
    let token = Token::access("to-be-revoked").sign(&scene.key);
    let port = other.port().to_string();
    let () = scene.redis.run(&["REPLICAOF", "127.0.0.1", &port]);
    let logged_out = || replica.revoxy.post_revoke(format!("token={token}"));
    for _ in 0..3 {
        let (status, body) = logged_out().await;
        assert_eq!(status, 503, "{body}");
    }
    // The connection is made anew each time: an address may lead elsewhere by then.
    let lost = "lost the connection to Redis";
    eventually("connections that were given up", async || {
        (replica.revoxy.process.output().matches(lost).count() > 1).then_some(())
    })
    .await;
    let () = scene.redis.run(&["REPLICAOF", "NO", "ONE"]);
    eventually("a revocation that is recorded", async || {
        (logged_out().await.0 == 200).then_some(())
    })
    .await;
    let answer = replica.checks.bearer(&token).await;
    assert_eq!(answer.verdict(), (401, "revoked"));
}
