//! A Redis that cannot keep a view current, or will not let this user: refused at start, with the way out.

use jsonwebtoken::Algorithm;

use crate::support::{Config, Redis, Revoxy, Scratch, SigningKey, Token};

const PASSWORD: &str = "password-marker";

struct Scene {
    scratch: Scratch,
    key: SigningKey,
    redis: Redis,
    username: &'static str,
}

impl Scene {
    /// With a user who may do everything but these.
    async fn set(forbidden: &[&str]) -> Self {
        let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
        let redis = Redis::start(&scratch).await;
        let password = format!(">{PASSWORD}");
        let user = [
            "ACL",
            "SETUSER",
            "narrow",
            "on",
            &password,
            "~revoxy:*",
            "+@all",
        ];
        let () = redis.run(&[&user[..], forbidden].concat());
        Self {
            scratch,
            key,
            redis,
            username: "narrow",
        }
    }

    /// With a server that lacks a command, as older ones and some proxies do.
    async fn without(command: &str) -> Self {
        let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
        let redis = Redis::with(&scratch, &["--rename-command", command, ""]).await;
        let () = redis.run(&["CONFIG", "SET", "requirepass", PASSWORD]);
        Self {
            scratch,
            key,
            redis,
            username: "default",
        }
    }

    fn config(&self, read: &str) -> Config {
        let (url, password) = (self.redis.url(), self.scratch.write("password", PASSWORD));
        let username = self.username;
        let store =
            format!("redis: {{ url: {url:?}, username: {username}, password_file: {password:?} }}");
        Config::trusting(&self.key, &self.scratch)
            .store(store)
            .revocation(read)
    }

    async fn refused(&self, read: &str) -> String {
        let yaml = self.config(read).yaml();
        let (status, said) = Revoxy::refused(&self.scratch, &yaml).await;
        assert_eq!(status.code(), Some(2), "{said}");
        assert!(!said.contains("\"message\":\"ready\""), "{said}");
        assert!(!said.contains("marker"), "{said}");
        said
    }

    /// Starts, revokes and denies; returns the log.
    async fn works(&self, read: &str) -> String {
        let revoxy = Revoxy::start(&self.scratch, &self.config(read)).await;
        let checks = revoxy.checks().await;
        let (good, revoked) = (Token::access("good"), Token::access("revoked"));
        let (good, revoked) = (good.sign(&self.key), revoked.sign(&self.key));
        revoxy.revoke(&revoked).await;
        assert_eq!(checks.bearer(&revoked).await.reason(), "revoked");
        assert_eq!(checks.bearer(&good).await.reason(), "ok");
        revoxy.process.output()
    }
}

#[tokio::test]
async fn a_user_who_may_not_track_is_refused_with_the_reason_and_the_way_out() {
    let scene = Scene::set(&["-client|tracking"]).await;
    let said = scene.refused("read: view").await;
    for part in ["revocation.store.redis", "+client|tracking", "read: store"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    scene.works("read: store").await;
}

#[tokio::test]
async fn a_user_who_may_not_ask_for_info_is_warned() {
    let scene = Scene::set(&["-info"]).await;
    let said = scene.works("read: view").await;
    assert!(said.contains("grant +info"), "{said}");
    scene.works("read: store").await;
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_not_repeated() {
    let scene = Scene::set(&[]).await;
    let () = scene
        .redis
        .run(&["ACL", "SETUSER", "narrow", "resetpass", ">another"]);
    for read in ["read: view", "read: store"] {
        let said = scene.refused(read).await;
        assert!(said.contains("authentication failed"), "{said}");
    }
}

#[tokio::test]
async fn a_database_that_is_not_there_or_not_allowed_is_refused_with_what_to_do() {
    let scene = Scene::set(&["-select"]).await;
    for (number, user) in [(1, "narrow"), (99, "default")] {
        let url = scene.redis.url();
        let (password, url) = (
            scene.scratch.write("password", PASSWORD),
            url.trim_end_matches("/0").to_owned(),
        );
        let login = match user {
            "default" => String::new(),
            user => format!(", username: {user}, password_file: {password:?}"),
        };
        for read in ["read: view", "read: store"] {
            let store = format!("redis: {{ url: \"{url}/{number}\"{login} }}");
            let config = Config::trusting(&scene.key, &scene.scratch).store(store);
            let yaml = config.revocation(read).yaml();
            let (status, said) = Revoxy::refused(&scene.scratch, &yaml).await;
            assert_eq!(status.code(), Some(2), "{said}");
            assert!(said.contains("+select"), "{said}");
        }
    }
}

#[tokio::test]
async fn a_replica_is_refused() {
    let scene = Scene::set(&[]).await;
    let other = Redis::start(&scene.scratch).await;
    let port = other.port().to_string();
    let () = scene.redis.run(&["REPLICAOF", "127.0.0.1", &port]);
    let said = scene.refused("read: view").await;
    assert!(said.contains("replica"), "{said}");
}

#[tokio::test]
async fn a_redis_that_can_lose_revocations_is_warned_of() {
    let scene = Scene::set(&[]).await;
    let () = scene
        .redis
        .run(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    let said = scene.works("read: view").await;
    for part in ["appendonly yes", "maxmemory-policy noeviction"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[tokio::test]
async fn a_redis_that_speaks_no_resp3_is_refused_with_the_way_out() {
    let scene = Scene::without("HELLO").await;
    let said = scene.refused("read: view").await;
    for part in ["revocation.store.redis", "RESP3", "read: store"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    scene.works("read: store").await;
}

#[tokio::test]
async fn a_redis_that_cannot_track_is_refused_with_the_way_out() {
    let scene = Scene::without("CLIENT").await;
    let said = scene.refused("read: view").await;
    for part in ["CLIENT TRACKING", "read: store"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    scene.works("read: store").await;
}

#[tokio::test]
async fn a_user_who_may_not_read_an_application_s_keys_is_refused_before_there_are_any() {
    let scene = Scene::set(&[]).await;
    let lookups = "lookups: [{ key: \"blacklist:{jti}\" }, { key: \"of:{iss}:{jti}\" }]\n  ";
    let said = scene.refused(&format!("{lookups}read: view")).await;
    for part in ["revocation.store.redis", "`blacklist:{jti}`", "grant %R~"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // Of the second it is not known which names there are.
    let narrow = ["~blacklist:*", "~of:shop:*"];
    for pattern in narrow {
        let () = scene.redis.run(&["ACL", "SETUSER", "narrow", pattern]);
    }
    scene.works(&format!("{lookups}read: view")).await;
}
