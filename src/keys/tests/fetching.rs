//! Tests of key servers that give invalid answers: the current keys remain, and the metrics show the reason.

use super::*;

#[tokio::test]
async fn a_bad_answer_changes_nothing_and_is_counted_as_what_it_is() {
    let server = Server::plain().await;
    let far = Answer::Redirect(format!("https://{}{JWKS}", server.address));
    let html = Answer::Ok(
        "content-type: text/html\r\n",
        "<html>sorry</html>".to_owned(),
    );
    let empty = Answer::Ok("", r#"{"keys":[]}"#.to_owned());
    let foreign = Answer::Ok("", r#"{"keys":[{"kty":"AKP"}]}"#.to_owned());
    let large = Answer::Ok("", " ".repeat(super::super::MAX_BODY_BYTES + 1));
    let loops = Answer::Redirect(JWKS.to_owned());
    let cases = [
        ("HTML with status 200", html, "invalid"),
        ("an empty set", empty, "invalid"),
        ("a set that nobody can use", foreign, "invalid"),
        ("an answer that breaks off", Answer::Broken, "invalid"),
        ("a byte now and then", Answer::Drip, "timeout"),
        ("silence", Answer::Silence, "timeout"),
        ("too large an answer", large, "too_large"),
        ("an answer without an end", Answer::Endless, "too_large"),
        ("a redirect to itself", loops, "redirect"),
        ("a redirect to another scheme", far, "redirect"),
        (
            "a redirect to nowhere",
            Answer::Redirect("http://[".to_owned()),
            "redirect",
        ),
        ("an error", Answer::Status(500), "status"),
        ("not modified", Answer::Status(304), "status"),
    ];
    let key = Signer::p256();
    let good = Answer::Ok("", jwks(&[(&key, "a")]));
    for (name, bad, result) in cases {
        server.answer(JWKS, good.clone());
        let location = Location::Jwks(url(&server, "http", JWKS));
        let mut once = timing();
        once.cooldown = Duration::from_secs(600);
        let mut fetched = Fetched::start(&remote(location, once));
        fetched.loaded().await;
        server.answer(JWKS, bad);
        // An unknown key requests the fetch that fails.
        let unknown = fetched.verify(&token(&Signer::p256(), "b")).await;
        assert_eq!(
            unknown,
            Err(crate::jwt::Rejection::UnknownKey.into()),
            "{name}"
        );
        assert_eq!(fetched.refreshes(result), 1, "{name}");
        assert_eq!(fetched.refreshes("success"), 1, "{name}");
        assert_eq!(fetched.metric("revoxy_jwks_keys"), 1, "{name}");
        assert_eq!(fetched.verify(&token(&key, "a")).await, Ok(()), "{name}");
    }
}

#[tokio::test]
async fn a_failure_is_told_with_the_url_that_failed_and_nothing_of_it_that_may_be_secret() {
    let server = Server::plain().await;
    let at = format!("http://{}", server.address);
    let elsewhere = Answer::Redirect("/moved?key=secret".to_owned());
    let fetcher = Fetcher::new(Duration::from_millis(500), true, None).unwrap();
    for (answer, expected) in [
        (Answer::Status(404), "/jwks answered 404".to_owned()),
        (Answer::Silence, "/jwks: no answer within 500ms".to_owned()),
        (Answer::Broken, "/jwks: the answer broke off".to_owned()),
        (
            Answer::Endless,
            "/jwks: the answer is larger than".to_owned(),
        ),
        (
            elsewhere,
            format!("/moved answered 404 (redirected from {at}/jwks)"),
        ),
    ] {
        server.answer("/jwks?key=secret", answer);
        let mut asked = url(&server, "http", "/jwks?key=secret");
        asked.set_username("secret").unwrap();
        let said = fetcher.get(&asked).await.unwrap_err().to_string();
        assert!(said.starts_with(&format!("{at}{expected}")), "{said}");
        assert!(!said.contains("secret"), "{said}");
    }
    let plain = url(&server, "https", JWKS);
    drop(server);
    let said = fetcher.get(&plain).await.unwrap_err().to_string();
    let expected = format!("{plain}: cannot connect: ");
    assert!(said.starts_with(&expected), "{said}");
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_told_as_such() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = format!("https://{}/jwks", listener.local_addr().unwrap());
    let answering = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 1024]).await;
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    });
    let fetcher = Fetcher::new(Duration::from_secs(10), false, None).unwrap();
    let asked = fetcher.get(&Url::parse(&at).unwrap()).await;
    let error = asked.unwrap_err();
    assert_eq!(error.label(), "tls", "{error}");
    assert!(error.to_string().contains("does not speak TLS"), "{error}");
    answering.await.unwrap();
}

#[tokio::test]
async fn without_keys_from_the_start_it_is_an_error_of_ours_until_they_come() {
    let server = Server::plain().await;
    server.answer(JWKS, Answer::Status(503));
    let location = Location::Jwks(url(&server, "http", JWKS));
    let mut fetched = Fetched::start(&remote(location, timing()));
    let key = Signer::p256();
    let verdict = fetched.verify(&token(&key, "a")).await;
    assert_eq!(verdict, Err(VerifyError::KeysUnavailable));
    assert!(!fetched.is_loaded());
    server.answer(JWKS, Answer::Ok("", jwks(&[(&key, "a")])));
    fetched.loaded().await;
    assert_eq!(fetched.verify(&token(&key, "a")).await, Ok(()));
    assert!(fetched.metric("revoxy_jwks_last_success_timestamp_seconds") > 0);
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_is_not_believed() {
    let (server, certificate) = Server::tls().await;
    let key = Signer::p256();
    server.answer(JWKS, Answer::Ok("", jwks(&[(&key, "a")])));
    let directory = tempfile::tempdir().unwrap();
    let ca_file = directory.path().join("ca.pem");
    std::fs::write(&ca_file, certificate).unwrap();
    let location = Location::Jwks(url(&server, "https", JWKS));
    let trusting = RemoteKeys {
        ca_file: Some(ca_file.clone()),
        ..remote(location.clone(), timing())
    };
    let mut fetched = Fetched::start(&trusting);
    fetched.loaded().await;
    assert_eq!(fetched.verify(&token(&key, "a")).await, Ok(()));

    // Another certificate authority than the server's.
    let (_, other) = Server::tls().await;
    std::fs::write(&ca_file, other).unwrap();
    let fetcher = trusting.fetcher().unwrap();
    let error = fetcher.get(location.url()).await.err().unwrap();
    assert_eq!(error.label(), "tls", "{error}");

    // The right authority, but another name than that in the certificate.
    let mut by_name = location.url().clone();
    by_name.set_host(Some("localhost.localdomain")).unwrap();
    assert!(fetcher.get(&by_name).await.is_err());
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unreachable() {
    let server = Server::plain().await;
    let url = url(&server, "http", JWKS);
    drop(server);
    let fetcher = Fetcher::new(Duration::from_secs(1), true, None).unwrap();
    let error = fetcher.get(&url).await.err().unwrap();
    assert_eq!(error.label(), "unreachable", "{error}");
}

#[tokio::test]
async fn redirects_within_the_scheme_are_followed() {
    let server = Server::plain().await;
    let key = Signer::p256();
    server.answer(JWKS, Answer::Redirect("/one".to_owned()));
    server.answer("/one", Answer::Redirect("two?x=1".to_owned()));
    server.answer("/two?x=1", Answer::Ok("", jwks(&[(&key, "a")])));
    let location = Location::Jwks(url(&server, "http", JWKS));
    let mut fetched = Fetched::start(&remote(location, timing()));
    fetched.loaded().await;
    assert_eq!(server.requests(), 3);
}

#[tokio::test]
async fn a_redirect_to_another_host_or_port_is_followed_only_where_the_host_is_named() {
    let (server, other) = (Server::plain().await, Server::plain().await);
    let key = Signer::p256();
    other.answer(JWKS, Answer::Ok("", jwks(&[(&key, "a")])));
    let by_name = |name: &str| format!("http://{name}:{}{JWKS}", other.address.port());
    for to in ["127.0.0.1", "localhost"] {
        server.answer("/first", Answer::Redirect("/second".to_owned()));
        server.answer("/second", Answer::Redirect(by_name(to)));
        let location = Location::Jwks(url(&server, "http", "/first"));
        for (named, follows) in [
            (None, false),
            (Some("keys.example"), false),
            (Some(to), true),
        ] {
            let keys = RemoteKeys {
                redirect_hosts: named
                    .map(|n| url::Host::parse(n).unwrap())
                    .into_iter()
                    .collect(),
                ..remote(location.clone(), timing())
            };
            let before = other.requests();
            let fetched = keys.fetcher().unwrap().get(location.url()).await;
            assert_eq!(fetched.is_ok(), follows, "{to} {named:?}");
            assert_eq!(other.requests() > before, follows, "{to} {named:?}");
            if let Err(error) = fetched {
                assert_eq!(error.label(), "redirect");
                let said = format!("to http://{to}:{}", other.address.port());
                assert!(error.to_string().contains(&said), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn the_providers_metadata_leads_to_the_keys() {
    let server = Server::plain().await;
    let key = Signer::p256();
    let metadata = |issuer: &str| {
        let jwks_uri = url(&server, "http", JWKS).to_string();
        Answer::Ok(
            "",
            json!({ "issuer": issuer, "jwks_uri": jwks_uri }).to_string(),
        )
    };
    let path = "/.well-known/openid-configuration";
    server.answer(JWKS, Answer::Ok("", jwks(&[(&key, "a")])));
    server.answer(path, metadata("https://somebody.else.example"));
    let location = Location::Discovery(url(&server, "http", path));
    let mut fetched = Fetched::start(&remote(location, timing()));
    eventually(|| fetched.refreshes("invalid") > 0).await;
    assert!(!fetched.is_loaded());
    server.answer(path, metadata(testing::ISS));
    fetched.loaded().await;
    assert_eq!(fetched.verify(&token(&key, "a")).await, Ok(()));
}
