//! Redis watched by Sentinels: whatever becomes of the primary, what the one in office acknowledged is denied in time.

use std::time::{Duration, Instant};

use jsonwebtoken::Algorithm;

use crate::support::sentinel::{MASTER, Trio};
use crate::support::{Checks, Config, Redis, Revoxy, Scratch, SigningKey, Token, eventually};

const MAX_STALENESS: Duration = Duration::from_millis(800);

struct Scene {
    trio: Trio,
    revoxy: Revoxy,
    checks: Checks,
    key: SigningKey,
    _scratch: Scratch,
}

impl Scene {
    /// With `read: view` or `read: store`.
    async fn set(read: &str) -> Self {
        let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
        let trio = Trio::start().await;
        let config = Config::trusting(&key, &scratch)
            .store(trio.store())
            .revocation(&format!("read: {read}"))
            .revocation(&format!("max_staleness: {}ms", MAX_STALENESS.as_millis()));
        let revoxy = Revoxy::start(&scratch, &config).await;
        Self {
            checks: revoxy.checks().await,
            trio,
            revoxy,
            key,
            _scratch: scratch,
        }
    }

    async fn reason(&self, jti: &str) -> String {
        let token = Token::access(jti).sign(&self.key);
        self.checks.bearer(&token).await.reason().to_owned()
    }

    async fn eventually_says(&self, jti: &str, reason: &str) {
        eventually(&format!("{reason} for {jti}"), async || {
            (self.reason(jti).await == reason).then_some(())
        })
        .await;
    }

    /// Revokes in the server, as others do.
    fn write(&self, server: usize, jti: &str) {
        let () = self.trio.servers[server].redis.run(&[
            "SET",
            &format!("revoxy:jti:shop:{jti}"),
            "",
            "EX",
            "3600",
        ]);
    }

    /// Waits until the replicas have what the primary has.
    fn replicated(&self, server: usize) {
        let in_step: i64 = self.trio.servers[server].redis.run(&["WAIT", "1", "10000"]);
        assert!(in_step >= 1, "no replica has followed");
    }

    /// From [`MAX_STALENESS`] after now on, no check may allow; before long, one must deny.
    async fn denies_in_time(&self, jti: &str) {
        let acknowledged = Instant::now();
        let deadline = acknowledged + Duration::from_secs(20);
        loop {
            let started = Instant::now();
            let reason = self.reason(jti).await;
            let late = started.duration_since(acknowledged);
            assert!(
                reason != "ok" || late <= MAX_STALENESS,
                "{jti} was allowed {late:?} after it was revoked"
            );
            if reason == "revoked" && late > 2 * MAX_STALENESS {
                return;
            }
            assert!(started < deadline, "not denied: {reason}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn follows_the_primary(read: &str) {
    let mut scene = Scene::set(read).await;
    let first = scene.trio.primary().await;
    scene.write(first, "before");
    scene.denies_in_time("before").await;
    scene.replicated(first);

    // Replaced, although it is well: it becomes a replica.
    scene.trio.fail_over().await;
    let second = scene.trio.successor_of(first).await;
    scene.write(second, "after the first");
    scene.denies_in_time("after the first").await;
    scene.eventually_says("good", "ok").await;
    scene.trio.is_whole().await;
    scene.replicated(second);

    // Killed.
    scene.trio.servers[second].redis.kill();
    let third = scene.trio.successor_of(second).await;
    scene.write(third, "after the second");
    scene.denies_in_time("after the second").await;
    assert_eq!(scene.reason("before").await, "revoked");
    assert_eq!(scene.reason("after the first").await, "revoked");
    scene.eventually_says("good", "ok").await;

    // What is taken back is taken back, by the new primary's word.
    let () = scene.trio.servers[third]
        .redis
        .run(&["DEL", "revoxy:jti:shop:before"]);
    scene.eventually_says("before", "ok").await;

    // The old one comes back as a primary, for the moment until the Sentinels have seen it.
    scene.trio.servers[second].restart().await;
    scene.write(third, "after its return");
    scene.denies_in_time("after its return").await;
    eventually("a replica", async || {
        (scene.trio.servers[second].role()? == "slave").then_some(())
    })
    .await;
    scene.eventually_says("good", "ok").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_view_follows_the_primary_through_failovers() {
    follows_the_primary("view").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_view_too_the_primary_is_followed() {
    follows_the_primary("store").await;
}

async fn leaves_one_that_was_replaced_and_does_not_know(read: &str) {
    let scene = Scene::set(read).await;
    let old = scene.trio.primary().await;
    scene.trio.cut_off(old);
    scene.trio.fail_over().await;
    let new = scene.trio.successor_of(old).await;
    scene.write(new, "written to the new one");
    scene.denies_in_time("written to the new one").await;
    // It was there all the time, and in its own eyes a primary.
    assert_eq!(scene.trio.servers[old].role().as_deref(), Some("master"));
    scene.eventually_says("good", "ok").await;
    let token = Token::access("through the API").sign(&scene.key);
    scene.revoxy.revoke(&token).await;
    let found: bool = scene.trio.servers[new]
        .redis
        .run(&["EXISTS", "revoxy:jti:shop:through the API"]);
    assert!(found, "it was written to the primary in office");
    scene.trio.reconnect(old);
    eventually("a replica", async || {
        (scene.trio.servers[old].role()? == "slave").then_some(())
    })
    .await;
    scene.eventually_says("good", "ok").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_was_replaced_and_does_not_know_is_left() {
    leaves_one_that_was_replaced_and_does_not_know("view").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_view_too_a_primary_that_was_replaced_and_does_not_know_is_left() {
    leaves_one_that_was_replaced_and_does_not_know("store").await;
}

async fn needs_a_majority(read: &str) {
    let scene = Scene::set(read).await;
    let primary = scene.trio.primary().await;
    scene.write(primary, "before");
    scene.denies_in_time("before").await;
    // One is not missed.
    scene.trio.sentinels[0].pause();
    let start = Instant::now();
    while start.elapsed() < 2 * MAX_STALENESS {
        // In the end: on a busy machine the others may answer late, too.
        scene.eventually_says("good", "ok").await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Without a second one nobody knows who the primary is.
    scene.trio.sentinels[1].pause();
    scene
        .eventually_says("good", "revocation_unavailable")
        .await;
    let expected = match read {
        "view" => "revoked",
        _ => "revocation_unavailable",
    };
    assert_eq!(scene.reason("before").await, expected);
    let token = Token::access("through the API").sign(&scene.key);
    let (status, _) = scene.revoxy.post_revoke(format!("token={token}")).await;
    assert_eq!(status, 503, "the server may not be the primary");
    scene.trio.sentinels[1].resume();
    scene.eventually_says("good", "ok").await;
    assert_eq!(scene.reason("before").await, "revoked");
    scene.trio.sentinels[0].resume();
    scene.revoxy.revoke(&token).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_ages_while_no_majority_of_the_sentinels_answers() {
    needs_a_majority("view").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_view_nothing_is_believed_while_no_majority_of_the_sentinels_answers() {
    needs_a_majority("store").await;
}

async fn refused(store: String, extra: &str) -> String {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    scratch.write("password", "password-marker");
    let store = store.replace("SCRATCH", scratch.path().to_str().unwrap());
    let config = Config::trusting(&key, &scratch).store(store);
    let config = match extra {
        "" => config,
        line => config.revocation(line),
    };
    let (status, said) = Revoxy::refused(&scratch, &config.yaml()).await;
    assert_eq!(status.code(), Some(2), "{said}");
    assert!(!said.contains("marker"), "{said}");
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_the_sentinels_is_said_at_start() {
    let trio = Trio::start().await;
    let node = |index: usize| format!("127.0.0.1:{}", trio.sentinels[index].port());
    let (a, b) = (node(0), node(1));
    let sentinel = |text: String| format!("redis: {{ sentinel: {{ {text} }} }}");
    let unwatched = sentinel(format!("master: other, nodes: [{a:?}, {b:?}]"));
    let few = sentinel(format!(
        "master: {MASTER}, nodes: [{a:?}, \"127.0.0.1:1\", \"localhost:2\"]"
    ));
    let password = sentinel(format!(
        "master: {MASTER}, nodes: [{a:?}, {b:?}], username: no, password_file: SCRATCH/password"
    ));
    for read in ["read: view", "read: store"] {
        let said = refused(unwatched.clone(), read).await;
        assert!(said.contains("no primary of this name"), "{said}");
        let said = refused(few.clone(), read).await;
        for part in [
            "no majority of the 3 configured Sentinels",
            &format!("{a}: names 127.0.0.1:"),
            "127.0.0.1:1: connection refused",
            "localhost:2: connection refused",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        let said = refused(password.clone(), read).await;
        assert!(said.contains("authentication failed"), "{said}");
    }
    // A server is no Sentinel.
    let server = trio.servers[0].redis.port();
    let said = refused(
        sentinel(format!("master: {MASTER}, nodes: [\"127.0.0.1:{server}\"]")),
        "",
    )
    .await;
    assert!(said.contains("this is no Sentinel"), "{said}");
}

#[tokio::test]
async fn mistakes_in_the_section_are_named_with_their_place() {
    let scratch = Scratch::new();
    let redis = Redis::start(&scratch).await;
    let missing = "username: revoxy, password_file: SCRATCH/missing";
    for (text, key, part) in [
        ("nodes: [\"a:1\"]".to_owned(), "sentinel.master", "missing"),
        ("master: m".to_owned(), "sentinel.nodes", "missing"),
        (
            "master: m, nodes: [\"redis://:marker@a\"]".to_owned(),
            "sentinel.nodes.0",
            "not host:port",
        ),
        (
            "master: m, nodes: [\"a:1\", \"a:1\"]".to_owned(),
            "sentinel.nodes",
            "twice",
        ),
        (
            format!("master: m, nodes: [\"a:1\"], {missing}"),
            "sentinel.password_file",
            "missing",
        ),
        (
            "master: m, nodes: [\"a:1\"], tls: { insecure: true }".to_owned(),
            "sentinel.tls.insecure",
            "ca_file",
        ),
    ] {
        let said = refused(format!("redis: {{ sentinel: {{ {text} }} }}"), "").await;
        let place = format!("revocation.store.redis.{key}: ");
        assert!(said.contains(&place), "{place} {said}");
        assert!(said.contains(part), "{part}: {said}");
        assert!(!said.contains("marker"), "{said}");
    }
    let both = format!(
        "redis: {{ url: {:?}, sentinel: {{ master: m, nodes: [\"a:1\"] }} }}",
        redis.url()
    );
    let said = refused(both, "").await;
    assert!(said.contains("revocation.store.redis.sentinel: "), "{said}");
}
