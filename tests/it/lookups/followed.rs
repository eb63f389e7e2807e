//! The view of applications' keys: who is asked, and what becomes of it when Redis forgets.

use super::{Asking, STORE, Scene, VIEW, said_by};
use crate::support::{Redis, Scratch, Token, eventually, tokens};

const ASKED: &str = "revoxy_revocation_lookup_duration_seconds_count";
const RESTORED: &str = "revoxy_revocations_restored_total";
const UNREADABLE: &str = "revoxy_revocation_lookup_unreadable_total";
const HEALED: &str = "revoxy_revocation_view_healed_total";

/// A deny list, cutoffs, values and an allow-list.
const LOOKUPS: &str = "[{ key: \"bl:{jti}\" }, { key: \"u:{sub}\", match: { issued_before: auto } }, \
                       { key: \"s:{jti}\", match: { equals: [\"1\"] } }, \
                       { key: \"ok:{jti}\", match: { equals: [\"0\"] }, missing: revoked }]";

/// Puts tokens on the allow-list, and waits until they are let through.
async fn registered(scene: &Scene, jtis: &[&str]) {
    for jti in jtis {
        scene.run(&["SET", &format!("ok:{jti}"), "1", "EX", "600"]);
        scene.becomes(&scene.token(jti), "ok").await;
    }
}

#[tokio::test]
async fn a_view_answers_alone_where_it_holds_everything() {
    let scene = Scene::set(LOOKUPS, &[VIEW]).await;
    scene.run(&["SET", "ok:good", "1"]);
    scene.run(&["SET", "ok:bad", "1"]);
    scene.run(&["SET", "bl:bad", ""]);
    scene.run(&["SET", "u:alice", &(tokens::now() - 50).to_string()]);
    let (good, bad) = (scene.token("good"), scene.token("bad"));
    scene.becomes(&good, "ok").await;
    scene.becomes(&bad, "revoked").await;
    let old = Token::access("good").with("iat", tokens::now() - 60);
    let old = scene.sign(old);
    scene.becomes(&old, "revoked").await;
    let before = scene.revoxy.metric(ASKED).await;
    for _ in 0..50 {
        scene.is(&good, "ok").await;
        scene.is(&bad, "revoked").await;
        scene.is(&old, "revoked").await;
    }
    assert!(scene.revoxy.metric(ASKED).await < before + 0.5);
    // What is on no list may have been put there a moment ago.
    scene.is(&scene.token("unknown"), "revoked").await;
    assert!(scene.revoxy.metric(ASKED).await > before + 0.5);
}

#[tokio::test]
async fn what_no_view_can_hold_is_asked_on_every_check_and_said() {
    let lookup = "[{ key: revoked, match: { member: \"{jti}\" } }]";
    let scene = Scene::set(lookup, &[VIEW]).await;
    let token = scene.token("1");
    let before = scene.revoxy.metric(ASKED).await;
    for _ in 0..5 {
        scene.is(&token, "ok").await;
    }
    assert!(scene.revoxy.metric(ASKED).await > before + 4.5);
    let note = "of revocation.lookups cannot be kept in the view";
    assert!(scene.revoxy.log().await.contains(note));
    let config = scene.scratch.file("revoxy.yaml");
    for command in ["check-config", "doctor"] {
        let said = said_by(&scene.scratch, command, &config).await;
        assert!(said.contains(note), "{command}: {said}");
    }
}

#[tokio::test]
async fn a_key_s_end_is_the_revocation_s_end() {
    for read in [VIEW, STORE] {
        let scene = Scene::set("[{ key: \"bl:{jti}\" }]", &[read]).await;
        scene.run(&["SET", "bl:1", "", "PX", "1500"]);
        scene.becomes(&scene.token("1"), "revoked").await;
        scene.becomes(&scene.token("1"), "ok").await;
        scene.nothing_was_healed().await;
    }
}

#[tokio::test]
async fn a_list_without_a_prefix_is_followed_among_other_keys() {
    let scene = Scene::set(
        "[{ preset: flask-jwt-extended }]",
        &[VIEW, "compare_every: 1s"],
    )
    .await;
    for n in 0..1500 {
        scene.run(&["SET", &format!("cache-{n}"), "x", "EX", "600"]);
    }
    scene.run(&["LPUSH", "queue", "job"]);
    scene.run(&["SET", "a b\n", "x"]);
    scene.run(&["SET", "1", "", "EX", "60"]);
    scene.becomes(&scene.token("1"), "revoked").await;
    scene.becomes(&scene.token("queue"), "revoked").await;
    scene.becomes(&scene.token("cache-1499"), "revoked").await;
    scene.is(&scene.token("2"), "ok").await;
    scene.run(&["DEL", "1"]);
    scene.becomes(&scene.token("1"), "ok").await;
    scene.nothing_was_healed().await;
}

#[tokio::test]
async fn a_value_of_another_type_revokes_and_is_counted() {
    let lookup = "[{ key: \"s:{jti}\", match: { equals: [\"1\"] } }]";
    let scene = Scene::set(lookup, &[VIEW]).await;
    scene.run(&["HSET", "s:a", "a", "b"]);
    scene.becomes(&scene.token("a"), "revoked").await;
    assert!(scene.revoxy.metric(UNREADABLE).await > 0.5);
    scene.is(&scene.token("b"), "ok").await;
    scene.run(&["DEL", "s:a"]);
    scene.becomes(&scene.token("a"), "ok").await;
}

#[tokio::test]
async fn a_redis_that_lost_its_data_is_given_the_deny_lists_back_and_no_allow_list() {
    let scratch = Scratch::new();
    let redis = Redis::durable(&scratch).await;
    let mut scene = Scene::with(scratch, redis, LOOKUPS, &[VIEW]).await;
    registered(&scene, &["good", "black", "valued", "cut"]).await;
    scene.run(&["SET", "bl:black", "", "EX", "600"]);
    scene.run(&["SET", "s:valued", "1", "EX", "600"]);
    let cut = Token::access("cut").with("sub", "bob");
    let cut = scene.sign(cut.with("iat", tokens::now() - 60));
    scene.run(&[
        "SET",
        "u:bob",
        &(tokens::now() - 50).to_string(),
        "EX",
        "600",
    ]);
    scene.becomes(&cut, "revoked").await;
    for jti in ["black", "valued"] {
        scene.becomes(&scene.token(jti), "revoked").await;
    }
    scene.redis.kill();
    scene.redis.restart_empty(&scene.scratch).await;
    eventually("restored revocations", async || {
        (scene.revoxy.metric(RESTORED).await > 2.5).then_some(())
    })
    .await;
    // They have to be registered anew: nobody vouches for a list that is lost.
    scene.becomes(&scene.token("good"), "revoked").await;
    registered(&scene, &["good"]).await;
    // What is revoked is so for everybody, whoever asks and however.
    let plain = scene.another(LOOKUPS, &[STORE]).await;
    let newcomer = scene.another(LOOKUPS, &[VIEW]).await;
    for jti in ["cut", "black", "valued"] {
        scene.run(&["SET", &format!("ok:{jti}"), "1", "EX", "600"]);
    }
    for checks in [&scene.checks, &newcomer.checks, &plain.checks] {
        for token in [&scene.token("black"), &scene.token("valued"), &cut] {
            assert_eq!(checks.bearer(token).await.reason(), "revoked");
        }
    }
    scene
        .becomes(&scene.sign(Token::access("cut").with("sub", "bob")), "ok")
        .await;
    assert!(scene.revoxy.metric(RESTORED).await < 3.5);
}

#[tokio::test]
async fn deleting_takes_back_where_it_is_honoured() {
    let scene = Scene::set(LOOKUPS, &[VIEW, "deletions: honour"]).await;
    registered(&scene, &["black", "valued"]).await;
    scene.run(&["SET", "bl:black", ""]);
    scene.run(&["SET", "s:valued", "1"]);
    for jti in ["black", "valued"] {
        scene.becomes(&scene.token(jti), "revoked").await;
    }
    scene.run(&["DEL", "bl:black"]);
    scene.run(&["SET", "s:valued", "0"]);
    for jti in ["black", "valued"] {
        scene.becomes(&scene.token(jti), "ok").await;
    }
    scene.run(&["SET", "bl:black", ""]);
    scene.becomes(&scene.token("black"), "revoked").await;
    scene.run(&["FLUSHALL"]);
    registered(&scene, &["black", "valued"]).await;
    scene.nothing_was_healed().await;
    assert!(scene.revoxy.metric(RESTORED).await < 0.5);
}

#[tokio::test]
async fn deleting_takes_nothing_back_where_it_is_ignored_but_ends_a_registration() {
    let scene = Scene::set(LOOKUPS, &[VIEW, "deletions: ignore"]).await;
    registered(&scene, &["black", "valued", "listed"]).await;
    scene.run(&["SET", "bl:black", "", "EX", "600"]);
    scene.run(&["SET", "s:valued", "1", "EX", "600"]);
    for jti in ["black", "valued"] {
        scene.becomes(&scene.token(jti), "revoked").await;
    }
    scene.run(&["DEL", "bl:black"]);
    scene.run(&["SET", "s:valued", "0", "EX", "600"]);
    eventually("restored revocations", async || {
        (scene.revoxy.metric(RESTORED).await > 1.5).then_some(())
    })
    .await;
    for jti in ["black", "valued"] {
        scene.is(&scene.token(jti), "revoked").await;
    }
    scene.run(&["DEL", "ok:listed"]);
    scene.becomes(&scene.token("listed"), "revoked").await;
    assert!(scene.revoxy.metric(RESTORED).await < 2.5);
}

#[tokio::test]
async fn what_was_pushed_is_not_counted_as_kept_silent_about() {
    let scene = Scene::set(LOOKUPS, &[VIEW, "compare_every: 1s"]).await;
    for round in 0..40 {
        for n in 0..20 {
            let name = |kind: &str| format!("{kind}:{round}-{n}");
            scene.run(&["SET", &name("bl"), "", "EX", "600"]);
            scene.run(&["SET", &name("s"), if n % 2 == 0 { "1" } else { "0" }]);
            scene.run(&["SET", &name("ok"), if n % 3 == 0 { "1" } else { "0" }]);
            scene.run(&["UNLINK", &name("bl"), &name("ok")]);
            scene.run(&["SET", &name("s"), "0", "EX", "600"]);
        }
    }
    scene.nothing_was_healed().await;
}

#[tokio::test]
async fn a_swapped_database_is_found_by_the_comparison_and_counted() {
    let scene = Scene::set(LOOKUPS, &[VIEW, "compare_every: 1s"]).await;
    registered(&scene, &["black", "listed"]).await;
    scene.run(&["SET", "bl:black", ""]);
    scene.becomes(&scene.token("black"), "revoked").await;
    let other = redis::Client::open(scene.redis.url_of_database(1)).unwrap();
    let mut other = other.get_connection().unwrap();
    for name in ["ok:black", "ok:new", "bl:new"] {
        let () = redis::cmd("SET")
            .arg(name)
            .arg("1")
            .query(&mut other)
            .unwrap();
    }
    scene.run(&["SWAPDB", "0", "1"]);
    scene.becomes(&scene.token("new"), "revoked").await;
    scene.becomes(&scene.token("listed"), "revoked").await;
    scene.becomes(&scene.token("black"), "ok").await;
    assert!(scene.revoxy.metric(HEALED).await > 0.5);
}

#[tokio::test]
async fn a_user_with_the_least_rights_can_look_everything_up() {
    let scratch = Scratch::new();
    let redis = Redis::start(&scratch).await;
    let password = scratch.write("password", "secret\n");
    let commands = "+ping +info +client|tracking +scan +mget +get +pttl +exists +set +del +multi +exec +sismember +hmget";
    let keys = "~revoxy:* %R~bl:* %R~jwt-blacklist:* %R~revoked";
    let rule = format!("ACL SETUSER revoxy reset on >secret {keys} resetchannels -@all {commands}");
    let rule: Vec<&str> = rule.split(' ').collect();
    let () = redis.run(&rule);
    let lookups = "[{ key: \"bl:{jti}\" }, { preset: express-jwt-blacklist }, \
                   { key: revoked, match: { member: \"{jti}\" } }]";
    for read in [VIEW, STORE] {
        let user = format!("username: revoxy, password_file: {password:?}");
        let asking = Asking::start(&scratch, &redis, &user, lookups, &[read]).await;
        asking.becomes(&asking.token("1"), "ok").await;
        for (jti, write) in [
            ("2", &["SET", "bl:2", ""][..]),
            ("3", &["SADD", "revoked", "3"]),
            ("4", &["HSET", "jwt-blacklist:alice", "purge", "9999999999"]),
        ] {
            let _: redis::Value = redis.run(write);
            asking.becomes(&asking.token(jti), "revoked").await;
        }
        let () = redis.run(&["FLUSHALL"]);
    }
}
