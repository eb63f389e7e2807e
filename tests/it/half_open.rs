//! A connection that stays open and carries nothing any more, as behind a router that has forgotten it.

use std::time::{Duration, Instant};

use jsonwebtoken::Algorithm;

use crate::support::{Config, Mood, Proxy, Redis, Revoxy, Scratch, SigningKey, Token, eventually};

/// Far more than it takes to miss an answer and to connect again (about a second), because the machine may be busy.
const SOON: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_connection_that_dies_while_the_feed_waits_for_what_was_pushed_is_replaced_soon() {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    let redis = Redis::start(&scratch).await;
    let proxy = Proxy::before(redis.port()).await;
    let config = Config::trusting(&key, &scratch).store(proxy.store());
    let revoxy = Revoxy::start(&scratch, &config).await;
    let checks = revoxy.checks().await;
    let before = Instant::now();
    proxy.set(Mood::Unheard { before });
    // The feed hears of it, and asks in vain what it is.
    let () = redis.run(&["SET", "revoxy:jti:shop:pushed", "", "EX", "3600"]);
    let pushed = Token::access("pushed").sign(&key);
    eventually("the revocation in the view", async || {
        let answer = checks.bearer(&pushed).await;
        (answer.reason() == "revoked").then_some(())
    })
    .await;
    eventually("a view that is followed again", async || {
        let age = "revoxy_revocation_view_age_seconds";
        (revoxy.metric(age).await < 1.0).then_some(())
    })
    .await;
    assert!(before.elapsed() < SOON, "after {:?}", before.elapsed());
}
