//! TLS, by what the URL says, and passwords out of a file.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use revoxy::clock::SystemClock;
use revoxy::revocation::{
    Cutoff, PostgresOptions, PostgresStore, RevocationStore as _, StoreError,
};

use super::{Followed, HOUR, key, revocation};
use crate::support::postgres::hand_over;
use crate::support::{Mood, PATIENCE, Postgres, Proxy, Scratch};

/// An authority, and what it has signed.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Its certificate is in this file.
    fn new(scratch: &Scratch, file: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        scratch.write(file, params.self_signed(&key).unwrap().pem());
        Self {
            issuer: Issuer::new(params, key),
        }
    }

    /// A certificate for this name and its key, in files called `stem`.
    fn certify(&self, scratch: &Scratch, stem: &str, name: &str) {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        scratch.write(&format!("{stem}.crt"), certificate.pem());
        let file = scratch.write(&format!("{stem}.key"), key.serialize_pem());
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&file, private).unwrap();
    }
}

/// A server that takes only connections over TLS, with a password or a certificate.
async fn server(scratch: &Scratch) -> Postgres {
    let authority = Authority::new(scratch, "ca.crt");
    Authority::new(scratch, "other.crt");
    authority.certify(scratch, "server", "localhost");
    authority.certify(scratch, "revoxy", "revoxy");
    for file in ["server.crt", "server.key", "ca.crt"] {
        hand_over(&scratch.file(file));
    }
    let setting = |name: &str, file: &str| format!("{name}={}", scratch.name(file));
    let postgres = Postgres::start_with(
        scratch,
        &[
            "ssl=on",
            &setting("ssl_cert_file", "server.crt"),
            &setting("ssl_key_file", "server.key"),
            &setting("ssl_ca_file", "ca.crt"),
        ],
    )
    .await;
    postgres
        .run("CREATE ROLE admin SUPERUSER LOGIN PASSWORD 'secret'; CREATE ROLE revoxy SUPERUSER LOGIN")
        .await;
    let rules = "host all postgres 127.0.0.1/32 trust\n\
        hostssl all admin all scram-sha-256\n\
        hostssl all revoxy all cert\n";
    let rules = (postgres.data().join("pg_hba.conf"), rules);
    std::fs::write(&rules.0, rules.1).unwrap();
    postgres.run("SELECT pg_reload_conf()").await;
    postgres
}

fn at(postgres: &Postgres, user: &str, host: &str, parameters: &str) -> PostgresOptions {
    let (port, mut options) = (postgres.port(), postgres.options());
    options.url = format!("postgres://{user}@{host}:{port}/postgres?{parameters}");
    options.connect_timeout = Duration::from_secs(5);
    options
}

fn file(scratch: &Scratch, name: &str) -> String {
    url::form_urlencoded::byte_serialize(scratch.name(name).as_bytes()).collect()
}

#[tokio::test]
async fn a_server_is_verified_in_full_and_shown_our_certificate() {
    let scratch = Scratch::new();
    let postgres = server(&scratch).await;
    let (ca, other) = (file(&scratch, "ca.crt"), file(&scratch, "other.crt"));
    let (cert, own_key) = (file(&scratch, "revoxy.crt"), file(&scratch, "revoxy.key"));
    let own = format!("&sslcert={cert}&sslkey={own_key}");
    let good = format!("sslmode=verify-full&sslrootcert={ca}{own}");
    let f = Followed::comparing(&at(&postgres, "revoxy", "localhost", &good), HOUR)
        .await
        .unwrap();
    f.store.revoke(&revocation("a")).await.unwrap();
    f.catches_up().await;
    assert_eq!(f.holds(&key("a")), Some(Cutoff::All));
    let in_use = "SELECT bool_and(ssl)::text FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
        WHERE usename = 'revoxy'";
    assert_eq!(postgres.ask(in_use).await, "true");
    let wrong_ca = format!("sslmode=verify-full&sslrootcert={other}{own}");
    let without = format!("sslmode=verify-full&sslrootcert={ca}");
    for (host, parameters) in [
        ("localhost", wrong_ca.as_str()),
        // Not the name in the certificate.
        ("127.0.0.1", good.as_str()),
        ("localhost", without.as_str()),
        ("localhost", "sslmode=disable"),
    ] {
        let options = at(&postgres, "revoxy", host, parameters);
        let refused = Followed::comparing(&options, HOUR).await.err().unwrap();
        assert!(
            matches!(refused, StoreError::Failed(_)),
            "{host} {parameters}: {refused:?}"
        );
    }
}

#[tokio::test]
async fn a_password_is_read_again_for_each_connection() {
    let scratch = Scratch::new();
    let postgres = server(&scratch).await;
    let parameters = format!(
        "sslmode=verify-full&sslrootcert={}",
        file(&scratch, "ca.crt")
    );
    let mut options = at(&postgres, "admin", "localhost", &parameters);
    options.password_file = Some(scratch.write("password", "secret\n"));
    let f = Followed::comparing(&options, HOUR).await.unwrap();
    postgres.run("ALTER ROLE admin PASSWORD 'another'").await;
    replace(&scratch.file("password"), "another\n");
    let connections = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
        WHERE usename = 'admin'";
    postgres.run(connections).await;
    f.is_interrupted(0).await;
    f.catches_up().await;
    // The connection that was waiting is gone; the next is made with the new password.
    let again =
        f.store.lookup(&[key("a")]).await.is_ok() || f.store.lookup(&[key("a")]).await.is_ok();
    assert!(again);
    replace(&scratch.file("password"), "mistaken");
    let said = Followed::comparing(&options, HOUR).await.err().unwrap();
    assert!(
        said.to_string().contains("password authentication failed"),
        "{said}"
    );
    assert!(!said.to_string().contains("mistaken"), "{said}");
}

fn replace(path: &Path, content: &str) {
    std::fs::write(path, content).unwrap();
}

#[tokio::test]
async fn a_connection_whose_answers_arrive_damaged_is_not_used_again() {
    let scratch = Scratch::new();
    let postgres = server(&scratch).await;
    let proxy = Proxy::before(postgres.port()).await;
    let mut options = at(&postgres, "postgres", "127.0.0.1", "sslmode=require");
    options.url = options
        .url
        .replace(&postgres.port().to_string(), &proxy.port().to_string());
    let store = PostgresStore::open(&options, PATIENCE, Arc::new(SystemClock)).await;
    let store = store.unwrap();
    assert_eq!(store.lookup(&[key("a")]).await, Ok(vec![None]));
    proxy.set(Mood::Garbling);
    store.lookup(&[key("a")]).await.unwrap_err();
    proxy.set(Mood::Passing);
    assert_eq!(store.lookup(&[key("a")]).await, Ok(vec![None]));
}
