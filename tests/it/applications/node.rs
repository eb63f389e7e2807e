//! Express: `SET blacklist:<jti> 1 EX <what is left of the token>` at logout.

use super::{Kind, Read, Scene, jti};

async fn log_in_use_log_out(read: Read, lookups: &str) {
    let scene = Scene::set(Kind::Node, read, lookups).await;
    let (session, other) = (scene.log_in().await, scene.log_in().await);
    scene.may_use(&session).await;
    scene.may_use(&other).await;
    scene.logs_out(&session).await;
    let key = format!("blacklist:{}", jti(&session.access));
    let (value, life) = scene.stored(&key);
    assert_eq!(value.as_deref(), Some("1"));
    assert!((3500..=3600).contains(&life), "{life}");
    scene.refuses_access(&session).await;
    scene.may_use(&other).await;
    scene.knows_by(read).await;
    let () = scene.redis.run(&["DEL", &key]);
    scene.allows_soon(&session).await;
}

#[tokio::test]
async fn who_logs_out_in_express_is_refused_by_the_view() {
    log_in_use_log_out(Read::View, "{ preset: generic-blacklist }").await;
}

#[tokio::test]
async fn who_logs_out_in_express_is_refused_by_the_store() {
    let key = "{ key: \"blacklist:{jti}\", match: exists }";
    log_in_use_log_out(Read::Store, key).await;
}
