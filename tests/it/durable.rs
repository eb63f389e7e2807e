//! `durable`: the API answers 200 only when replicas of Redis have the write too, and says what was reached.

use jsonwebtoken::Algorithm;
use serde_json::json;

use crate::support::{Admin, Config, Redis, Revoxy, Scratch, SigningKey, Token, admin, eventually};

struct Scene {
    key: SigningKey,
    primary: Redis,
    replica: Redis,
    scratch: Scratch,
    _other: Scratch,
}

impl Scene {
    async fn of(start: impl AsyncFn(&Scratch) -> Redis) -> Self {
        let (scratch, other) = (Scratch::new(), Scratch::new());
        let (primary, replica) = (start(&scratch).await, start(&other).await);
        let port = primary.port().to_string();
        // So that it need not wait for others who want the same data.
        let () = primary.run(&["CONFIG", "SET", "repl-diskless-sync-delay", "0"]);
        let () = replica.run(&["REPLICAOF", "127.0.0.1", &port]);
        // It is called online before it is sent what is written.
        let () = primary.run(&["SET", "probe", "1"]);
        eventually("a replica that follows", async || {
            replica.run::<Option<String>>(&["GET", "probe"])
        })
        .await;
        Self {
            key: SigningKey::generate(Algorithm::ES256),
            primary,
            replica,
            scratch,
            _other: other,
        }
    }

    async fn revoxy(&self, lines: &[&str]) -> Revoxy {
        let url = self.primary.url();
        let store = format!("redis: {{ url: {url:?}, durable: {{ replicas: 1 }} }}");
        let config = Config::trusting(&self.key, &self.scratch).store(store);
        let config = lines.iter().fold(config, |c, line| c.revocation(line));
        Revoxy::start(
            &self.scratch,
            &config.section(&admin::section(&self.scratch)),
        )
        .await
    }

    fn token(&self, jti: &str) -> String {
        Token::access(jti).sign(&self.key)
    }
}

/// How durable the revocation of a token is. On a busy machine a replica may be too slow at first, and the API says so.
async fn revoked(revoxy: &Revoxy, token: &str) -> serde_json::Value {
    let body = eventually("a revocation that a replica has confirmed", async || {
        let (status, body) = revoxy.post_revoke(format!("token={token}")).await;
        (status == 200).then_some(body)
    })
    .await;
    body["durable"].clone()
}

#[tokio::test]
async fn an_answer_says_how_many_replicas_have_the_revocation_and_without_them_there_is_none() {
    for lines in [&[][..], &["read: store"]] {
        let mut scene = Scene::of(Redis::start).await;
        let revoxy = scene.revoxy(lines).await;
        // Redis 7.0 knows no `WAITAOF`: what is flushed is not known.
        let expected = json!({ "replicas": 1, "flushed": false });
        assert_eq!(revoked(&revoxy, &scene.token("a")).await, expected);
        let named = json!({ "token": scene.token("b") });
        let answer = eventually("a revocation that a replica has confirmed", async || {
            let said = Admin::of(&revoxy)
                .post("/tokens/revoke", named.clone())
                .await;
            (said.status == 200).then_some(said.body)
        })
        .await;
        assert_eq!(answer["durable"], expected, "{answer}");
        scene.replica.kill();
        let (status, body) = revoxy
            .post_revoke(format!("token={}", scene.token("c")))
            .await;
        assert_eq!(status, 503, "{body}");
        let said = Admin::of(&revoxy).post("/tokens/revoke", named).await;
        assert_eq!(said.status, 503, "{said:?}");
    }
}

#[tokio::test]
async fn where_the_server_has_waitaof_it_is_flushed_on_both() {
    let scene = Scene::of(async |scratch: &Scratch| {
        let arguments = ["--appendonly", "yes", "--appendfsync", "always"];
        Redis::with_valkey(scratch, &arguments).await
    })
    .await;
    let revoxy = scene.revoxy(&[]).await;
    let expected = json!({ "replicas": 1, "flushed": true });
    assert_eq!(revoked(&revoxy, &scene.token("a")).await, expected);
}

#[tokio::test]
async fn checks_do_not_wait_behind_a_write_that_waits_for_replicas() {
    let mut scene = Scene::of(Redis::start).await;
    let revoxy = scene.revoxy(&["read: store"]).await;
    scene.replica.kill();
    let checks = revoxy.checks().await;
    let mut waiting = std::pin::pin!(revoxy.post_revoke(format!("token={}", scene.token("a"))));
    let good = scene.token("good");
    let answered = async {
        eventually("a write that waits for replicas", async || {
            let info: String = scene.primary.run(&["INFO", "clients"]);
            info.contains("blocked_clients:1").then_some(())
        })
        .await;
        eventually("a check that is answered", async || {
            (checks.bearer(&good).await.reason() == "ok").then_some(())
        })
        .await;
    };
    tokio::select! {
        biased;
        () = answered => {}
        (status, body) = &mut waiting => panic!("answered {status} before a check was: {body}"),
    }
    let (status, body) = waiting.await;
    assert_eq!(status, 503, "{body}");
}

#[tokio::test]
async fn what_cannot_be_durable_is_a_mistake_in_the_configuration() {
    let scratch = Scratch::new();
    let key = SigningKey::generate(Algorithm::ES256);
    for (store, said) in [
        (
            "redis: { url: redis://x, durable: {} }",
            "how many replicas have to confirm",
        ),
        (
            "redis: { url: redis://x, durable: { replicas: 99 } }",
            "more than 16",
        ),
        (
            "redis: { cluster: { nodes: [x:1] }, durable: { replicas: 1 } }",
            "not with `cluster`",
        ),
    ] {
        let yaml = Config::trusting(&key, &scratch).store(store).yaml();
        let (status, output) = Revoxy::refused(&scratch, &yaml).await;
        assert_eq!(status.code(), Some(2), "{output}");
        assert!(output.contains(said), "{output}");
    }
}
