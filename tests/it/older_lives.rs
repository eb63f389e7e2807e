//! A server comes back with its data of a while ago, in which keys end sooner than they do by now.

use jsonwebtoken::Algorithm;
use revoxy::clock::{Clock as _, SystemClock};

use crate::support::{Config, Redis, Revoxy, Scratch, SigningKey, eventually};

/// So many that reading them takes several steps, of which each finds that some have ended just before.
const KEYS: u64 = 4000;
const ENTRIES: &str = "revoxy_revocation_view_entries";

fn now() -> u64 {
    u64::try_from(SystemClock.now().millis()).unwrap()
}

/// Sets every key, by hand. `end` is what follows the value, for the key with this number.
fn set(redis: &Redis, value: &str, end: impl Fn(u64) -> (&'static str, u64)) {
    let mut connection = redis::Client::open(redis.url())
        .unwrap()
        .get_connection()
        .unwrap();
    let mut pipeline = redis::pipe();
    for n in 0..KEYS {
        let (unit, end) = end(n);
        let set = pipeline.cmd("SET").arg(format!("revoxy:jti:shop:{n}"));
        set.arg(value).arg(unit).arg(end).ignore();
    }
    let () = pipeline.query(&mut connection).unwrap();
}

#[tokio::test]
async fn what_ends_on_an_older_copy_while_it_is_read_is_not_taken_for_deleted() {
    let scratch = Scratch::new();
    let mut redis = Redis::durable(&scratch).await;
    let key = SigningKey::generate(Algorithm::ES256);
    let config = Config::trusting(&key, &scratch).store(redis.store());
    let revoxy = Revoxy::start(&scratch, &config).await;
    // One in each millisecond, from the restart on.
    let restart = now() + 3000;
    set(&redis, "{\"not_before\":1}", |n| ("PXAT", restart + n));
    let copy = redis.copy_of_data(&scratch).await;
    set(&redis, "", |_| ("EX", 3600));
    let followed = async || {
        let entries = revoxy.metric(ENTRIES).await;
        #[allow(clippy::cast_precision_loss, reason = "a few thousand")]
        (entries >= KEYS as f64).then_some(())
    };
    eventually("all revocations in the view", followed).await;
    eventually("the time at which the first ends", async || {
        (now() >= restart).then_some(())
    })
    .await;
    redis.kill();
    redis.restart_with(&copy, &scratch).await;
    eventually(
        "a view that is complete with the server that came back",
        async || {
            let complete = "the revocation view is complete";
            (revoxy.process.output().matches(complete).count() == 2).then_some(())
        },
    )
    .await;
    assert!(
        followed().await.is_some(),
        "{}",
        revoxy.metric(ENTRIES).await
    );
}
