//! flask-jwt-extended 4: `SET <jti> "" EX <life of an access token>` at logout.

use reqwest::Method;

use super::{Kind, Read, Scene, Session, jti, started};

const PRESET: &str = "{ preset: flask-jwt-extended }";

async fn log_in_use_log_out(read: Read) {
    let scene = Scene::set(Kind::Flask4, read, PRESET).await;
    let (session, other) = (scene.log_in().await, scene.log_in().await);
    scene.may_use(&session).await;
    scene.may_use(&other).await;
    scene.logs_out(&session).await;
    let (value, life) = scene.stored(&jti(&session.access));
    assert_eq!(value.as_deref(), Some(""));
    assert!((3500..=3600).contains(&life), "{life}");
    scene.refuses_access(&session).await;
    scene.may_use(&other).await;
    scene.knows_by(read).await;

    // The refresh token is another one, and still good until it is logged out too.
    let (path, token) = ("/refresh", &session.refresh);
    let seen = scene.passes(Method::POST, path, token).await;
    let renewed = seen.body["access_token"].as_str().unwrap();
    scene.passes(Method::GET, "/protected", renewed).await;
    scene.passes(Method::DELETE, "/logout2", token).await;
    scene.refuses(Method::POST, path, token, "refresh").await;
    scene.passes(Method::POST, path, &other.refresh).await;
    scene.passes(Method::GET, "/protected", renewed).await;

    // What was deleted was taken back.
    let () = scene.redis.run(&["DEL", &jti(&session.access)]);
    scene.allows_soon(&session).await;
}

#[tokio::test]
async fn who_logs_out_in_flask_is_refused_by_the_view() {
    log_in_use_log_out(Read::View).await;
}

#[tokio::test]
async fn who_logs_out_in_flask_is_refused_by_the_store() {
    log_in_use_log_out(Read::Store).await;
}

#[tokio::test]
async fn who_logged_out_before_there_was_a_revoxy_stays_logged_out() {
    let (app, redis, scratch) = started(Kind::Flask4).await;
    let gone = Session::of(&app.call(Method::POST, "/login", None).await);
    let here = Session::of(&app.call(Method::POST, "/login", None).await);
    let token = Some(gone.access.as_str());
    app.call(Method::DELETE, "/logout", token).await;
    let scene = Scene::around(app, redis, scratch, Read::View, PRESET).await;
    scene.refuses_access(&gone).await;
    scene.may_use(&here).await;
}
