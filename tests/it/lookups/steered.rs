//! A user who chooses a claim chooses a key. What stands under it is nobody else's misfortune.

use super::{STORE, Scene, VIEW};
use crate::support::Token;

/// More than open the breaker.
const MANY: usize = 20;

/// A user looks up a key that Redis cannot read as asked, again and again. Checks of others are answered as before.
async fn nobody_else_suffers(scene: &Scene, steered: &str) {
    let token = |sub: &str| scene.sign(Token::access("x").with("sub", sub));
    let (revoked, good) = (token("revoked"), token("good"));
    let revocation = ["SET", "revoxy:sub:shop:revoked", "", "EX", "60"];
    scene.run(&revocation);
    scene.becomes(&revoked, "revoked").await;
    scene.is(&good, "ok").await;
    for _ in 0..MANY {
        scene.is(steered, "fail_open").await;
        scene.is(&revoked, "revoked").await;
        scene.is(&good, "ok").await;
    }
    for _ in 0..MANY {
        scene.is(steered, "fail_open").await;
    }
    scene.is(&revoked, "revoked").await;
    scene.is(&good, "ok").await;
    let errors = |error| format!("revoxy_revocation_lookup_errors_total{{error=\"{error}\"}}");
    for (error, expected) in [("unreadable", 2 * MANY), ("breaker_open", 0), ("failed", 0)] {
        let counted = scene.revoxy.metric(&errors(error)).await;
        assert!(
            (counted - expected as f64).abs() < 0.5,
            "{error}: {counted}"
        );
    }
    assert!(scene.revoxy.metric("revoxy_revocation_store_up").await > 0.5);
}

#[tokio::test]
async fn a_key_of_another_type_does_not_have_the_store_left_alone() {
    let lookup = "[{ key: \"{sub}\", match: { equals: [\"1\"] } }]";
    let scene = Scene::set(lookup, &[STORE, "on_unavailable: allow"]).await;
    scene.run(&["RPUSH", "celery", "job"]);
    let steered = scene.sign(Token::access("x").with("sub", "celery"));
    nobody_else_suffers(&scene, &steered).await;
}

#[tokio::test]
async fn a_set_of_another_type_does_not_have_the_store_left_alone() {
    let lookup = "[{ key: \"s:{sub}\", match: { member: \"{jti}\" } }]";
    let scene = Scene::set(lookup, &[VIEW, "on_unavailable: allow"]).await;
    scene.run(&["SET", "s:celery", "job"]);
    let steered = scene.sign(Token::access("x").with("sub", "celery"));
    nobody_else_suffers(&scene, &steered).await;
}

#[tokio::test]
async fn a_key_that_may_not_be_read_does_not_have_the_store_left_alone() {
    let lookup = "[{ key: \"{sub}\", match: { equals: [\"1\"] } }]";
    let scene = Scene::set(lookup, &[STORE, "on_unavailable: allow"]).await;
    let allowed = ["~revoxy:*", "%R~revoked", "%R~good"];
    let user = ["ACL", "SETUSER", "default", "resetkeys"];
    scene.run(&[&user[..], &allowed].concat());
    let steered = scene.sign(Token::access("x").with("sub", "celery"));
    nobody_else_suffers(&scene, &steered).await;
}
