//! What a configuration names and is not there, or not what it should be: key files, stores, listeners.

use jsonwebtoken::Algorithm;

use crate::config::{mistakes, place};
use crate::support::server::run_with;
use crate::support::{Config, Scratch, SigningKey};

#[tokio::test]
async fn a_key_file_that_cannot_be_used_is_named() {
    let scratch = Scratch::new();
    let key = SigningKey::generate(Algorithm::ES256);
    let private = scratch.write("private.pem", key.private_pem());
    let short = scratch.write("short", "too short");
    let garbage = scratch.write("garbage", "garbage");
    let empty = scratch.write("empty.json", r#"{"keys":[]}"#);
    let stranger = SigningKey::generate(Algorithm::EdDSA).write(&scratch);
    let good = Config::trusting(&key, &scratch);
    for (keys, algorithms, message) in [
        (
            "{ pem_file: /no/where.pem }".to_owned(),
            "ES256",
            "cannot read /no/where.pem",
        ),
        ("{ pem_file: /tmp }".to_owned(), "ES256", "cannot read /tmp"),
        (
            format!("{{ pem_file: {private:?} }}"),
            "ES256",
            "private key",
        ),
        (format!("{{ pem_file: {garbage:?} }}"), "ES256", "not PEM"),
        (
            format!("{{ secret_file: {short:?} }}"),
            "HS256",
            "at least 32",
        ),
        (
            format!("{{ secret_file: {private:?} }}"),
            "ES256",
            "none of the issuer's",
        ),
        (format!("{{ jwks_file: {garbage:?} }}"), "ES256", "not JSON"),
        (
            format!("{{ jwks_file: {empty:?} }}"),
            "ES256",
            "no usable key",
        ),
        (stranger, "ES256", "none of the issuer's algorithms (ES256)"),
    ] {
        let config = Config {
            keys: keys.clone(),
            algorithms: algorithms.to_owned(),
            ..Config::trusting(&key, &scratch)
        };
        let yaml = config.yaml();
        let found = mistakes(&scratch, &yaml).await;
        assert_eq!(found.len(), 1, "{found:?}");
        let expected = format!("{}issuers.0.keys: ", place(&yaml, "keys: "));
        assert!(found[0].starts_with(&expected), "{found:?}");
        assert!(found[0].contains(message), "{found:?}");
        assert!(
            !found[0].contains("too short"),
            "no secret is shown: {found:?}"
        );
    }
    let (status, said) = run_with(&scratch, &["check-config"], &good.yaml()).await;
    assert!(status.success(), "{said}");
}

#[tokio::test]
async fn a_store_that_is_not_there_is_a_mistake() {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    // Bound and not listened on: whoever connects is refused, and nobody else can take the port.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = socket.local_addr().unwrap().port();
    let notes = scratch.write("notes", "no database".repeat(100));
    for (store, path, message) in [
        (
            format!("redis: {{ url: \"redis://:pw-marker@127.0.0.1:{port}\" }}"),
            "redis",
            "refused",
        ),
        (
            "sqlite: { path: /no/where/revoxy.db }".to_owned(),
            "sqlite",
            "/no/where",
        ),
        (
            format!("sqlite: {{ path: {notes:?} }}"),
            "sqlite",
            "not a database",
        ),
    ] {
        let yaml = Config::trusting(&key, &scratch).store(store).yaml();
        let found = mistakes(&scratch, &yaml).await;
        assert_eq!(found.len(), 1, "{found:?}");
        let expected = format!("{}revocation.store.{path}: ", place(&yaml, "store: "));
        assert!(found[0].starts_with(&expected), "{found:?}");
        assert!(found[0].contains(message), "{found:?}");
        assert!(!found[0].contains("marker"), "{found:?}");
    }
}

#[tokio::test]
async fn every_listener_needs_a_port_of_its_own() {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    let with = |check: String, api: String| {
        let config = Config::trusting(&key, &scratch);
        let yaml = Config { check, ..config }.yaml();
        yaml.replace("api: \"127.0.0.1:0\"", &format!("api: \"{api}\""))
    };
    for (check, api, at, message) in [
        (
            "127.0.0.1:9",
            "127.0.0.1:9",
            "server.api",
            "taken by server.check",
        ),
        (
            "0.0.0.0:9",
            "127.0.0.1:9",
            "server.api",
            "taken by server.check",
        ),
        ("127.0.0.1:0", &taken.to_string(), "server.api", "in use"),
        (&taken.to_string(), "127.0.0.1:0", "server.check", "in use"),
        (
            "unix:/no/where/x.sock",
            "127.0.0.1:0",
            "server.check",
            "/no/where",
        ),
    ] {
        let yaml = with(check.to_owned(), api.to_owned());
        let found = mistakes(&scratch, &yaml).await;
        assert_eq!(found.len(), 1, "{found:?}");
        let key = format!("{}: ", at.trim_start_matches("server."));
        let expected = format!("{}{at}: ", place(&yaml, &key));
        assert!(found[0].starts_with(&expected), "{found:?}");
        assert!(found[0].contains(message), "{found:?}");
    }
}
