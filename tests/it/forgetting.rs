//! Redis forgets: it restarts without its data, it is flushed, keys are deleted, evicted, swapped away. What somebody
//! still remembers is written back, unless it was taken back.

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::Algorithm;
use revoxy::clock::{Clock as _, SystemClock};
use revoxy::metrics::{CheckLabels, Metrics};
use revoxy::revocation::{
    Deletions, FeedSettings, KeyKind, Lookups, RedisOptions, RedisStore, RevocationKey,
    RevocationStore as _, StoreError,
};

use crate::support::{
    Checks, Config, Mood, PATIENCE, Proxy, Redis, Revoxy, Scratch, SigningKey, Token, eventually,
};

const RESTORED: &str = "revoxy_revocations_restored_total";
const HEALED: &str = "revoxy_revocation_view_healed_total";
const HONOUR: &str = "deletions: honour";
const IGNORE: &str = "deletions: ignore";

struct Scene {
    scratch: Scratch,
    key: SigningKey,
    redis: Redis,
    /// More lines of the section `revocation`.
    lines: &'static [&'static str],
}

/// The native key of the revocation of token `a`.
const NATIVE: &str = "revoxy:jti:shop:a";

struct Replica {
    revoxy: Revoxy,
    checks: Checks,
}

impl Scene {
    async fn set(lines: &'static [&'static str]) -> Self {
        let scratch = Scratch::new();
        let redis = Redis::start(&scratch).await;
        Self::with(scratch, redis, lines)
    }

    fn with(scratch: Scratch, redis: Redis, lines: &'static [&'static str]) -> Self {
        let key = SigningKey::generate(Algorithm::ES256);
        Self {
            scratch,
            key,
            redis,
            lines,
        }
    }

    async fn replica(&self) -> Replica {
        self.replica_through(self.redis.store()).await
    }

    async fn replica_through(&self, store: String) -> Replica {
        let config = Config::trusting(&self.key, &self.scratch).store(store);
        let config = self.lines.iter().fold(config, |c, line| c.revocation(line));
        let revoxy = Revoxy::start(&self.scratch, &config).await;
        let checks = revoxy.checks().await;
        Replica { revoxy, checks }
    }

    fn token(&self, jti: &str) -> String {
        Token::access(jti).sign(&self.key)
    }

    fn revoke_by_hand(&self, jtis: &[&str]) {
        for jti in jtis {
            let key = format!("revoxy:jti:shop:{jti}");
            let () = self.redis.run(&["SET", &key, "", "EX", "3600"]);
        }
    }

    async fn take_back(&self, jti: &str) {
        let clock = Arc::new(SystemClock);
        let store = RedisStore::new(&self.redis.options(), clock).unwrap();
        store.ready(PATIENCE).await.unwrap();
        let key = RevocationKey::new(KeyKind::TokenId, "shop", jti);
        assert!(store.unrevoke(&key).await.unwrap());
    }

    fn keys(&self, pattern: &str) -> Vec<String> {
        self.redis.run(&["KEYS", pattern])
    }

    /// Every one of these tokens gets this answer, at once.
    async fn all_are(&self, replica: &Replica, jtis: &[&str], reason: &str) {
        for jti in jtis {
            let answer = replica.checks.bearer(&self.token(jti)).await;
            assert_eq!(answer.reason(), reason, "{jti}");
        }
    }

    /// Every one of these tokens gets this answer in the end.
    async fn all_become(&self, replica: &Replica, jtis: &[&str], reason: &str) {
        for jti in jtis {
            let token = self.token(jti);
            eventually(&format!("{reason} as the answer about {jti}"), async || {
                (replica.checks.bearer(&token).await.reason() == reason).then_some(())
            })
            .await;
        }
    }
}

impl Replica {
    async fn counts(&self, metric: &str, expected: f64) {
        eventually(&format!("{metric} of {expected}"), async || {
            (self.revoxy.metric(metric).await > expected - 0.5).then_some(())
        })
        .await;
        let counted = self.revoxy.metric(metric).await;
        assert!(counted < expected + 0.5, "{metric}: {counted}");
    }
}

#[tokio::test]
async fn a_redis_that_restarts_without_its_data_is_given_it_back() {
    let mut scene = Scene::set(&[HONOUR]).await;
    let replica = scene.replica().await;
    scene.revoke_by_hand(&["a", "b"]);
    replica.revoxy.revoke(&scene.token("c")).await;
    let all = ["a", "b", "c"];
    scene.all_become(&replica, &all, "revoked").await;
    for round in 1..=2 {
        scene.redis.kill();
        scene.all_are(&replica, &all, "revoked").await;
        scene.redis.restart(&scene.scratch).await;
        scene.all_are(&replica, &all, "revoked").await;
        replica.counts(RESTORED, f64::from(round * 3)).await;
        scene.all_are(&replica, &all, "revoked").await;
        let restored = scene.keys("revoxy:*");
        assert_eq!(restored.len(), 3, "{restored:?}");
        for key in &restored {
            assert!(key.starts_with("revoxy:restored:{"), "{key}");
            let life: i64 = scene.redis.run(&["TTL", key]);
            assert!((3000..=3700).contains(&life), "{life}");
        }
        let newcomer = scene.replica().await;
        scene.all_are(&newcomer, &all, "revoked").await;
        scene.all_become(&replica, &["good"], "ok").await;
        scene.all_become(&newcomer, &["good"], "ok").await;
        // Three times as good as once.
        newcomer.counts(RESTORED, 0.0).await;
    }
    assert!(replica.revoxy.log().await.contains("\"entries\":3"));
    // Whoever asks for one of them by name is told of it too.
    let store = store_with_view(&scene.redis.options());
    store.ready(PATIENCE).await.unwrap();
    let key = RevocationKey::new(KeyKind::TokenId, "shop", "a");
    let revocation = store.get(&key).await.unwrap().unwrap();
    assert_eq!(revocation.reason.as_deref(), Some("restored"));
    let left = revocation.expires_at.since(SystemClock.now());
    assert!((3000..=3700).contains(&left.as_secs()), "{left:?}");
    let absent = RevocationKey::new(KeyKind::TokenId, "shop", "good");
    assert_eq!(store.get(&absent).await.unwrap(), None);
}

#[tokio::test]
async fn deleting_and_flushing_take_back_where_they_are_honoured() {
    let scene = Scene::set(&[HONOUR]).await;
    let replica = scene.replica().await;
    let all = ["a", "b", "c"];
    scene.revoke_by_hand(&all);
    scene.all_become(&replica, &all, "revoked").await;
    let _: u64 = scene.redis.run(&["DEL", "revoxy:jti:shop:a"]);
    scene.all_become(&replica, &["a"], "ok").await;
    scene.all_are(&replica, &["b", "c"], "revoked").await;
    let () = scene.redis.run(&["FLUSHALL"]);
    scene.all_become(&replica, &all, "ok").await;
    replica.counts(RESTORED, 0.0).await;
    assert!(scene.keys("*").is_empty());
}

#[tokio::test]
async fn deleting_and_flushing_take_nothing_back_where_they_are_ignored() {
    let scene = Scene::set(&[IGNORE]).await;
    let replica = scene.replica().await;
    let all = ["a", "b", "c"];
    scene.revoke_by_hand(&all);
    scene.all_become(&replica, &all, "revoked").await;
    let _: u64 = scene.redis.run(&["DEL", "revoxy:jti:shop:a"]);
    scene.all_are(&replica, &all, "revoked").await;
    replica.counts(RESTORED, 1.0).await;
    let () = scene.redis.run(&["FLUSHALL"]);
    scene.all_are(&replica, &all, "revoked").await;
    replica.counts(RESTORED, 4.0).await;
    scene.all_are(&replica, &all, "revoked").await;
    let newcomer = scene.replica().await;
    scene.all_are(&newcomer, &all, "revoked").await;
    // The API's word is the only one that counts.
    scene.take_back("b").await;
    for replica in [&replica, &newcomer] {
        scene.all_become(replica, &["b"], "ok").await;
        scene.all_are(replica, &["a", "c"], "revoked").await;
    }
    replica.counts(RESTORED, 4.0).await;
}

#[tokio::test]
async fn what_was_taken_back_stays_so_when_redis_forgets() {
    let mut scene = Scene::set(&[HONOUR]).await;
    let replica = scene.replica().await;
    scene.revoke_by_hand(&["taken-back", "standing"]);
    scene
        .all_become(&replica, &["taken-back", "standing"], "revoked")
        .await;
    scene.take_back("taken-back").await;
    let value: String = scene.redis.run(&["GET", "revoxy:jti:shop:taken-back"]);
    assert!(value.contains("unrevoked"), "{value}");
    let life: i64 = scene.redis.run(&["TTL", "revoxy:jti:shop:taken-back"]);
    assert!((3000..=3600).contains(&life), "{life}");
    scene.all_become(&replica, &["taken-back"], "ok").await;
    scene.redis.kill();
    scene.redis.restart(&scene.scratch).await;
    replica.counts(RESTORED, 1.0).await;
    let newcomer = scene.replica().await;
    for replica in [&replica, &newcomer] {
        scene.all_become(replica, &["taken-back"], "ok").await;
        scene.all_are(replica, &["standing"], "revoked").await;
    }
}

#[tokio::test]
async fn what_was_taken_back_while_a_replica_was_away_is_not_restored_by_it() {
    let scratch = Scratch::new();
    let redis = Redis::durable(&scratch).await;
    let proxy = Proxy::before(redis.port()).await;
    let mut scene = Scene::with(scratch, redis, &[HONOUR]);
    let replica = scene.replica_through(proxy.store()).await;
    scene.revoke_by_hand(&["taken-back", "lost"]);
    scene
        .all_become(&replica, &["taken-back", "lost"], "revoked")
        .await;
    proxy.set(Mood::Cutting);
    scene.take_back("taken-back").await;
    // Gone without a tombstone, and from another process than before: lost, as far as anybody can tell.
    let _: u64 = scene.redis.run(&["DEL", "revoxy:jti:shop:lost"]);
    scene.redis.kill();
    scene.redis.restart(&scene.scratch).await;
    proxy.set(Mood::Passing);
    replica.counts(RESTORED, 1.0).await;
    scene.all_become(&replica, &["taken-back"], "ok").await;
    scene.all_are(&replica, &["lost"], "revoked").await;
    assert_eq!(scene.keys("revoxy:restored:*").len(), 1);
    // Revoked once more, it is revoked, and what was said before does not matter.
    replica.revoxy.revoke(&scene.token("taken-back")).await;
    scene.all_are(&replica, &["taken-back"], "revoked").await;
    let value: String = scene.redis.run(&["GET", "revoxy:jti:shop:taken-back"]);
    assert!(value.contains("version"), "{value}");
}

#[tokio::test]
async fn evicted_revocations_stay_and_are_written_back_when_there_is_room() {
    let scene = Scene::set(&[HONOUR, "compare_every: 1s"]).await;
    let replica = scene.replica().await;
    let names: Vec<String> = (0..200).map(|n| format!("evicted-{n}")).collect();
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    scene.revoke_by_hand(&all);
    scene.all_become(&replica, &all, "revoked").await;
    let set = |name: &str, value: &str| {
        let () = scene.redis.run(&["CONFIG", "SET", name, value]);
    };
    set("maxmemory-policy", "allkeys-random");
    set("maxmemory", "1mb");
    let left = eventually("an eviction", async || {
        let info: String = scene.redis.run(&["INFO", "stats"]);
        let left = scene.keys("revoxy:jti:*").len();
        (!info.contains("evicted_keys:0\r") && left < all.len()).then_some(left)
    })
    .await;
    scene.all_are(&replica, &all, "revoked").await;
    set("maxmemory", "0");
    eventually("as many keys as before", async || {
        let restored = scene.keys("revoxy:restored:*").len();
        let native = scene.keys("revoxy:jti:*").len();
        (native <= left && restored + native >= all.len()).then_some(())
    })
    .await;
    // Counted when Redis has answered.
    eventually("the count of what was restored", async || {
        (replica.revoxy.metric(RESTORED).await > 0.5).then_some(())
    })
    .await;
    scene.all_are(&replica, &all, "revoked").await;
    let newcomer = scene.replica().await;
    scene.all_are(&newcomer, &all, "revoked").await;
    scene.all_are(&newcomer, &["good"], "ok").await;
}

#[tokio::test]
async fn a_swapped_database_is_found_by_the_comparison_and_counted() {
    for (line, gone, restored) in [(HONOUR, "ok", 0.0), (IGNORE, "revoked", 2.0)] {
        let lines: &'static [&'static str] = match line {
            HONOUR => &[HONOUR, "compare_every: 1s"],
            _ => &[IGNORE, "compare_every: 1s"],
        };
        let scene = Scene::set(lines).await;
        // What stands in the other database when it takes the place of ours.
        let other = scene.redis.url().replace("/0", "/1");
        let mut other = redis::Client::open(other)
            .unwrap()
            .get_connection()
            .unwrap();
        let mut set = redis::cmd("SET");
        set.arg("revoxy:jti:shop:new").arg("").arg("EX").arg(3600);
        let () = set.query(&mut other).unwrap();
        let replica = scene.replica().await;
        scene.revoke_by_hand(&["a", "b"]);
        scene.all_become(&replica, &["a", "b"], "revoked").await;
        scene.all_are(&replica, &["new"], "ok").await;
        let () = scene.redis.run(&["SWAPDB", "0", "1"]);
        scene.all_become(&replica, &["new"], "revoked").await;
        replica.counts(HEALED, 3.0).await;
        scene.all_become(&replica, &["a", "b"], gone).await;
        replica.counts(RESTORED, restored).await;
        scene.all_are(&replica, &["good"], "ok").await;
    }
}

#[tokio::test]
async fn what_was_pushed_is_not_counted_as_kept_silent_about() {
    let scene = Scene::set(&[HONOUR, "compare_every: 1s"]).await;
    let replica = scene.replica().await;
    for round in 0..60 {
        let names: Vec<String> = (0..40).map(|n| format!("{round}-{n}")).collect();
        let all: Vec<&str> = names.iter().map(String::as_str).collect();
        scene.revoke_by_hand(&all);
        let keys: Vec<String> = all.iter().map(|n| format!("revoxy:jti:shop:{n}")).collect();
        let delete = ["UNLINK"].into_iter();
        let delete: Vec<&str> = delete.chain(keys.iter().map(String::as_str)).collect();
        let _: u64 = scene.redis.run(&delete);
    }
    replica.counts(HEALED, 0.0).await;
}

/// A store of the library with a view.
fn store_with_view(options: &RedisOptions) -> RedisStore {
    let labels = CheckLabels {
        outcomes: &[],
        policies: &[],
    };
    let metrics = Metrics::new(&labels, &StoreError::LABELS).unwrap();
    let settings = FeedSettings {
        max_staleness: Duration::from_secs(1),
        deletions: Deletions::Honour,
        compare_every: Duration::from_secs(300),
        lookups: Lookups::default(),
        issuers: Vec::new(),
    };
    let clock = Arc::new(SystemClock);
    RedisStore::with_view(options, settings, clock, metrics.feed.clone()).unwrap()
}

impl Scene {
    /// Under which name the revocation of a token is written back. Nothing stands under either name afterwards, and no replica runs.
    async fn restored_name_of(&mut self, jti: &str) -> String {
        let writer = self.replica().await;
        self.revoke_by_hand(&[jti]);
        self.all_become(&writer, &[jti], "revoked").await;
        self.redis.kill();
        self.redis.restart(&self.scratch).await;
        writer.counts(RESTORED, 1.0).await;
        let restored = self.keys("revoxy:restored:*").remove(0);
        drop(writer);
        let _: u64 = self.redis.run(&["DEL", &restored]);
        restored
    }

    /// Stores, under this name, an un-revocation by a Revoxy replica whose clock is a minute ahead. Returns its version, in ms.
    fn unrevoke_by_a_clock_ahead(&self, name: &str) -> i64 {
        let ahead = SystemClock.now().plus(Duration::from_secs(60)).millis();
        let unrevoked = format!(r#"{{"not_before":0,"unrevoked":"{ahead}.0"}}"#);
        let () = self.redis.run(&["SET", name, &unrevoked, "EX", "3600"]);
        ahead
    }

    /// The replica has heard of everything that was stored before.
    async fn has_heard(&self, replica: &Replica) {
        self.revoke_by_hand(&["b"]);
        self.all_become(replica, &["b"], "revoked").await;
    }
}

#[tokio::test]
async fn what_is_set_by_hand_is_not_taken_back_by_an_un_revocation_that_is_written_back() {
    let mut scene = Scene::set(&[HONOUR]).await;
    let restored = scene.restored_name_of("a").await;
    // A replica that has seen nothing but this; and another, whose clock is ahead, writes back what was before it.
    scene.revoke_by_hand(&["a"]);
    let replica = scene.replica().await;
    scene.unrevoke_by_a_clock_ahead(&restored);
    scene.has_heard(&replica).await;
    scene.all_are(&replica, &["a"], "revoked").await;
    let newcomer = scene.replica().await;
    scene.all_are(&newcomer, &["a"], "revoked").await;
}

#[tokio::test]
async fn an_un_revocation_is_not_written_back_without_the_revocation_that_came_after_it() {
    let mut scene = Scene::set(&[IGNORE]).await;
    let restored = scene.restored_name_of("a").await;
    let replica = scene.replica().await;
    // One whose clock is ahead un-revokes, and then the token is revoked by hand.
    let ahead = scene.unrevoke_by_a_clock_ahead(NATIVE);
    scene.has_heard(&replica).await;
    scene.revoke_by_hand(&["a"]);
    scene.all_become(&replica, &["a"], "revoked").await;
    // Another, which has seen nothing but the revocation, writes it back, dated by its own clock.
    let earlier = format!(r#"{{"version":"{}.0"}}"#, ahead - 60_000);
    let () = scene.redis.run(&["SET", &restored, &earlier, "EX", "3600"]);
    eventually("the un-revocation in what was written back", async || {
        let value: String = scene.redis.run(&["GET", &restored]);
        value.contains(&ahead.to_string()).then_some(())
    })
    .await;
    drop(replica);
    let _: u64 = scene.redis.run(&["DEL", NATIVE]);
    let newcomer = scene.replica().await;
    scene.all_are(&newcomer, &["a"], "revoked").await;
}

#[tokio::test]
async fn what_is_revoked_again_over_a_revocation_by_hand_is_not_taken_back_by_what_was_before_both()
{
    let mut scene = Scene::set(&[HONOUR]).await;
    let restored = scene.restored_name_of("a").await;
    // A replica that has seen nothing but the revocation by hand revokes once more.
    let replica = scene.replica().await;
    scene.revoke_by_hand(&["a"]);
    scene.all_become(&replica, &["a"], "revoked").await;
    replica.revoxy.revoke(&scene.token("a")).await;
    // Another, whose clock is ahead, had un-revoked before that, and writes it back.
    scene.unrevoke_by_a_clock_ahead(&restored);
    scene.has_heard(&replica).await;
    scene.all_are(&replica, &["a"], "revoked").await;
    let newcomer = scene.replica().await;
    scene.all_are(&newcomer, &["a"], "revoked").await;
}

#[tokio::test]
async fn an_un_revocation_that_a_restarted_redis_lacks_is_written_back_with_the_revocation_by_hand_after_it()
 {
    let mut scene = Scene::set(&[HONOUR]).await;
    let restored = scene.restored_name_of("a").await;
    let replica = scene.replica().await;
    // One whose clock is ahead un-revokes, and then the token is revoked by hand.
    let ahead = scene.unrevoke_by_a_clock_ahead(NATIVE);
    scene.has_heard(&replica).await;
    scene.revoke_by_hand(&["a"]);
    scene.all_become(&replica, &["a"], "revoked").await;
    scene.redis.kill();
    scene.redis.restart(&scene.scratch).await;
    let () = scene.redis.run(&["SET", NATIVE, "", "EX", "3600"]);
    let written = eventually("the un-revocation in what is written back", async || {
        let value: Option<String> = scene.redis.run(&["GET", &restored]);
        value.filter(|value| value.contains(&ahead.to_string()))
    })
    .await;
    assert!(written.contains("\"version\""), "{written}");
}

#[tokio::test]
async fn what_is_deleted_while_a_new_replica_reads_for_the_first_time_is_not_written_back() {
    let scratch = Scratch::new();
    let redis = Redis::start(&scratch).await;
    let many = "for i = 1, 3000 do redis.call('SET', 'revoxy:jti:shop:' .. i, '') end";
    let () = redis.run(&["EVAL", many, "0"]);
    let proxy = Proxy::before(redis.port()).await;
    proxy.set(Mood::Delaying(Duration::from_millis(40)));
    let url = format!("redis://127.0.0.1:{}/0", proxy.port());
    let store = store_with_view(&RedisOptions::url(url, PATIENCE));
    let view = store.view().unwrap();
    eventually("some of the entries", async || {
        (!view.is_empty()).then_some(())
    })
    .await;
    proxy.set(Mood::Cutting);
    eventually("the end of the connections", async || {
        let clients: String = redis.run(&["CLIENT", "LIST"]);
        (clients.lines().count() == 1).then_some(())
    })
    .await;
    assert!(view.len() < 3000);
    let () = redis.run(&["FLUSHDB"]);
    proxy.set(Mood::Passing);
    store.ready(PATIENCE).await.unwrap();
    assert!(view.is_empty());
    let keys: Vec<String> = redis.run(&["KEYS", "*"]);
    assert!(keys.is_empty(), "{} keys", keys.len());
}

#[tokio::test]
async fn what_expires_under_the_name_of_a_restored_key_is_swept() {
    let scratch = Scratch::new();
    let redis = Redis::start(&scratch).await;
    let store = store_with_view(&redis.options());
    store.ready(PATIENCE).await.unwrap();
    let key = format!("revoxy:restored:{{{:032x}}}", 1_u128 << 64);
    let () = redis.run(&["SET", &key, "", "PX", "200"]);
    let view = store.view().unwrap();
    eventually("the entry", async || (view.len() == 1).then_some(())).await;
    // Redis does not say under which other name it may still stand.
    eventually("the end of the entry", async || {
        store.prune(SystemClock.now()).await.unwrap();
        view.is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_token_that_is_un_revoked_once_more_while_its_keys_are_read_is_not_refused_meanwhile() {
    let mut scene = Scene::set(&[HONOUR]).await;
    let restored = scene.restored_name_of("a").await;
    // What is left after a failover: the revocation, and the un-revocation that was written back beside it.
    let before = |seconds: i64| SystemClock.now().millis() - 1000 * seconds;
    let revoked = format!(r#"{{"version":"{}.0"}}"#, before(20));
    let unrevoked = format!(r#"{{"not_before":0,"unrevoked":"{}.0"}}"#, before(10));
    let () = scene.redis.run(&["SET", NATIVE, &revoked, "EX", "3600"]);
    let () = scene
        .redis
        .run(&["SET", &restored, &unrevoked, "EX", "3600"]);
    let proxy = Proxy::before(scene.redis.port()).await;
    let replica = scene.replica_through(proxy.store()).await;
    scene.all_are(&replica, &["a"], "ok").await;
    // The replica reads one key after the other. In between, another replica un-revokes the token, which states the
    // un-revocation under the native key and deletes the restored one.
    let mut second = proxy.hold(&restored);
    let _: u64 = scene.redis.run(&["EXPIRE", NATIVE, "3000"]);
    second.arrives().await;
    let mut third = proxy.hold(NATIVE);
    let another = RedisStore::new(&scene.redis.options(), Arc::new(SystemClock)).unwrap();
    another.ready(PATIENCE).await.unwrap();
    let key = RevocationKey::new(KeyKind::TokenId, "shop", "a");
    another.unrevoke(&key).await.unwrap();
    drop(second);
    third.arrives().await;
    scene.all_are(&replica, &["a"], "ok").await;
    drop(third);
    scene.has_heard(&replica).await;
    scene.all_are(&replica, &["a"], "ok").await;
}

#[tokio::test]
async fn a_revocation_whose_native_key_goes_while_its_restored_key_comes_is_refused_throughout() {
    let mut scene = Scene::set(&[HONOUR]).await;
    let restored = scene.restored_name_of("a").await;
    let _: u64 = scene.redis.run(&["DEL", &restored]);
    // Set by hand over an un-revocation by a replica whose clock is ahead. The replica that starts now does not know of the
    // un-revocation, and dates the revocation before it.
    scene.revoke_by_hand(&["a"]);
    let proxy = Proxy::before(scene.redis.port()).await;
    let replica = scene.replica_through(proxy.store()).await;
    scene.all_are(&replica, &["a"], "revoked").await;
    // Redis loses the native key, and another replica writes back what it knows of both. The replica hears of both at once.
    let ahead = SystemClock.now().millis() + 10_000;
    let both = format!(r#"{{"unrevoked":"{ahead}.0","version":"{ahead}.1"}}"#);
    let script =
        "redis.call('DEL', ARGV[1]); return redis.call('SET', ARGV[2], ARGV[3], 'EX', 3600)";
    let mut reading = proxy.hold("SCAN");
    let () = scene
        .redis
        .run(&["EVAL", script, "0", NATIVE, &restored, &both]);
    reading.arrives().await;
    scene.all_are(&replica, &["a"], "revoked").await;
    drop(reading);
    scene.has_heard(&replica).await;
    scene.all_are(&replica, &["a"], "revoked").await;
}
