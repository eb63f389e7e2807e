//! An allow-list whose Redis is down: what the view holds is good while it is young, and what it does not hold never is.

use jsonwebtoken::Algorithm;

use super::{Replica, Scene};
use crate::support::{Ask, Mood, Proxy, Redis, Scratch, SigningKey, admin, eventually};

const POLICIES: &str = "  stale: { on_unavailable: { serve_stale: 1h } }
  open: { on_unavailable: allow }";

async fn reason(replica: &Replica, token: &str, policy: &str) -> String {
    let ask = Ask::bearer(token).policy(policy);
    replica.checks.ask(ask).await.reason().to_owned()
}

#[tokio::test]
async fn a_young_view_lets_registered_tokens_pass_and_an_old_one_as_the_policy_says() {
    let scratch = Scratch::new();
    let redis = Redis::start(&scratch).await;
    let proxy = Proxy::before(redis.port()).await;
    let scene = Scene {
        redis,
        key: std::sync::Arc::new(SigningKey::generate(Algorithm::ES256)),
        scratch,
        lines: &["mode: allow_list", "max_staleness: 3s"],
    };
    // Policies come last in the text of a configuration, and the key of the administrator behind them.
    let mut config = scene.config(proxy.store());
    config.more = format!("{POLICIES}\n{}", admin::section(&scene.scratch));
    let replica = scene.replica_of(&config).await;
    let (known, unknown, revoked) = (
        scene.token("known"),
        scene.token("unknown"),
        scene.token("revoked"),
    );
    for token in [&known, &revoked] {
        replica.admin.register(token).await;
        // Into the view as well, so that Redis need not be asked any more.
        eventually("an entry of the view", async || {
            let asked = "revoxy_revocation_lookup_duration_seconds_count";
            let before = replica.revoxy.metric(asked).await;
            replica.is(token, "ok").await;
            (replica.revoxy.metric(asked).await < before + 0.5).then_some(())
        })
        .await;
    }
    replica.revoxy.revoke(&revoked).await;
    proxy.set(Mood::Hanging);
    // Young enough, and only of what it holds.
    replica.is(&known, "ok").await;
    replica.is(&revoked, "revoked").await;
    assert_eq!(
        reason(&replica, &unknown, "default").await,
        "revocation_unavailable"
    );
    assert_eq!(
        reason(&replica, &unknown, "stale").await,
        "revocation_unavailable"
    );
    assert_eq!(reason(&replica, &unknown, "open").await, "fail_open");
    replica.becomes(&known, "revocation_unavailable").await;
    assert_eq!(reason(&replica, &known, "stale").await, "stale");
    assert_eq!(
        reason(&replica, &unknown, "stale").await,
        "revocation_unavailable"
    );
    for policy in ["default", "stale", "open"] {
        assert_eq!(
            reason(&replica, &revoked, policy).await,
            "revoked",
            "{policy}"
        );
    }
    let said = replica
        .admin
        .post("/tokens", serde_json::json!({ "token": unknown }))
        .await;
    assert_eq!(said.status, 503, "{said:?}");
    assert_eq!(said.body["error"], "temporarily_unavailable");
    proxy.set(Mood::Passing);
    replica.becomes(&known, "ok").await;
    replica.becomes(&unknown, "revoked").await;
}

#[tokio::test]
async fn records_are_read_from_a_redis_that_has_restarted_before_checks_believe_it() {
    let mut scene = Scene::set(&["max_staleness: 10s"]).await;
    let replica = scene.replica().await;
    replica.admin.register(&scene.token("a")).await;
    scene.redis.kill();
    scene.redis.restart(&scene.scratch).await;
    // The connection has to be made anew.
    // Other replicas have ten seconds to write back what Redis has lost; until then, no view is complete.
    eventually(
        "an answer about records before the view is complete",
        async || {
            let said = replica.admin.get("/tokens?issuer=shop&sub=alice").await;
            let up = replica.revoxy.metric("revoxy_revocation_feed_up").await;
            (said.status == 200 && up < 0.5).then_some(())
        },
    )
    .await;
}
