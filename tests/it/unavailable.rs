//! Nobody can tell whether a token is revoked: `on_unavailable` decides, for each policy, and every check is answered.

use std::time::{Duration, Instant};

use jsonwebtoken::Algorithm;
use tokio::task::JoinSet;

use crate::support::{
    Ask, Checks, Config, Envoy, Mood, Proxy, Redis, Revoxy, Scratch, SigningKey, Token, Upstream,
    eventually,
};

/// Far more than the deadline of 50 ms, because the machine may be busy.
const SOON: Duration = Duration::from_secs(2);
/// For ten thousand checks on a busy machine. With a timeout each it would be more than eight minutes.
const ALL_SOON: Duration = Duration::from_secs(60);

const POLICIES: &str = "  denying: { on_unavailable: deny }
  stale: { on_unavailable: { serve_stale: 1h } }
  briefly: { on_unavailable: { serve_stale: 3s } }
  open: { on_unavailable: allow }
  delegating: { on_unavailable: delegate }
  open_refresh: { token_type: refresh, on_unavailable: allow }";

struct Scene {
    redis: Redis,
    proxy: Proxy,
    revoxy: Revoxy,
    checks: Checks,
    good: String,
    revoked: String,
    scratch: Scratch,
}

impl Scene {
    /// With a line for the section `revocation`.
    async fn set(line: &str) -> Self {
        let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
        let redis = Redis::start(&scratch).await;
        let proxy = Proxy::before(redis.port()).await;
        let config = Config::trusting(&key, &scratch)
            .store(proxy.store())
            .revocation(line)
            .section(POLICIES);
        let revoxy = Revoxy::start(&scratch, &config).await;
        let scene = Self {
            checks: revoxy.checks().await,
            redis,
            proxy,
            revoxy,
            good: Token::access("good").sign(&key),
            revoked: Token::access("revoked").sign(&key),
            scratch,
        };
        scene.revoxy.revoke(&scene.revoked).await;
        for policy in ["denying", "stale", "briefly", "open", "delegating"] {
            assert_eq!(scene.reason(policy).await, "ok");
        }
        scene
    }

    /// Redis answers nothing any more, and the view is older than it may be.
    async fn black_out(&self) {
        self.proxy.set(Mood::Hanging);
        eventually("a view that is too old", async || {
            (self.reason("denying").await == "revocation_unavailable").then_some(())
        })
        .await;
    }

    async fn healed(&self) {
        eventually("an allowed check", async || {
            (self.reason("denying").await == "ok").then_some(())
        })
        .await;
        eventually("a feed that follows", async || {
            let up = self.metric("revoxy_revocation_feed_up").await;
            (up > 0.5 && self.metric("revoxy_revocation_view_age_seconds").await < 1.0)
                .then_some(())
        })
        .await;
    }

    fn ask(&self, policy: &str) -> Ask {
        Ask::bearer(&self.good).policy(policy)
    }

    /// The reason of the answer about the good token; of a failed call its code.
    async fn reason(&self, policy: &str) -> String {
        match self.checks.try_ask(self.ask(policy)).await {
            Ok(answer) => answer.reason().to_owned(),
            Err(code) => format!("{code:?}"),
        }
    }

    async fn metric(&self, name: &str) -> f64 {
        self.revoxy.metric(name).await
    }

    async fn counted(&self, decision: &str, policy: &str, reason: &str) -> f64 {
        let labels = format!("decision=\"{decision}\",policy=\"{policy}\",reason=\"{reason}\"");
        self.metric(&format!("revoxy_checks_total{{{labels}}}"))
            .await
    }
}

#[tokio::test]
async fn a_key_that_cannot_be_read_hides_no_revocation_under_another() {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    let redis = Redis::start(&scratch).await;
    let config = Config::trusting(&key, &scratch)
        .store(redis.store())
        .revocation("read: store")
        .section(POLICIES);
    let revoxy = Revoxy::start(&scratch, &config).await;
    let checks = revoxy.checks().await;
    let token = Token::access("odd").sign(&key);
    let ask = |policy: &str| Ask::bearer(&token).policy(policy);
    let () = redis.run(&["SADD", "revoxy:jti:shop:odd", "not a string"]);
    let answer = checks.ask(ask("default")).await;
    assert_eq!(answer.verdict(), (503, "revocation_unavailable"));
    assert_eq!(checks.ask(ask("open")).await.verdict(), (0, "fail_open"));
    let () = redis.run(&["SET", "revoxy:sub:shop:alice", ""]);
    for policy in ["default", "open", "delegating"] {
        assert_eq!(checks.ask(ask(policy)).await.verdict(), (401, "revoked"));
    }
}

#[tokio::test]
async fn each_policy_says_what_happens_when_nobody_can_tell() {
    let scene = Scene::set("on_unavailable: deny").await;
    scene.black_out().await;
    for _ in 0..3 {
        for (policy, expected) in [
            // Not said: as the section `revocation` says.
            ("default", (503, "revocation_unavailable")),
            ("denying", (503, "revocation_unavailable")),
            ("stale", (0, "stale")),
            ("open", (0, "fail_open")),
            // What has another fault, or needs no store, is not let in or kept out by that.
            ("refresh", (401, "wrong_token_type")),
            ("open_refresh", (401, "wrong_token_type")),
            ("public", (0, "public")),
        ] {
            let answer = scene.checks.ask(scene.ask(policy)).await;
            assert_eq!(answer.verdict(), expected, "{policy}");
            assert_eq!(answer.allows(), expected.0 == 0, "{policy}");
        }
        let delegated = scene.checks.try_ask(scene.ask("delegating")).await;
        assert_eq!(delegated, Err(tonic::Code::Unavailable));
    }
    for policy in ["default", "stale", "briefly", "open", "delegating"] {
        let ask = Ask::bearer(&scene.revoked).policy(policy);
        let answer = scene.checks.ask(ask).await;
        assert_eq!(answer.verdict(), (401, "revoked"), "{policy}");
    }
    assert!(scene.counted("allow", "open", "fail_open").await > 2.5);
    assert!(scene.counted("allow", "stale", "stale").await > 2.5);
    let delegated = scene.counted("error", "delegating", "revocation_delegated");
    assert!(delegated.await > 2.5);
    scene.proxy.set(Mood::Passing);
    scene.healed().await;
    assert_eq!(scene.reason("open").await, "ok");
    let failed_open = scene.counted("allow", "open", "fail_open").await;
    assert_eq!(scene.reason("open").await, "ok");
    assert!(scene.counted("allow", "open", "fail_open").await < failed_open + 0.5);
}

#[tokio::test]
async fn a_stale_view_is_served_for_as_long_as_was_said_and_not_longer() {
    let scene = Scene::set("on_unavailable: { serve_stale: 3s }").await;
    for policy in ["briefly", "default"] {
        let hanging = Instant::now();
        scene.proxy.set(Mood::Hanging);
        let mut seen: Vec<String> = Vec::new();
        eventually("the end of serving stale", async || {
            let late = hanging.elapsed() > Duration::from_secs(3);
            let reason = scene.reason(policy).await;
            assert!(!late || reason == "revocation_unavailable", "{reason}");
            if seen.last() != Some(&reason) {
                seen.push(reason);
            }
            (seen.last()? == "revocation_unavailable").then_some(())
        })
        .await;
        assert_eq!(seen, ["ok", "stale", "revocation_unavailable"], "{policy}");
        scene.proxy.set(Mood::Passing);
        scene.healed().await;
    }
}

#[tokio::test]
async fn a_policy_may_be_stricter_than_the_rest() {
    let scene = Scene::set("on_unavailable: allow").await;
    scene.black_out().await;
    assert_eq!(scene.reason("default").await, "fail_open");
    assert_eq!(scene.reason("denying").await, "revocation_unavailable");
    assert_eq!(scene.reason("any").await, "fail_open");
}

#[tokio::test]
async fn without_a_view_the_same_is_decided_except_that_nothing_stale_can_be_served() {
    let scene = Scene::set("read: store").await;
    scene.black_out().await;
    for (policy, expected) in [
        ("default", "revocation_unavailable"),
        ("stale", "revocation_unavailable"),
        ("open", "fail_open"),
        ("delegating", "Unavailable"),
    ] {
        assert_eq!(scene.reason(policy).await, expected, "{policy}");
    }
}

#[tokio::test]
async fn through_envoy_a_delegated_check_follows_its_failure_mode() {
    let scene = Scene::set("on_unavailable: delegate").await;
    let app = Upstream::start().await;
    let closed = Envoy::start(&scene.scratch, &scene.revoxy.check, app.address).await;
    let edit = ("failure_mode_allow: false", "failure_mode_allow: true");
    let open = Envoy::start_edited(&scene.scratch, &scene.revoxy.check, app.address, &[edit]).await;
    for envoy in [&closed, &open] {
        assert!(envoy.bearer("/protected", &scene.good).await.passed());
    }
    scene.black_out().await;
    assert_eq!(closed.bearer("/protected", &scene.good).await.status, 503);
    let seen = open.bearer("/protected", &scene.good).await;
    assert!(seen.passed(), "{seen:?}");
    for envoy in [&closed, &open] {
        let seen = envoy.bearer("/protected", &scene.revoked).await;
        assert_eq!((seen.status, seen.reason()), (401, "revoked"));
        assert_eq!(envoy.bearer("/protected", "garbage").await.status, 401);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_ten_thousand_checks_the_first_and_the_last_are_answered_in_time() {
    let scene = Scene::set("on_unavailable: deny").await;
    scene.black_out().await;
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..100 {
        let (checks, ask) = (scene.checks.clone(), scene.ask("default"));
        tasks.spawn(async move {
            for _ in 0..100 {
                let asked = Instant::now();
                let answer = checks.ask(ask.clone()).await;
                assert_eq!(answer.verdict(), (503, "revocation_unavailable"));
                assert!(asked.elapsed() < SOON, "after {:?}", asked.elapsed());
            }
        });
    }
    tasks.join_all().await;
    assert!(
        started.elapsed() < ALL_SOON,
        "after {:?}",
        started.elapsed()
    );
    let counted = scene.counted("error", "default", "revocation_unavailable");
    assert!(counted.await > 9999.5);
    for error in ["timeout", "breaker_open"] {
        let name = format!("revoxy_revocation_lookup_errors_total{{error=\"{error}\"}}");
        assert!(scene.metric(&name).await > 0.5, "{error}");
    }
    assert!(scene.metric("revoxy_revocation_view_age_seconds").await > 1.0);
    eventually("a feed that has noticed", async || {
        (scene.metric("revoxy_revocation_feed_up").await < 0.5).then_some(())
    })
    .await;
    let reconnects = "revoxy_revocation_feed_reconnects_total";
    assert!(scene.metric(reconnects).await > 0.5);
    scene.proxy.set(Mood::Passing);
    scene.healed().await;
    let answer = scene.checks.bearer(&scene.revoked).await;
    assert_eq!(answer.verdict(), (401, "revoked"));
}

#[tokio::test]
async fn what_was_revoked_meanwhile_is_denied_by_the_first_answer_after_the_return() {
    let scene = Scene::set("on_unavailable: deny").await;
    scene.black_out().await;
    let () = scene
        .redis
        .run(&["SET", "revoxy:jti:shop:good", "", "EX", "3600"]);
    scene.proxy.set(Mood::Passing);
    eventually("the denial", async || {
        let answer = scene.checks.bearer(&scene.good).await;
        assert!(!answer.allows(), "{answer:?}");
        (answer.reason() == "revoked").then_some(())
    })
    .await;
}
