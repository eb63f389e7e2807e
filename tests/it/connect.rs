//! `check-config --connect`: what it says of the servers that it has reached, and of those that it has not.

use crate::support::cluster::{Cluster, Flavour};
use crate::support::ports::free_port;
use crate::support::sentinel::{MASTER, Trio};
use crate::support::server::{revoxy, run_with};
use crate::support::tokens::ISSUER;
use crate::support::{
    Authority, Config, KeyServer, Postgres, Process, Redis, Scratch, SigningKey, eventually,
};

/// The status, and what is said without the name of the file.
async fn check(scratch: &Scratch, config: &Config) -> (Option<i32>, String) {
    let command = ["check-config", "--connect"];
    let (status, said) = run_with(scratch, &command, &config.yaml()).await;
    let path = scratch.name("revoxy.yaml");
    (status.code(), said.replace(&path, "revoxy.yaml"))
}

/// What is said where nothing is wrong.
async fn reached(scratch: &Scratch, store: &str) -> String {
    let config = Config::trusting(&SigningKey::es256(), scratch).store(store);
    let (status, said) = check(scratch, &config).await;
    assert_eq!(status, Some(0), "{said}");
    said
}

/// What is said of a store that cannot be used.
async fn refused(scratch: &Scratch, store: &str) -> String {
    let config = Config::trusting(&SigningKey::es256(), scratch).store(store);
    let (status, said) = check(scratch, &config).await;
    assert_eq!(status, Some(2), "{said}");
    said
}

fn revoke(redis: &Redis, jti: &str) {
    let () = redis.run(&["SET", &format!("revoxy:jti:shop:{jti}"), "", "EX", "3600"]);
}

/// A field of `INFO`.
fn info(redis: &Redis, field: &str) -> String {
    let info: String = redis.run(&["INFO", "server"]);
    let value = info.lines().find_map(|l| l.strip_prefix(field));
    value.unwrap().trim_start_matches(':').to_owned()
}

#[tokio::test]
async fn a_redis_is_named_with_its_version_its_address_and_what_it_holds() {
    let scratch = Scratch::new();
    let redis = Redis::durable(&scratch).await;
    revoke(&redis, "a");
    let version = info(&redis, "redis_version");
    let port = redis.port();
    let said = reached(&scratch, &redis.store()).await;
    let expected = format!("note: connected to Redis {version} at 127.0.0.1:{port}\n");
    assert!(said.contains(&expected), "{said}");
    assert!(
        said.contains("1 revocations (1 without a version"),
        "{said}"
    );
    // Another database, and a user that may not ask for `INFO`.
    let user = ["revoxy", "on", ">marker", "~*", "&*", "+@all", "-info"];
    let () = redis.run(&[&["ACL", "SETUSER"], &user[..]].concat());
    let url = format!("redis: {{ url: \"redis://revoxy:marker@127.0.0.1:{port}/2\" }}");
    let said = reached(&scratch, &url).await;
    let expected = format!("connected to Redis {version} at 127.0.0.1:{port}, database 2\n");
    assert!(said.contains(&expected), "{said}");
    assert!(said.contains(" 0 revocations"), "{said}");
    assert!(!said.contains("marker"), "{said}");
    assert!(!said.contains("revoxy@"), "{said}");
}

#[tokio::test]
async fn a_valkey_is_named_as_such() {
    let scratch = Scratch::new();
    let valkey = Redis::valkey(&scratch).await;
    let version = info(&valkey, "valkey_version");
    let said = reached(&scratch, &valkey.store()).await;
    let port = valkey.port();
    let expected = format!("connected to Valkey {version} at 127.0.0.1:{port}\n");
    assert!(said.contains(&expected), "{said}");
}

#[tokio::test]
async fn with_sentinels_the_primary_is_named() {
    let scratch = Scratch::new();
    let trio = Trio::without_replicas().await;
    let redis = &trio.servers[0].redis;
    let (version, port) = (info(redis, "redis_version"), redis.port());
    let said = reached(&scratch, &trio.store()).await;
    let expected = format!(
        "connected to Redis {version} at 127.0.0.1:{port}, the primary of `{MASTER}` by the word of its Sentinels\n"
    );
    assert!(said.contains(&expected), "{said}");
}

#[tokio::test]
async fn of_a_cluster_the_primaries_are_counted() {
    let scratch = Scratch::new();
    let cluster = Cluster::start(&scratch, Flavour::Redis).await;
    let said = reached(&scratch, &cluster.store()).await;
    let [a, b, c] = [0, 1, 2].map(|n| cluster.nodes[n].port);
    assert!(said.contains("connected to Redis "), "{said}");
    assert!(said.contains(", a cluster of 3 primaries: "), "{said}");
    for port in [a, b, c] {
        assert!(said.contains(&format!("127.0.0.1:{port}")), "{said}");
    }
}

#[tokio::test]
async fn a_postgres_is_named_with_its_version_its_address_and_what_it_holds() {
    let scratch = Scratch::new();
    let postgres = Postgres::start(&scratch).await;
    let port = postgres.port();
    let version = postgres.ask("SHOW server_version").await;
    let version = version.split(' ').next().unwrap();
    let connected = format!("connected to PostgreSQL {version} at 127.0.0.1:{port}");
    let said = reached(&scratch, &postgres.store()).await;
    assert!(said.contains(&connected), "{said}");
    assert!(said.contains("holds 0 revocations\n"), "{said}");
    postgres
        .run(
            "INSERT INTO revocations VALUES ('revoxy:jti:shop:a'), ('revoxy:jti:shop:b'); \
             INSERT INTO revocations (key, expires_at) VALUES ('revoxy:jti:shop:c', now() - interval '1 hour')",
        )
        .await;
    let said = reached(&scratch, &postgres.store()).await;
    assert!(said.contains(&connected), "{said}");
    assert!(said.contains("holds 2 revocations\n"), "{said}");
    assert!(!said.contains("postgres@"), "{said}");
}

#[tokio::test]
async fn an_sqlite_file_is_named_with_its_version_and_what_it_holds() {
    let scratch = Scratch::new();
    let file = scratch.name("list.db");
    let said = reached(&scratch, &format!("sqlite: {{ path: {file:?} }}")).await;
    let expected = format!("note: opened the file {file} with SQLite 3.");
    assert!(said.contains(&expected), "{said}");
    assert!(said.contains("the store holds 0 revocations\n"), "{said}");
    assert!(!said.contains("was not opened"), "{said}");
}

#[tokio::test]
async fn the_keys_of_every_issuer_are_counted_with_where_they_are_from() {
    let (scratch, key, other) = (Scratch::new(), SigningKey::es256(), SigningKey::es256());
    let server = KeyServer::start(&[&key, &other]).await;
    let mut config = Config::trusting(&key, &scratch);
    let file = scratch.write("jwks.json", crate::support::key_server::jwks(&[&key]));
    let file = file.to_str().unwrap();
    config.keys = format!(
        "{{ jwks_url: \"http://{}/jwks?access=marker\" }}",
        server.address
    );
    let more = format!(
        "  - name: admin
    issuer: https://admin.example
    algorithms: [ES256]
    keys: {{ jwks_file: {file:?} }}
    refresh_keys: {{ jwks_file: {file:?} }}
  - name: mesh
    issuer: https://mesh.example
    verification: envoy_metadata
    metadata_key: payload
"
    );
    config.issuer = more;
    let (status, said) = check(&scratch, &config).await;
    assert_eq!(status, Some(0), "{said}");
    for expected in [
        format!(
            "note: issuer shop: 2 keys from http://{}/jwks\n",
            server.address
        ),
        format!("note: issuer admin: 1 key from {file}\n"),
        format!("note: issuer admin: 1 key for refresh tokens from {file}\n"),
        "note: issuer mesh: Envoy verifies the signatures\n".to_owned(),
    ] {
        assert!(said.contains(&expected), "{expected}{said}");
    }
    assert!(!said.contains("marker"), "{said}");
}

#[tokio::test]
async fn an_answer_of_a_key_server_that_is_no_key_set_is_told_with_the_url() {
    let (scratch, key) = (Scratch::new(), SigningKey::es256());
    let server = KeyServer::start(&[&key]).await;
    let at = format!("http://{}", server.address);
    let page = "<!DOCTYPE html><title>Welcome</title>".to_owned();
    let metadata =
        |uri: &str| format!(r#"{{"issuer":"{at}","jwks_uri":"{at}{uri}?access=marker"}}"#);
    for (path, status, body, expected) in [
        (
            "/jwks",
            404,
            String::new(),
            format!("{at}/jwks answered 404"),
        ),
        (
            "/jwks",
            200,
            page.clone(),
            format!("{at}/jwks: not JSON (does the URL point to a web page?)"),
        ),
        (
            "discovery",
            200,
            page.clone(),
            format!(
                "{at}/.well-known/openid-configuration: not JSON (does the URL point to a web page?)"
            ),
        ),
        // The same answer to every question: it is no key set.
        (
            "discovery",
            200,
            metadata("/keys"),
            format!("{at}/keys: not a JWK set"),
        ),
    ] {
        server.says(status, &body);
        let mut config = Config::trusting(&key, &scratch);
        config.keys = match path {
            "discovery" => "{ discovery: true }".to_owned(),
            path => format!("{{ jwks_url: \"{at}{path}?access=marker\" }}"),
        };
        let yaml = config.yaml();
        let yaml = match path {
            "discovery" => yaml.replace(ISSUER, &at),
            _ => yaml,
        };
        let command = ["check-config", "--connect"];
        let (ended, said) = run_with(&scratch, &command, &yaml).await;
        assert_eq!(ended.code(), Some(2), "{said}");
        assert!(
            said.contains(&format!("issuers.0.keys: {expected}")),
            "{expected}: {said}"
        );
        assert!(!said.contains("marker"), "{said}");
        // The log says the same.
        let arguments = ["serve", "--config", &scratch.name("revoxy.yaml")];
        let process = Process::start("revoxy", &mut revoxy(&arguments), &scratch);
        eventually("a warning with the URL", async || {
            let output = process.output();
            let mut lines = output.lines();
            let warned = lines.find(|l| l.contains("cannot fetch the keys; trying again"))?;
            assert!(warned.contains(&expected), "{expected}: {warned}");
            Some(())
        })
        .await;
        assert!(!process.output().contains("marker"));
    }
}

#[tokio::test]
async fn a_port_that_does_not_speak_tls_is_told_from_one_that_is_silent() {
    let scratch = Scratch::new();
    let redis = Redis::start(&scratch).await;
    let (port, ca_file) = (redis.port(), Authority::new().write(&scratch, "ca.crt"));
    let tls = format!("tls: {{ ca_file: {ca_file:?} }}");
    let said = refused(
        &scratch,
        &format!("redis: {{ url: \"rediss://127.0.0.1:{port}/0\", {tls} }}"),
    )
    .await;
    assert!(said.contains("does not seem to speak TLS"), "{said}");
    assert!(said.contains("redis://"), "{said}");
    // The same of what is not named by a URL.
    let nodes = format!("nodes: [\"127.0.0.1:{port}\"]");
    let said = refused(
        &scratch,
        &format!("redis: {{ cluster: {{ {nodes} }}, {tls} }}"),
    )
    .await;
    assert!(said.contains("does not seem to speak TLS"), "{said}");
    assert!(said.contains("`tls`"), "{said}");
}

#[tokio::test]
async fn a_port_that_speaks_http_is_told_as_such() {
    let scratch = Scratch::new();
    let server = KeyServer::start(&[]).await;
    server.says(400, "Bad Request");
    let ca_file = Authority::new().write(&scratch, "ca.crt");
    for url in [
        format!("url: \"redis://{}/0\"", server.address),
        format!(
            "url: \"rediss://{}/0\", tls: {{ ca_file: {ca_file:?} }}",
            server.address
        ),
    ] {
        let said = refused(&scratch, &format!("redis: {{ {url} }}")).await;
        assert!(said.contains("speaks HTTP"), "{url}: {said}");
    }
}

#[tokio::test]
async fn a_url_of_redis_without_a_scheme_or_with_another_part_missing_is_told_what_it_needs() {
    let scratch = Scratch::new();
    let port = free_port();
    for (url, words) in [
        (format!("127.0.0.1:{port}"), "must begin with redis://"),
        (
            format!("redis.example:{port}/0"),
            "must begin with redis://",
        ),
        (
            "http://marker:marker@redis".to_owned(),
            "must begin with redis://",
        ),
        (
            "redis://u:mar/ker@redis:6379/0".to_owned(),
            "percent-encoded",
        ),
        (
            "redis://redis:6379/marker".to_owned(),
            "the number of a database",
        ),
        ("redis://".to_owned(), "the name of the server is missing"),
    ] {
        let said = refused(&scratch, &format!("redis: {{ url: {url:?} }}")).await;
        assert!(said.contains("revocation.store.redis.url: "), "{said}");
        assert!(said.contains(words), "{url}: {said}");
        assert!(
            !said.contains("marker") && !said.contains("mar/ker"),
            "{said}"
        );
    }
}
