//! The same over PostgreSQL, whose notifications anybody may forge.

use std::sync::Arc;

use jsonwebtoken::Algorithm;
use serde_json::json;

use super::Replica;
use crate::support::{
    Admin, Config, Postgres, Revoxy, Scratch, SigningKey, Token, admin, eventually,
};

async fn replica(config: &Config, scratch: &Scratch) -> Replica {
    let revoxy = Revoxy::start(scratch, config).await;
    Replica {
        checks: revoxy.checks().await,
        admin: Admin::of(&revoxy),
        revoxy,
    }
}

#[tokio::test]
async fn an_allow_list_and_an_inventory_are_kept_in_postgresql() {
    let scratch = Scratch::new();
    let postgres = Postgres::start(&scratch).await;
    let key = Arc::new(SigningKey::generate(Algorithm::ES256));
    let config = Config::trusting(&key, &scratch)
        .store(postgres.store())
        .revocation("mode: allow_list")
        .revocation("note_tokens: true")
        .section(&admin::section(&scratch));
    let (one, two) = (
        replica(&config, &scratch).await,
        replica(&config, &scratch).await,
    );
    let token = |jti: &str| Token::access(jti).sign(&key);
    let (a, b, unknown) = (token("a"), token("b"), token("unknown"));
    one.is(&a, "revoked").await;
    one.admin.register(&a).await;
    two.is(&a, "ok").await;
    two.admin.register(&b).await;
    one.is(&b, "ok").await;
    // From the view as well: nothing is asked any more.
    let asked = "revoxy_revocation_lookup_duration_seconds_count";
    for (replica, token) in [(&one, &a), (&one, &b), (&two, &a), (&two, &b)] {
        eventually("an entry of the view", async || {
            let before = replica.revoxy.metric(asked).await;
            replica.is(token, "ok").await;
            (replica.revoxy.metric(asked).await < before + 0.5).then_some(())
        })
        .await;
    }
    one.is(&unknown, "revoked").await;
    let listed = |revoked: bool| {
        let token = |id: &str, revoked| (id.to_owned(), revoked);
        vec![
            token("a", revoked),
            token("b", false),
            token("unknown", true),
        ]
    };
    // Seen, but not on the list.
    eventually("the notes", async || {
        (two.admin.list("sub=alice").await == listed(false)).then_some(())
    })
    .await;
    one.admin
        .revoke(json!({ "issuer": "shop", "sub": "alice", "id": "a" }))
        .await;
    one.is(&a, "revoked").await;
    two.becomes(&a, "revoked").await;
    assert_eq!(two.admin.list("sub=alice").await, listed(true));
    two.admin
        .unrevoke(json!({ "issuer": "shop", "id": "a" }))
        .await;
    one.becomes(&a, "ok").await;

    // A forged notification lets nobody in.
    let forged = "SELECT pg_notify('revoxy_' || md5('public'), 'put (0,1) registered ' \
        || encode(sha256('revoxy:registered:jti:shop:unknown'), 'hex') || ' all 9223372036854775807 0')";
    let pushes = "revoxy_revocation_feed_pushes_total";
    let before = one.revoxy.metric(pushes).await;
    postgres.run(forged).await;
    eventually("the notification", async || {
        (one.revoxy.metric(pushes).await > before + 0.5).then_some(())
    })
    .await;
    for _ in 0..20 {
        one.is(&unknown, "revoked").await;
    }

    // Who is struck off the list is refused, and takes nobody along.
    postgres
        .run("DELETE FROM revocations WHERE key = 'revoxy:registered:jti:shop:b'")
        .await;
    for replica in [&one, &two] {
        replica.becomes(&b, "revoked").await;
        replica.is(&a, "ok").await;
    }
    postgres.run("TRUNCATE revocations").await;
    for replica in [&one, &two] {
        replica.becomes(&a, "revoked").await;
    }
    one.admin.register(&b).await;
    two.is(&b, "ok").await;
}
