//! Verification as configured: keys by URL and tokens in other places than `Authorization`.

use jsonwebtoken::Algorithm;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::support::key_server::signed;
use crate::support::server::{listens_at, revoxy};
use crate::support::{
    Ask, Checks, Config, KeyServer, PATIENCE, Process, Revoxy, Scratch, SigningKey, Token,
    eventually,
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

#[tokio::test]
async fn without_keys_it_listens_but_is_not_ready_and_a_check_is_a_503() {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    let server = KeyServer::start(&[]).await;
    let mut config = Config::trusting(&key, &scratch);
    config.keys = server.keys("");
    let path = scratch.write("revoxy.yaml", config.yaml());
    let mut command = revoxy(&["serve", "--config", path.to_str().unwrap()]);
    let process = Process::start("revoxy", &mut command, &scratch);
    let checks = eventually("a listening Revoxy", async || listens_at(&process, "check")).await;
    let checks = eventually("a serving Revoxy", async || {
        let connected = tokio::time::timeout(PATIENCE, Checks::connect(&checks)).await;
        connected.ok()
    })
    .await;
    let answer = checks.bearer(&signed(&key)).await;
    assert_eq!(answer.verdict(), (503, "keys_unavailable"));
    let ready = format!(
        "http://{}/readyz",
        listens_at(&process, "operations").unwrap()
    );
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
