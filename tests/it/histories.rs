//! What a Redis has lost without losing the key, and what it calls its history: which of it means that something was lost,
//! and which does not.

use jsonwebtoken::Algorithm;
use redis::Value;
use revoxy::clock::{Clock as _, SystemClock};
use serde_json::json;

use crate::support::{
    Admin, Checks, Config, Mood, Proxy, Redis, Revoxy, Scratch, SigningKey, Token, admin,
    eventually, tokens,
};

const RESTORED: &str = "revoxy_revocations_restored_total";
const PUSHES: &str = "revoxy_revocation_feed_pushes_total";
const AGE: &str = "revoxy_revocation_view_age_seconds";
/// What is said where others are given the time to write back.
const SETTLES: &str = "waiting for other replicas to restore";

struct Scene {
    scratch: Scratch,
    key: SigningKey,
    redis: Redis,
}

struct Replica {
    revoxy: Revoxy,
    checks: Checks,
}

impl Scene {
    async fn set() -> Self {
        let scratch = Scratch::new();
        Self {
            key: SigningKey::generate(Algorithm::ES256),
            redis: Redis::start(&scratch).await,
            scratch,
        }
    }

    fn config(&self, store: String) -> Config {
        Config::trusting(&self.key, &self.scratch).store(store)
    }

    async fn replica(&self, lines: &[&str]) -> Replica {
        let config = self.config(self.redis.store());
        self.start(&lines.iter().fold(config, |c, line| c.revocation(line)))
            .await
    }

    async fn start(&self, config: &Config) -> Replica {
        let revoxy = Revoxy::start(&self.scratch, config).await;
        let checks = revoxy.checks().await;
        Replica { revoxy, checks }
    }

    fn token(&self, jti: &str) -> String {
        Token::access(jti).sign(&self.key)
    }

    fn run(&self, command: &[&str]) {
        let _: Value = self.redis.run(command);
    }

    /// Another server follows this one, which calls its history anew for it.
    async fn is_followed(&self) -> Redis {
        let history = || -> String {
            let info: String = self.redis.run(&["INFO", "replication"]);
            let line = info.lines().find(|l| l.starts_with("master_replid:"));
            line.unwrap().to_owned()
        };
        let before = history();
        let other = Redis::start(&self.scratch).await;
        let port = self.redis.port().to_string();
        let () = other.run(&["REPLICAOF", "127.0.0.1", &port]);
        eventually("another name of the history", async || {
            let info: String = other.run(&["INFO", "replication"]);
            let follows = info.contains("master_link_status:up");
            (follows && history() != before).then_some(())
        })
        .await;
        other
    }
}

impl Replica {
    async fn is(&self, token: &str, reason: &str) {
        assert_eq!(self.checks.bearer(token).await.reason(), reason);
    }

    async fn becomes(&self, token: &str, reason: &str) {
        eventually(reason, async || {
            (self.checks.bearer(token).await.reason() == reason).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn of_what_a_server_lost_while_the_key_stands_the_stronger_is_kept_and_written_back() {
    let mut scene = Scene::set().await;
    let proxy = Proxy::before(scene.redis.port()).await;
    let config = scene.config(proxy.store());
    let config =
        config.revocation("lookups: [{ key: \"out:{sub}\", match: { issued_before: seconds } }]");
    let replica = scene.start(&config).await;
    let now = tokens::now();
    let of = |sub: &str, iat: i64| {
        let token = Token::access("x").with("sub", sub).with("iat", iat);
        token.sign(&scene.key)
    };
    let cutoff = |at: i64| format!("{{\"not_before\":{at}}}");
    let (early, late) = (cutoff(now - 100), cutoff(now - 50));
    let earlier = (now - 100).to_string();
    // Logged out twice; of the second time the server will know nothing.
    for (alice, bob) in [(&early, &earlier), (&late, &(now - 50).to_string())] {
        scene.run(&["SET", "revoxy:sub:shop:alice", alice, "EX", "3600"]);
        scene.run(&["SET", "out:bob", bob, "EX", "3600"]);
    }
    scene.run(&["SET", "revoxy:jti:shop:long", "", "EX", "3600"]);
    let long = scene.token("long");
    let between = [of("alice", now - 70), of("bob", now - 70), long];
    let after = [of("alice", now - 20), of("bob", now - 20)];
    for token in &between {
        replica.becomes(token, "revoked").await;
    }
    proxy.set(Mood::Cutting);
    scene.redis.kill();
    scene.redis.restart(&scene.scratch).await;
    scene.run(&["SET", "revoxy:sub:shop:alice", &early, "EX", "3600"]);
    scene.run(&["SET", "out:bob", &earlier, "EX", "3600"]);
    scene.run(&["SET", "revoxy:jti:shop:long", "", "EX", "60"]);
    proxy.set(Mood::Passing);
    eventually("what the server has lost, written back", async || {
        for token in &between {
            assert!(!replica.checks.bearer(token).await.allows());
        }
        (replica.revoxy.metric(RESTORED).await > 2.5).then_some(())
    })
    .await;
    for token in &after {
        replica.becomes(token, "ok").await;
    }
    for token in &between {
        replica.becomes(token, "revoked").await;
    }
    let restored: Vec<String> = scene.redis.run(&["KEYS", "revoxy:restored:*"]);
    let lives = restored.iter().map(|key| scene.redis.run(&["TTL", key]));
    let lives: Vec<i64> = lives.collect();
    assert!(
        lives.len() == 3 && lives.iter().all(|l| *l > 3000),
        "{lives:?}"
    );
    // Whoever comes now, and whoever asks the server itself.
    for read in ["read: view", "read: store"] {
        let other = scene.start(&config.clone().revocation(read)).await;
        for token in &between {
            other.is(token, "revoked").await;
        }
        for token in &after {
            other.is(token, "ok").await;
        }
    }
}

#[tokio::test]
async fn what_was_restored_and_what_was_revoked_after_it_each_end_at_their_time() {
    for deletions in ["deletions: honour", "deletions: ignore"] {
        let mut scene = Scene::set().await;
        let replica = scene.replica(&[deletions]).await;
        let now = tokens::now();
        let issued = |at: i64| Token::access("x").with("iat", at).sign(&scene.key);
        let (before, after) = (issued(now - 70), issued(now - 20));
        let cutoff = format!("{{\"not_before\":{}}}", now - 50);
        let key = "revoxy:sub:shop:alice";
        scene.run(&["SET", key, &cutoff, "EX", "3600"]);
        replica.becomes(&before, "revoked").await;
        scene.redis.kill();
        scene.redis.restart(&scene.scratch).await;
        eventually("what the server has lost, written back", async || {
            (replica.revoxy.metric(RESTORED).await > 0.5).then_some(())
        })
        .await;
        // Everything, and for a short time.
        scene.run(&["SET", key, "", "PX", "6000"]);
        replica.becomes(&after, "revoked").await;
        let newcomer = scene.replica(&[deletions]).await;
        newcomer.becomes(&after, "revoked").await;
        for replica in [&replica, &newcomer] {
            replica.becomes(&after, "ok").await;
            for _ in 0..10 {
                replica.is(&before, "revoked").await;
            }
        }
    }
}

#[tokio::test]
async fn what_is_written_with_less_on_the_same_server_is_believed() {
    let scene = Scene::set().await;
    let replica = scene.replica(&[]).await;
    let now = tokens::now();
    let token = Token::access("x").with("iat", now - 70).sign(&scene.key);
    for (before, reason) in [(now - 50, "revoked"), (now - 100, "ok")] {
        let value = format!("{{\"not_before\":{before}}}");
        scene.run(&["SET", "revoxy:sub:shop:alice", &value, "EX", "3600"]);
        replica.becomes(&token, reason).await;
    }
    assert!(replica.revoxy.metric(RESTORED).await < 0.5);
}

#[tokio::test]
async fn a_server_that_took_another_s_place_is_not_believed_at_once_by_a_replica_that_starts() {
    let scene = Scene::set().await;
    let promoted = scene.is_followed().await;
    let () = promoted.run(&["REPLICAOF", "NO", "ONE"]);
    // A process that has just started is not believed either.
    for server in [&scene.redis, &promoted] {
        eventually("a server that has been running for a while", async || {
            let info: String = server.run(&["INFO", "server"]);
            let line = info
                .lines()
                .find_map(|l| l.strip_prefix("uptime_in_seconds:"))?;
            (line.trim().parse::<u64>().ok()? > 2).then_some(())
        })
        .await;
    }
    for (server, settles) in [(&promoted, true), (&scene.redis, false)] {
        let replica = scene.start(&scene.config(server.store())).await;
        let said = replica.revoxy.log().await;
        assert_eq!(said.contains(SETTLES), settles, "{said}");
    }
}

#[tokio::test]
async fn a_server_that_names_its_history_anew_has_lost_nothing() {
    let scene = Scene::set().await;
    let list = "lookups: [{ key: out, match: { member: \"{jti}\" } }]";
    let replica = scene.replica(&[list]).await;
    scene.run(&["SET", "revoxy:jti:shop:taken-back", "", "EX", "3600"]);
    let (taken_back, good) = (scene.token("taken-back"), scene.token("good"));
    replica.becomes(&taken_back, "revoked").await;
    let _other = scene.is_followed().await;
    // Direct reads come over a new connection, which meets the new name.
    let clients: String = scene.redis.run(&["CLIENT", "LIST"]);
    let asks_directly = |line: &&str| line.contains(" resp=2") && !line.contains("cmd=client|list");
    let mut killed = 0;
    for client in clients
        .lines()
        .filter(|l| l.contains("flags=N"))
        .filter(asks_directly)
    {
        let id = client
            .split(' ')
            .find_map(|w| w.strip_prefix("id="))
            .unwrap();
        killed += scene.redis.run::<u64>(&["CLIENT", "KILL", "ID", id]);
    }
    assert!(killed > 0, "{clients}");
    replica.becomes(&good, "ok").await;
    let said = replica.revoxy.log().await;
    assert!(said.contains("lost the connection to Redis"), "{said}");
    let _: u64 = scene.redis.run(&["DEL", "revoxy:jti:shop:taken-back"]);
    replica.becomes(&taken_back, "ok").await;
    assert!(replica.revoxy.metric(RESTORED).await < 0.5);
    let said = replica.revoxy.log().await;
    assert!(!said.contains("interrupted"), "{said}");
}

/// What older versions of Revoxy called a revocation in names that hold only a hash.
fn hash_of_token(key: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key.as_bytes());
    let mut head = [0; 16];
    head.copy_from_slice(&digest.as_ref()[..16]);
    // The kind of the key, a `jti`, stands in four bits.
    format!(
        "{:032x}",
        (u128::from_le_bytes(head) & !(15 << 64)) | 1 << 64
    )
}

#[tokio::test]
async fn what_an_older_version_has_taken_back_is_taken_back_and_may_be_revoked_again() {
    let key = "revoxy:jti:shop:a";
    let tombstone = format!("revoxy:unrevoked:{{{}}}", hash_of_token(key));
    for deletions in ["deletions: honour", "deletions: ignore"] {
        let scene = Scene::set().await;
        let replica = scene.replica(&[deletions]).await;
        let token = scene.token("a");
        scene.run(&["SET", key, "", "EX", "3600"]);
        replica.becomes(&token, "revoked").await;
        let mut take_back = redis::pipe();
        take_back.atomic();
        take_back
            .cmd("SET")
            .arg(&tombstone)
            .arg("")
            .arg("EX")
            .arg(3600);
        take_back.cmd("DEL").arg(key);
        let client = redis::Client::open(scene.redis.url()).unwrap();
        let () = take_back
            .query(&mut client.get_connection().unwrap())
            .unwrap();
        replica.becomes(&token, "ok").await;
        scene.run(&["SET", key, "", "EX", "3600"]);
        replica.becomes(&token, "revoked").await;
        // A newcomer, too, which has met both in its reading.
        let newcomer = scene.replica(&[deletions]).await;
        for replica in [&replica, &newcomer] {
            let before = replica.revoxy.metric(PUSHES).await;
            scene.run(&["EXPIRE", &tombstone, "500"]);
            eventually("a push", async || {
                (replica.revoxy.metric(PUSHES).await > before).then_some(())
            })
            .await;
            for _ in 0..20 {
                replica.is(&token, "revoked").await;
            }
        }
    }
}

#[tokio::test]
async fn an_un_revocation_is_a_value_that_anybody_can_set_and_that_anybody_can_revoke_after() {
    let scene = Scene::set().await;
    let config = scene.config(scene.redis.store());
    let replica = scene
        .start(&config.section(&admin::section(&scene.scratch)))
        .await;
    let (token, key) = (scene.token("a"), "revoxy:jti:shop:a");
    replica.revoxy.revoke(&token).await;
    replica.is(&token, "revoked").await;
    let named = json!({ "issuer": "shop", "jti": "a" });
    Admin::of(&replica.revoxy).unrevoke(named).await;
    replica.becomes(&token, "ok").await;
    scene.run(&["SET", key, "", "EX", "3600"]);
    replica.becomes(&token, "revoked").await;
    // `date +%s%3N`, a minute ahead: later than what was stated so far.
    let later = SystemClock.now().plus(std::time::Duration::from_secs(60));
    let value = json!({ "unrevoked": later.millis().to_string() }).to_string();
    scene.run(&["SET", key, &value, "EX", "3600"]);
    replica.becomes(&token, "ok").await;
    let newcomer = scene.replica(&[]).await;
    newcomer.is(&token, "ok").await;
    replica.revoxy.revoke(&token).await;
    for replica in [&replica, &newcomer] {
        replica.becomes(&token, "revoked").await;
    }
}

#[tokio::test]
async fn a_server_that_is_busy_with_a_script_vouches_for_nothing() {
    let scene = Scene::set().await;
    scene.run(&["CONFIG", "SET", "lua-time-limit", "100"]);
    let replica = scene.replica(&[]).await;
    let good = scene.token("good");
    replica.is(&good, "ok").await;
    let url = scene.redis.url();
    let script = std::thread::spawn(move || {
        let mut connection = redis::Client::open(url).unwrap().get_connection().unwrap();
        let mut eval = redis::cmd("EVAL");
        eval.arg("while true do end").arg(0);
        eval.query::<Value>(&mut connection).unwrap_err()
    });
    eventually("a view that ages", async || {
        (replica.revoxy.metric(AGE).await > 2.0).then_some(())
    })
    .await;
    replica.is(&good, "revocation_unavailable").await;
    scene.run(&["SCRIPT", "KILL"]);
    script.join().unwrap();
    replica.becomes(&good, "ok").await;
}
