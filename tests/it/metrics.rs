//! `/metrics`: clean, counted by decision and reason, and without anything that identifies a token or a person.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use jsonwebtoken::Algorithm;

use crate::support::process::program;
use crate::support::tokens::now;
use crate::support::{Ask, Config, Redis, Revoxy, Scratch, SigningKey, Token};

/// What promtool has to say against an exposition: nothing.
async fn lint(revoxy: &Revoxy) {
    let (status, text) = revoxy.get("/metrics").await;
    assert_eq!(status, 200);
    let mut child = Command::new(program("promtool", "PROMTOOL_BIN", &[]))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, text.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.is_empty(), "{said}\n{text}");
}

fn checks_total(decision: &str, policy: &str, reason: &str) -> String {
    format!(
        "revoxy_checks_total{{decision=\"{decision}\",policy=\"{policy}\",reason=\"{reason}\"}}"
    )
}

/// The names of all samples, with their labels.
async fn series(revoxy: &Revoxy) -> BTreeSet<String> {
    let (_, text) = revoxy.get("/metrics").await;
    let samples = text.lines().filter(|l| !l.starts_with('#'));
    samples
        .map(|l| l.rsplit_once(' ').unwrap().0.to_owned())
        .collect()
}

#[tokio::test]
async fn checks_are_counted_by_decision_reason_and_policy() {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    let redis = Redis::start(&scratch).await;
    // Without a view, so that lookups can be counted.
    let config = Config::trusting(&key, &scratch)
        .store(redis.store())
        .revocation("read: store");
    let revoxy = Revoxy::start(&scratch, &config).await;
    lint(&revoxy).await;
    let at_start = series(&revoxy).await;
    let checks = revoxy.checks().await;
    let good = Ask::bearer(&Token::access("a").sign(&key));
    let expired = Token::access("a").with("exp", now() - 3600).sign(&key);
    let revoked = Token::refresh("r").sign(&key);
    revoxy.revoke(&revoked).await;
    for (times, ask, decision, policy, reason) in [
        (3, good.clone(), "allow", "default", "ok"),
        (2, Ask::new(), "deny", "default", "no_token"),
        (4, Ask::bearer(&expired), "deny", "default", "expired"),
        (
            1,
            Ask::bearer(&revoked).policy("refresh"),
            "deny",
            "refresh",
            "revoked",
        ),
        (
            5,
            good.policy("nothing"),
            "error",
            "unknown",
            "unknown_policy",
        ),
        (2, Ask::new().policy("public"), "allow", "public", "public"),
    ] {
        for _ in 0..times {
            assert_eq!(checks.ask(ask.clone()).await.reason(), reason);
        }
        let counted = revoxy.metric(&checks_total(decision, policy, reason)).await;
        assert!(
            (counted - f64::from(times)).abs() < 0.5,
            "{reason}: {counted}"
        );
    }
    for (name, expected) in [
        (
            "revoxy_check_duration_seconds_count{decision=\"allow\"}",
            5.0,
        ),
        (
            "revoxy_check_duration_seconds_count{decision=\"deny\"}",
            7.0,
        ),
        (
            "revoxy_check_duration_seconds_count{decision=\"error\"}",
            5.0,
        ),
        ("revoxy_revocation_lookup_duration_seconds_count", 4.0),
        ("revoxy_revocation_requests_total{result=\"recorded\"}", 1.0),
        ("revoxy_revocation_store_up", 1.0),
        ("revoxy_checks_in_flight", 0.0),
    ] {
        let value = revoxy.metric(name).await;
        assert!((value - expected).abs() < 0.5, "{name}: {value}");
    }
    lint(&revoxy).await;
    assert_eq!(
        series(&revoxy).await,
        at_start,
        "all series are there from the start"
    );
}

#[tokio::test]
async fn the_view_tells_its_size() {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    let revoxy = Revoxy::start(&scratch, &Config::trusting(&key, &scratch)).await;
    for jti in ["a", "b", "a"] {
        revoxy.revoke(&Token::access(jti).sign(&key)).await;
    }
    let entries = revoxy.metric("revoxy_revocation_view_entries").await;
    assert!((entries - 2.0).abs() < 0.5, "{entries}");
    lint(&revoxy).await;
}

#[tokio::test]
async fn neither_log_nor_metrics_show_a_token_or_whom_it_names() {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    let mut redis = Redis::start(&scratch).await;
    let config = Config::trusting(&key, &scratch).store(redis.store());
    let revoxy = Revoxy::start(&scratch, &config).await;
    let checks = revoxy.checks().await;
    let token = |jti: &str| {
        let token = Token::access(jti).with("sub", "sub-marker");
        let token = token.with("sid", "sid-marker").with("azp", "azp-marker");
        token.header("kid", "kid-marker")
    };
    let stranger = SigningKey::generate(Algorithm::ES256);
    let good = token("jti-marker").sign(&key);
    let tokens = [
        good.clone(),
        token("jti-marker-2").with("exp", now() - 3600).sign(&key),
        token("jti-marker-3").with("iss", "iss-marker").sign(&key),
        token("jti-marker-4").with("aud", "aud-marker").sign(&key),
        token("jti-marker-5").with("type", "type-marker").sign(&key),
        token("jti-marker-6").sign(&stranger),
        "garbage-marker".to_owned(),
    ];
    let () = redis.run(&["SADD", "revoxy:jti:shop:jti-marker", "x"]);
    let ask_all = async || {
        for token in &tokens {
            checks.bearer(token).await;
            checks.ask(Ask::bearer(token).policy("policy-marker")).await;
            let path = "/path-marker?query-marker";
            checks
                .ask(Ask::bearer(token).to("GET", "host-marker", path))
                .await;
            revoxy.post_revoke(format!("token={token}")).await;
        }
    };
    ask_all().await;
    let _: u64 = redis.run(&["DEL", "revoxy:jti:shop:jti-marker"]);
    ask_all().await;
    assert_eq!(checks.bearer(&good).await.reason(), "revoked");
    redis.kill();
    ask_all().await;
    let (_, metrics) = revoxy.get("/metrics").await;
    let log = revoxy.log().await;
    assert!(log.contains("\"reason\":\"revoked\""), "it does log: {log}");
    for text in [&metrics, &log] {
        assert!(!text.contains("marker"), "{text}");
        for token in &tokens {
            for part in token.split('.') {
                assert!(!text.contains(part), "{part} in {text}");
            }
        }
    }
}
