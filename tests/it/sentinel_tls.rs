//! Sentinels and servers that speak TLS, each with a user of its own for Revoxy.

use jsonwebtoken::Algorithm;

use crate::support::ports::{free_port, on_free_ports};
use crate::support::{
    Authority, Config, Process, Redis, Revoxy, Scratch, SigningKey, Token, eventually, sentinel,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_and_servers_are_reached_over_tls_each_with_its_own_user() {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    let (authority, other) = (Authority::new(), Authority::new());
    let server = authority.certify(&scratch, "127.0.0.1", "server");
    let sentinel = other.certify(&scratch, "127.0.0.1", "sentinel");
    let (ca, other_ca) = (
        authority.write(&scratch, "ca.crt"),
        other.write(&scratch, "other.crt"),
    );
    let redis = Redis::with_tls(
        &scratch,
        &[
            "--tls-cert-file",
            server.cert_file.to_str().unwrap(),
            "--tls-key-file",
            server.key_file.to_str().unwrap(),
            "--tls-ca-cert-file",
            ca.to_str().unwrap(),
            "--tls-auth-clients",
            "no",
            "--user",
            "revoxy",
            "on",
            ">server-marker",
            "~revoxy:*",
            "+@all",
        ],
    )
    .await;
    // As `docs/operations.md` has it.
    let config = |port: u16| {
        format!(
        "port 0
tls-port {port}
bind 127.0.0.1
dir {dir}
tls-cert-file {cert}
tls-key-file {key}
tls-ca-cert-file {ca}
tls-auth-clients no
tls-replication yes
user default off
user revoxy on >sentinel-marker resetchannels -@all +sentinel|master +sentinel|get-master-addr-by-name
sentinel monitor shop 127.0.0.1 {tls_port} 1
",
        dir = scratch.path().display(),
        cert = sentinel.cert_file.display(),
        key = sentinel.key_file.display(),
        tls_port = redis.tls_port(),
        ca = ca.display(),
    )
    };
    let (_sentinel, sentinel_port) = on_free_ports(async || {
        let port = free_port();
        scratch.write(sentinel::CONFIG, config(port));
        let mut sentinel = sentinel::launch(&scratch);
        let watches = async |s: &Process| s.output().contains("+monitor").then_some(());
        sentinel.answers(watches).await.then_some((sentinel, port))
    })
    .await;
    let password = |name: &str, text: &str| scratch.write(name, text).display().to_string();
    let store = |sentinel_ca: &std::path::Path| {
        format!(
            "redis: {{ sentinel: {{ master: shop, nodes: [\"127.0.0.1:{sentinel_port}\"], username: revoxy, \
             password_file: {}, tls: {{ ca_file: {:?} }} }}, username: revoxy, password_file: {}, tls: {{ ca_file: {ca:?} }} }}",
            password("sentinel-password", "sentinel-marker"),
            sentinel_ca,
            password("server-password", "server-marker"),
        )
    };
    let config = Config::trusting(&key, &scratch).store(store(&other_ca));
    let revoxy = Revoxy::start(&scratch, &config).await;
    let checks = revoxy.checks().await;
    let (good, revoked) = (Token::access("good"), Token::access("revoked"));
    let (good, revoked) = (good.sign(&key), revoked.sign(&key));
    revoxy.revoke(&revoked).await;
    assert_eq!(checks.bearer(&revoked).await.reason(), "revoked");
    assert_eq!(checks.bearer(&good).await.reason(), "ok");
    let by_hand = Token::access("by-hand").sign(&key);
    let () = redis.run(&["SET", "revoxy:jti:shop:by-hand", "", "EX", "3600"]);
    eventually("a denial", async || {
        (checks.bearer(&by_hand).await.reason() == "revoked").then_some(())
    })
    .await;
    // What is trusted for the servers is not trusted for the Sentinels.
    let config = Config::trusting(&key, &scratch).store(store(&ca));
    let (status, said) = Revoxy::refused(&scratch, &config.yaml()).await;
    assert_eq!(status.code(), Some(2), "{said}");
    let place = format!("127.0.0.1:{sentinel_port}: TLS: ");
    assert!(said.contains(&place), "{place} {said}");
    assert!(!said.contains("marker"), "{said}");
}
