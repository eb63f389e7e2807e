//! Not ready before the view is complete: the first check already knows the last key.

use jsonwebtoken::Algorithm;

use crate::support::{Config, Redis, Revoxy, Scratch, SigningKey, Token};

const REVOKED: usize = 200_000;

#[tokio::test]
async fn the_first_check_knows_every_revocation_of_a_long_list() {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    let redis = Redis::start(&scratch).await;
    let fill = "for i = 1, tonumber(ARGV[1]) do \
                redis.call('SET', 'revoxy:jti:shop:' .. i, '', 'EX', 3600 + i) end";
    let () = redis.run(&["EVAL", fill, "0", &REVOKED.to_string()]);
    let last = last_of_a_scan(&redis);
    let config = Config::trusting(&key, &scratch).store(redis.store());
    let revoxy = Revoxy::start(&scratch, &config).await;
    let checks = revoxy.checks().await;
    let jti = last.strip_prefix("revoxy:jti:shop:").unwrap();
    let answer = checks.bearer(&Token::access(jti).sign(&key)).await;
    assert_eq!(answer.verdict(), (401, "revoked"));
    for n in (1..=REVOKED).step_by(REVOKED / 50) {
        let token = Token::access(&n.to_string()).sign(&key);
        assert_eq!(checks.bearer(&token).await.verdict(), (401, "revoked"));
    }
    let good = Token::access("0").sign(&key);
    assert!(checks.bearer(&good).await.allows());
    let log = revoxy.log().await;
    let place = |message: &str| {
        log.find(message)
            .unwrap_or_else(|| panic!("{message}: {log}"))
    };
    let complete = place("the revocation view is complete");
    assert!(complete < place("\"message\":\"ready\""), "{log}");
    assert_eq!(revoxy.get("/readyz").await.0, 200);
    let entries = revoxy.metric("revoxy_revocation_view_entries").await;
    assert!((entries - 200_000.0).abs() < 0.5, "{entries}");
    let bytes = revoxy.metric("revoxy_revocation_view_bytes").await;
    assert!(bytes / entries <= 64.0, "{bytes}");
}

fn last_of_a_scan(redis: &Redis) -> String {
    let (mut cursor, mut last) = ("0".to_owned(), None);
    loop {
        let scan = ["SCAN", &cursor, "MATCH", "revoxy:*", "COUNT", "1000"];
        let (next, mut keys): (String, Vec<String>) = redis.run(&scan);
        last = keys.pop().or(last);
        if next == "0" {
            return last.unwrap();
        }
        cursor = next;
    }
}
