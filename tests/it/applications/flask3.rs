//! flask-jwt-extended 3: every token is in Redis, `false` from its issue and `true` from its logout; one that is not there
//! counts as revoked.

use reqwest::Method;

use super::{Application, Kind, Read, SECRET, Scene, Session, jti};

const PRESET: &str = "{ preset: flask-jwt-extended-3 }";

async fn log_in_use_log_out(read: Read) {
    let scene = Scene::set(Kind::Flask3, read, PRESET).await;
    // What was written a moment ago is not missing.
    for _ in 0..20 {
        let session = scene.log_in().await;
        scene.may_use(&session).await;
    }
    let (session, other) = (scene.log_in().await, scene.log_in().await);
    let name = jti(&session.access);
    assert_eq!(scene.stored(&name).0.as_deref(), Some("false"));
    scene.logs_out(&session).await;
    assert_eq!(scene.stored(&name).0.as_deref(), Some("true"));
    scene.refuses_access(&session).await;
    scene.may_use(&other).await;
    scene.knows_by(read).await;

    let path = format!("/unrevoke/{name}");
    scene.app.call(Method::POST, &path, None).await;
    scene.allows_soon(&session).await;
    scene.may_use(&session).await;

    let () = scene.redis.run(&["DEL", &name]);
    scene.refuses_access(&session).await;
    scene.may_use(&other).await;

    let (path, token) = ("/refresh", &session.refresh);
    let seen = scene.passes(Method::POST, path, token).await;
    let renewed = seen.body["access_token"].as_str().unwrap();
    scene.passes(Method::GET, "/protected", renewed).await;
    scene.passes(Method::DELETE, "/logout2", token).await;
    scene.refuses(Method::POST, path, token, "refresh").await;
    scene.passes(Method::POST, path, &other.refresh).await;
}

#[tokio::test]
async fn who_logs_out_in_flask_3_is_refused_by_the_view() {
    log_in_use_log_out(Read::View).await;
}

#[tokio::test]
async fn who_logs_out_in_flask_3_is_refused_by_the_store() {
    log_in_use_log_out(Read::Store).await;
}

#[tokio::test]
async fn a_token_that_another_instance_has_issued_is_refused() {
    let scene = Scene::set(Kind::Flask3, Read::View, PRESET).await;
    // The same secret, but a list in another database.
    let elsewhere = scene.redis.url().replace("/0", "/1");
    let (mine, scratch) = (scene.log_in().await, &scene.scratch);
    let stranger = Application::start(Kind::Flask3, SECRET, &elsewhere, scratch).await;
    let session = Session::of(&stranger.call(Method::POST, "/login", None).await);
    scene.refuses_access(&session).await;
    scene.may_use(&mine).await;
}
