//! Redis over TLS: whom Revoxy trusts, what it shows, and what it says where that does not work.

use jsonwebtoken::Algorithm;

use crate::support::server::{revoxy, run};
use crate::support::{
    Authority, Checks, Config, Redis, Revoxy, Scratch, SigningKey, Token, eventually,
};

/// A Redis with TLS, beside its plain port, that has a certificate for 127.0.0.1.
struct Scene {
    scratch: Scratch,
    key: SigningKey,
    authority: Authority,
    redis: Redis,
    tls_port: u16,
}

impl Scene {
    /// `clients` says whether clients must show a certificate: `yes` or `no`.
    async fn set(clients: &str) -> Self {
        let (scratch, authority) = (Scratch::new(), Authority::new());
        let certified = authority.certify(&scratch, "127.0.0.1", "redis");
        let ca_file = authority.write(&scratch, "ca.crt");
        let arguments = [
            "--tls-cert-file",
            certified.cert_file.to_str().unwrap(),
            "--tls-key-file",
            certified.key_file.to_str().unwrap(),
            "--tls-ca-cert-file",
            ca_file.to_str().unwrap(),
            "--tls-auth-clients",
            clients,
        ];
        let redis = Redis::with_tls(&scratch, &arguments).await;
        Self {
            key: SigningKey::generate(Algorithm::ES256),
            scratch,
            authority,
            tls_port: redis.tls_port(),
            redis,
        }
    }

    fn config(&self, host: &str, tls: &str) -> Config {
        let store = format!(
            "redis: {{ url: \"rediss://{host}:{}/0\", tls: {{ {tls} }} }}",
            self.tls_port
        );
        Config::trusting(&self.key, &self.scratch).store(store)
    }

    /// What is said when it does not start.
    async fn refused(&self, config: &Config) -> String {
        let (status, said) = Revoxy::refused(&self.scratch, &config.yaml()).await;
        assert_eq!(status.code(), Some(2), "{said}");
        assert!(!said.contains("panicked"), "{said}");
        said
    }

    async fn revokes_and_denies(&self, config: &Config) {
        let revoxy = Revoxy::start(&self.scratch, config).await;
        let checks = revoxy.checks().await;
        let (good, revoked) = (Token::access("good"), Token::access("revoked"));
        let (good, revoked) = (good.sign(&self.key), revoked.sign(&self.key));
        revoxy.revoke(&revoked).await;
        assert_eq!(checks.bearer(&revoked).await.reason(), "revoked");
        assert_eq!(checks.bearer(&good).await.reason(), "ok");
        self.denies_what_others_revoke(&checks, "by hand").await;
    }

    async fn denies_what_others_revoke(&self, checks: &Checks, jti: &str) {
        let token = Token::access(jti).sign(&self.key);
        let () = self
            .redis
            .run(&["SET", &format!("revoxy:jti:shop:{jti}"), "", "EX", "3600"]);
        eventually("a denial", async || {
            (checks.bearer(&token).await.reason() == "revoked").then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_redis_whose_authority_is_named_is_trusted() {
    let scene = Scene::set("no").await;
    let config = scene.config(
        "127.0.0.1",
        &format!("ca_file: {}", scene.scratch.name("ca.crt")),
    );
    scene.revokes_and_denies(&config).await;
    scene
        .revokes_and_denies(&config.revocation("read: store"))
        .await;
}

#[tokio::test]
async fn without_a_file_the_authorities_of_the_system_are_trusted() {
    let scene = Scene::set("no").await;
    let yaml = scene.config("127.0.0.1", "").yaml();
    let path = scene.scratch.write("revoxy.yaml", yaml);
    let arguments = [
        "check-config",
        "--connect",
        "--config",
        path.to_str().unwrap(),
    ];
    for (system, status) in [("ca.crt", 0), ("redis.crt", 2)] {
        let mut command = revoxy(&arguments);
        command
            .env("SSL_CERT_FILE", scene.scratch.file(system))
            .env_remove("SSL_CERT_DIR");
        let (ended, said) = run(&scene.scratch, &mut command).await;
        assert_eq!(ended.code(), Some(status), "{said}");
    }
}

#[tokio::test]
async fn a_redis_that_asks_for_a_certificate_is_shown_ours() {
    let scene = Scene::set("yes").await;
    scene.authority.certify(&scene.scratch, "revoxy", "client");
    let file = |name| scene.scratch.name(name);
    let trusting = format!("ca_file: {}", file("ca.crt"));
    let showing = format!(
        "{trusting}, cert_file: {}, key_file: {}",
        file("client.crt"),
        file("client.key")
    );
    scene
        .revokes_and_denies(&scene.config("127.0.0.1", &showing))
        .await;
    let said = scene.refused(&scene.config("127.0.0.1", &trusting)).await;
    assert!(said.contains("certificate"), "{said}");
    assert!(said.contains("tls.cert_file"), "{said}");
}

#[tokio::test]
async fn a_certificate_that_does_not_fit_is_refused_with_the_reason() {
    let scene = Scene::set("no").await;
    let file = |name| scene.scratch.name(name);
    Authority::new().write(&scene.scratch, "other.crt");
    for (host, ca, part) in [
        ("127.0.0.1", "other.crt", "invalid peer certificate"),
        ("localhost", "ca.crt", "localhost"),
    ] {
        let config = scene.config(host, &format!("ca_file: {}", file(ca)));
        let said = scene.refused(&config).await;
        assert!(said.contains("TLS"), "{said}");
        assert!(said.contains(part), "{said}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_file_is_said_with_its_name_and_not_with_its_content() {
    let scene = Scene::set("no").await;
    scene.authority.certify(&scene.scratch, "revoxy", "client");
    scene.authority.certify(&scene.scratch, "revoxy", "other");
    scene.scratch.write("garbage", "content-marker");
    let file = |name| scene.scratch.name(name);
    let cert_and = |key| format!("cert_file: {}, key_file: {}", file("client.crt"), file(key));
    for (tls, key, part) in [
        (
            format!("ca_file: {}", file("missing.crt")),
            "tls.ca_file",
            "missing.crt",
        ),
        (
            format!("ca_file: {}", file("garbage")),
            "tls.ca_file",
            "garbage",
        ),
        (cert_and("missing.key"), "tls.key_file", "missing.key"),
        (cert_and("garbage"), "tls.key_file", "garbage"),
        (cert_and("other.key"), "tls.key_file", "other.key"),
        (
            format!("cert_file: {}", file("client.crt")),
            "tls.key_file",
            "missing",
        ),
        (
            format!("key_file: {}", file("client.key")),
            "tls.cert_file",
            "missing",
        ),
        ("insecure: true".to_owned(), "tls.insecure", "ca_file"),
    ] {
        let said = scene.refused(&scene.config("127.0.0.1", &tls)).await;
        assert!(
            said.contains(&format!("revocation.store.redis.{key}: ")),
            "{said}"
        );
        assert!(said.contains(part), "{said}");
        assert!(!said.contains("marker"), "{said}");
    }
}

#[tokio::test]
async fn tls_is_switched_on_by_the_url_and_never_half() {
    let scene = Scene::set("no").await;
    let config = |url: String, more: &str| {
        let store = format!("redis: {{ url: {url:?}{more} }}");
        Config::trusting(&scene.key, &scene.scratch).store(store)
    };
    let (plain, tls) = (
        scene.redis.url(),
        format!("rediss://127.0.0.1:{}", scene.tls_port),
    );
    let said = scene.refused(&config(plain, ", tls: {}")).await;
    assert!(said.contains("rediss://"), "{said}");
    let said = scene
        .refused(&config(format!("{tls}/0#insecure"), ""))
        .await;
    assert!(said.contains("tls.ca_file"), "{said}");
    // Spoken to without TLS, such a port closes.
    let said = scene
        .refused(&config(
            format!("redis://127.0.0.1:{}/0", scene.tls_port),
            "",
        ))
        .await;
    assert!(said.contains("does the server expect TLS?"), "{said}");
    assert!(said.contains("rediss://"), "{said}");
}

#[tokio::test]
async fn certificates_are_read_anew_for_each_connection() {
    let mut scene = Scene::set("no").await;
    let ca_file = format!("ca_file: {}", scene.scratch.name("ca.crt"));
    let config = scene.config("127.0.0.1", &ca_file);
    let revoxy = Revoxy::start(&scene.scratch, &config).await;
    let checks = revoxy.checks().await;
    scene.denies_what_others_revoke(&checks, "before").await;
    let next = Authority::new();
    next.certify(&scene.scratch, "127.0.0.1", "redis");
    next.write(&scene.scratch, "ca.crt");
    scene.redis.kill();
    scene.redis.restart(&scene.scratch).await;
    scene.denies_what_others_revoke(&checks, "after").await;
}
