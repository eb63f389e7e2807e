//! Verification as configured: keys by URL, tokens in other places than `Authorization`, and `revoxy explain`.

use std::io::Write as _;
use std::process::Stdio;

use jsonwebtoken::Algorithm;
use serde_json::Value;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::support::key_server::signed;
use crate::support::{
    Ask, Checks, Config, KeyServer, PATIENCE, Process, Revoxy, Scratch, SigningKey, Token,
    eventually, server,
};

#[tokio::test]
async fn keys_by_url_follow_a_rotation_without_a_refused_token() {
    let scratch = Scratch::new();
    let (old, new) = (
        SigningKey::generate(Algorithm::ES256),
        SigningKey::generate(Algorithm::ES256),
    );
    let server = KeyServer::start(&[&old]).await;
    let mut config = Config::trusting(&old, &scratch);
    config.keys = server.keys("wait: 5s");
    let service = Revoxy::start(&scratch, &config).await;
    let checks = service.checks().await;
    assert!(checks.bearer(&signed(&old)).await.allows());
    server.rotate(&[&old, &new]);
    assert!(checks.bearer(&signed(&new)).await.allows());
    assert!(checks.bearer(&signed(&old)).await.allows());
    let stranger = SigningKey::generate(Algorithm::ES256);
    let answer = checks.bearer(&signed(&stranger)).await;
    assert_eq!(answer.verdict(), (401, "unknown_key"));
    let refreshes = "revoxy_jwks_refreshes_total{issuer=\"shop\",result=\"success\"}";
    assert!((service.metric(refreshes).await - 2.0).abs() < 0.1);
}

#[tokio::test]
async fn a_token_in_a_cookie_is_as_good_as_one_in_the_header_and_two_are_too_many() {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    let sources = "token_sources:\n  - { header: authorization }\n  - { cookie: at, strip: true }\n  - { query: at }";
    let config = Config::trusting(&key, &scratch).section(sources);
    let service = Revoxy::start(&scratch, &config).await;
    let checks = service.checks().await;
    let (one, two) = (Token::access("a").sign(&key), Token::access("b").sign(&key));
    let cookie = format!("x=1; at={one}");
    assert!(
        checks
            .ask(Ask::new().header("cookie", &cookie))
            .await
            .allows()
    );
    let query = format!("/?at={one}");
    assert!(
        checks
            .ask(Ask::new().to("GET", "shop.example", &query))
            .await
            .allows()
    );
    let both = checks
        .ask(Ask::bearer(&two).header("cookie", &cookie))
        .await;
    assert_eq!(both.verdict(), (401, "ambiguous_token"));
    service.revoke(&one).await;
    let revoked = checks.ask(Ask::new().header("cookie", &cookie)).await;
    assert_eq!(revoked.verdict(), (401, "revoked"));
}

#[test]
fn explain_tells_every_step_and_ends_with_1_where_the_token_would_be_refused() {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    let config = Config::trusting(&key, &scratch).yaml();
    let path = scratch.write("revoxy.yaml", config);
    let explain = |token: &str, more: &[&str]| {
        let mut arguments = vec!["explain", "--config", path.to_str().unwrap()];
        arguments.extend(more);
        let mut command = server::revoxy(&arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        writeln!(stdin, "{token}").unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), text)
    };
    let token = Token::access("the-jti").sign(&key);
    let (status, text) = explain(&token, &[]);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("revoxy:jti:shop:the-jti"), "{text}");
    assert!(text.ends_with("allow: ok, unless revoked\n"), "{text}");
    assert!(!text.contains(token.rsplit('.').next().unwrap()));
    let (status, text) = explain(
        &format!("Bearer {token}"),
        &["--at", "2099-01-01T00:00:00Z"],
    );
    assert_eq!(status, Some(1), "{text}");
    assert!(text.ends_with("deny: expired\n"), "{text}");
    let (status, text) = explain(&token, &["--policy", "refresh"]);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.ends_with("deny: wrong_token_type\n"), "{text}");
}

#[test]
fn explain_says_where_a_token_has_to_be_on_a_list() {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    let config = Config::trusting(&key, &scratch);
    let missing = "lookups: [{ key: \"label:{jti}\", match: never, missing: revoked }]";
    let redis = config
        .clone()
        .store("redis: { url: \"redis://127.0.0.1:1/0\" }");
    for (config, place) in [
        (
            config.revocation("mode: allow_list"),
            "has to be under \"revoxy:registered:jti:shop:a\"",
        ),
        (redis.revocation(missing), "has to be under \"label:a\""),
    ] {
        let path = scratch.write("revoxy.yaml", config.yaml());
        let mut command = server::revoxy(&["explain", "--config", path.to_str().unwrap()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let token = Token::access("a").sign(&key);
        writeln!(child.stdin.take().unwrap(), "{token}").unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains(place), "{text}");
        let verdict = "allow: ok, if it is on the allow-list and not revoked\n";
        assert!(text.ends_with(verdict), "{text}");
    }
}

#[tokio::test]
async fn without_keys_it_listens_but_is_not_ready_and_a_check_is_a_503() {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    let server = KeyServer::start(&[]).await;
    let mut config = Config::trusting(&key, &scratch);
    config.keys = server.keys("");
    let path = scratch.write("revoxy.yaml", config.yaml());
    let mut command = server::revoxy(&["serve", "--config", path.to_str().unwrap()]);
    let process = Process::start("revoxy", &mut command, &scratch);
    let address = |listener: &str| {
        let output = process.output();
        let mut events = output.lines().filter_map(|l| serde_json::from_str(l).ok());
        let listening = |e: &Value| e["message"] == "listening" && e["listener"] == listener;
        events.find(listening)?["address"]
            .as_str()
            .map(str::to_owned)
    };
    let checks = eventually("a listening Revoxy", async || address("check")).await;
    let checks = eventually("a serving Revoxy", async || {
        let connected = tokio::time::timeout(PATIENCE, Checks::connect(&checks)).await;
        connected.ok()
    })
    .await;
    let answer = checks.bearer(&signed(&key)).await;
    assert_eq!(answer.verdict(), (503, "keys_unavailable"));
    let ready = format!("http://{}/readyz", address("operations").unwrap());
    let status = async || reqwest::get(&ready).await.unwrap().status().as_u16();
    assert_eq!(status().await, 503);
    assert_eq!(checks.health("").await, Ok(ServingStatus::NotServing));
    server.rotate(&[&key]);
    eventually("readiness", async || (status().await == 200).then_some(())).await;
    eventually("the same word from the health service", async || {
        (checks.health("").await == Ok(ServingStatus::Serving)).then_some(())
    })
    .await;
    assert!(checks.bearer(&signed(&key)).await.allows());
}
