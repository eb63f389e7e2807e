//! Lookups that are about the tokens of some issuers only.

use jsonwebtoken::Algorithm;

use super::{STORE, VIEW};
use crate::support::tokens::AUDIENCE;
use crate::support::{Config, Redis, Revoxy, Scratch, SigningKey, Token, eventually};

#[tokio::test]
async fn a_lookup_says_nothing_of_the_tokens_of_other_issuers() {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::EdDSA));
    let redis = Redis::start(&scratch).await;
    const BOOKS: &str = "https://books.example";
    for read in [VIEW, STORE] {
        let mut config = Config::trusting(&key, &scratch).store(redis.store());
        config.issuer = format!(
            "  - name: books
    issuer: {BOOKS}
    audiences: [{AUDIENCE}]
    algorithms: [{}]
    keys: {}
",
            config.algorithms, config.keys
        );
        let config = config
            .revocation("lookups: [{ key: \"b:{jti}\", issuers: [books] }, { key: \"all:{jti}\" }]")
            .revocation(read);
        let revoxy = Revoxy::start(&scratch, &config).await;
        let checks = revoxy.checks().await;
        let of_shop = |jti| Token::access(jti).sign(&key);
        let of_books = |jti| Token::access(jti).with("iss", BOOKS).sign(&key);
        for (key, jti) in [("b:1", "1"), ("all:2", "2")] {
            let () = redis.run(&["SET", key, "", "EX", "60"]);
            eventually("a denial", async || {
                (checks.bearer(&of_books(jti)).await.reason() == "revoked").then_some(())
            })
            .await;
        }
        assert_eq!(checks.bearer(&of_shop("1")).await.reason(), "ok");
        assert_eq!(checks.bearer(&of_shop("2")).await.reason(), "revoked");
        assert_eq!(checks.bearer(&of_books("3")).await.reason(), "ok");
    }
}
