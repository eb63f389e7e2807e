//! Keys that somebody wrote by hand and that do not say what was meant: told and counted, and named by `doctor`.

use jsonwebtoken::Algorithm;

use crate::support::server::run_with;
use crate::support::{Config, Redis, Revoxy, Scratch, SigningKey, Token, eventually};

const KEYS: [(&str, &str, &str); 4] = [
    ("revoxy:jit:shop:1f0e-secret", "", "unknown_kind"),
    ("revoxy:jti:shopp:1f0e-secret", "", "unknown_issuer"),
    ("revoxy:jti:shop:1f0e-secret", "yes", "unreadable_value"),
    (
        "revoxy:sub:shop:1f0e-secret",
        r#"{"not_before":99999999999}"#,
        "future_cutoff",
    ),
];

#[tokio::test]
async fn a_key_that_must_be_a_mistake_is_told_and_counted_once_and_named_by_doctor() {
    let scratch = Scratch::new();
    let (redis, key) = (
        Redis::durable(&scratch).await,
        SigningKey::generate(Algorithm::ES256),
    );
    let config = Config::trusting(&key, &scratch).store(redis.store());
    let revoxy = Revoxy::start(&scratch, &config).await;
    for _ in 0..2 {
        for (name, value, problem) in KEYS {
            let () = redis.run(&["SET", name, value]);
            let metric = format!("revoxy_revocation_keys_suspect_total{{problem=\"{problem}\"}}");
            eventually(problem, async || {
                (revoxy.metric(&metric).await > 0.5).then_some(())
            })
            .await;
        }
    }
    // Redis pushes in order: when this is known, so is all that was written before.
    let checks = revoxy.checks().await;
    let last = Token::access("last").sign(&key);
    let () = redis.run(&["SET", "revoxy:jti:shop:last", ""]);
    eventually("the last key", async || {
        (checks.bearer(&last).await.reason() == "revoked").then_some(())
    })
    .await;
    for (_, _, problem) in KEYS {
        let metric = format!("revoxy_revocation_keys_suspect_total{{problem=\"{problem}\"}}");
        assert!(revoxy.metric(&metric).await < 1.5, "{problem}");
    }
    let said = revoxy.log().await;
    for (_, _, problem) in KEYS {
        assert_eq!(said.matches(problem).count(), 1, "{problem}: {said}");
    }
    assert!(!said.contains("1f0e-secret"), "{said}");
    let (_, said) = run_with(&scratch, &["doctor"], &config.yaml()).await;
    for (_, _, problem) in KEYS {
        let part = format!("keys that must be a mistake ({problem}): 1");
        assert!(said.contains(&part), "{part}: {said}");
    }
    // Whoever asks by hand is told which keys, and no log of a pipeline is.
    for (key, _, problem) in KEYS {
        let line = format!("key: {problem}: {key}\n");
        assert!(said.contains(&line), "{line}: {said}");
    }
    let command = ["check-config", "--connect"];
    let (_, said) = run_with(&scratch, &command, &config.yaml()).await;
    assert!(said.contains("keys that must be a mistake"), "{said}");
    assert!(!said.contains("1f0e-secret"), "{said}");
}
