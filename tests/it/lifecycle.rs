//! Probes, health, the Unix socket, and the end in order.

use rustix::process::Signal;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::support::client::SERVICE;
use crate::support::server::{revoxy, run, run_with};
use crate::support::{Checks, Config, Revoxy, Scratch, SigningKey, Token, eventually};

#[tokio::test]
async fn a_ready_service_says_so_everywhere() {
    let (scratch, key) = (Scratch::new(), SigningKey::es256());
    let revoxy = Revoxy::start(&scratch, &Config::trusting(&key, &scratch)).await;
    assert_eq!(revoxy.get("/livez").await, (200, "ok\n".to_owned()));
    assert_eq!(revoxy.get("/readyz").await, (200, "ok\n".to_owned()));
    assert_eq!(revoxy.get("/").await.0, 404);
    let checks = revoxy.checks().await;
    for service in ["", SERVICE] {
        let health = checks.health(service).await;
        assert_eq!(health, Ok(ServingStatus::Serving), "{service:?}");
    }
    assert_eq!(checks.health("another").await, Err(Code::NotFound));
}

#[tokio::test]
async fn after_sigterm_it_turns_away_proxies_but_answers_their_checks_and_ends_with_0() {
    let (scratch, key) = (Scratch::new(), SigningKey::es256());
    let mut config = Config::trusting(&key, &scratch);
    // Ended by the second signal below, so that no test has to race against a delay.
    config.shutdown = "{ delay: 60s, drain: 2s }".to_owned();
    let mut revoxy = Revoxy::start(&scratch, &config).await;
    let checks = revoxy.checks().await;
    let token = Token::access("a").sign(&key);
    assert!(checks.bearer(&token).await.allows());

    revoxy.process.signal(Signal::TERM);
    eventually("an unready service", async || {
        (revoxy.get("/readyz").await.0 == 503).then_some(())
    })
    .await;
    eventually("a health service that says no", async || {
        let health = [checks.health("").await, checks.health(SERVICE).await];
        (health == [Ok(ServingStatus::NotServing); 2]).then_some(())
    })
    .await;
    assert_eq!(revoxy.get("/livez").await.0, 200);
    assert!(checks.bearer(&token).await.allows());
    assert_eq!(checks.bearer("garbage").await.reason(), "malformed");
    let late = revoxy.checks().await;
    assert!(late.bearer(&token).await.allows(), "new connections too");
    revoxy.revoke(&token).await;
    assert_eq!(checks.bearer(&token).await.reason(), "revoked");

    revoxy.process.signal(Signal::TERM);
    assert_eq!(revoxy.process.end().await.code(), Some(0));
    assert!(revoxy.process.output().contains("\"message\":\"ended\""));
}

#[tokio::test]
async fn sighup_changes_nothing_and_says_so() {
    let (scratch, key) = (Scratch::new(), SigningKey::es256());
    let revoxy = Revoxy::start(&scratch, &Config::trusting(&key, &scratch)).await;
    let checks = revoxy.checks().await;
    revoxy.process.signal(Signal::HUP);
    eventually("a line about the signal", async || {
        let said = revoxy.process.output();
        said.contains("SIGHUP changes nothing").then_some(())
    })
    .await;
    assert!(checks.bearer(&Token::access("a").sign(&key)).await.allows());
    assert_eq!(revoxy.get("/readyz").await.0, 200);
}

#[tokio::test]
async fn the_delay_ends_by_itself_and_open_connections_do_not_keep_it_alive() {
    for signal in [Signal::TERM, Signal::INT] {
        let (scratch, key) = (Scratch::new(), SigningKey::es256());
        let mut config = Config::trusting(&key, &scratch);
        config.shutdown = "{ delay: 100ms, drain: 200ms }".to_owned();
        let mut revoxy = Revoxy::start(&scratch, &config).await;
        let checks = revoxy.checks().await;
        assert!(checks.bearer(&Token::access("a").sign(&key)).await.allows());
        revoxy.process.signal(signal);
        assert_eq!(revoxy.process.end().await.code(), Some(0), "{signal:?}");
    }
}

#[tokio::test]
async fn checks_are_answered_on_a_unix_socket() {
    let (scratch, key) = (Scratch::new(), SigningKey::es256());
    let mut config = Config::trusting(&key, &scratch);
    config.check = format!("unix:{}", scratch.name("check.sock"));
    let token = Token::access("a").sign(&key);
    // The second finds the socket that the first, killed, has left behind.
    for _ in 0..2 {
        let mut revoxy = Revoxy::start(&scratch, &config).await;
        assert_eq!(revoxy.check, config.check);
        let checks = Checks::connect(&config.check).await;
        assert!(checks.bearer(&token).await.allows());
        assert_eq!(checks.health("").await, Ok(ServingStatus::Serving));
        let (status, said) = Revoxy::refused(&scratch, &config.yaml()).await;
        assert_eq!(
            status.code(),
            Some(2),
            "a living one is not pushed aside: {said}"
        );
        assert!(checks.bearer(&token).await.allows());
        revoxy.process.kill();
    }
}

#[tokio::test]
async fn check_config_says_that_all_is_well() {
    let (scratch, key) = (Scratch::new(), SigningKey::es256());
    let yaml = Config::trusting(&key, &scratch).yaml();
    for command in [&["check-config"][..], &["check-config", "--connect"]] {
        let (status, said) = run_with(&scratch, command, &yaml).await;
        assert_eq!(status.code(), Some(0), "{said}");
        assert!(said.contains("no mistakes found"), "{said}");
    }
}

#[tokio::test]
async fn the_command_tells_its_version_and_its_use() {
    let scratch = Scratch::new();
    for (arguments, status, part) in [
        (&["--version"][..], 0, env!("CARGO_PKG_VERSION")),
        (&["--help"], 0, "check-config"),
        (&["serve", "--nonsense"], 2, "--nonsense"),
    ] {
        let (ended, said) = run(&scratch, &mut revoxy(arguments)).await;
        assert_eq!(ended.code(), Some(status), "{said}");
        assert!(said.contains(part), "{said}");
    }
}
