//! A list of a subject's tokens without any help from the issuer: those that were seen.

use std::time::Instant;

use jsonwebtoken::Algorithm;
use rustix::process::Signal;
use serde_json::json;

use super::{Replica, Scene};
use crate::support::{Ask, Checks, Mood, Proxy, Redis, Scratch, SigningKey, Token, eventually};

const NOTE: &[&str] = &["note_tokens: true"];
const NOTED: &str = "revoxy_tokens_noted_total{result=\"noted\"}";
const DROPPED: &str = "revoxy_tokens_noted_total{result=\"dropped\"}";
const OVERSIZED: &str = "revoxy_tokens_noted_total{result=\"oversized\"}";

async fn lists(replica: &Replica, query: &str, ids: &[&str]) {
    eventually(&format!("{ids:?} in the list"), async || {
        let listed = replica.admin.list(query).await;
        let listed: Vec<&str> = listed.iter().map(|(id, _)| id.as_str()).collect();
        (listed == ids).then_some(())
    })
    .await;
}

#[tokio::test]
async fn tokens_that_are_used_are_listed_and_revoked_without_registration() {
    let scene = Scene::set(NOTE).await;
    let (one, two) = (scene.replica().await, scene.replica().await);
    let laptop = Token::access("laptop").with("sid", "s1").sign(&scene.key);
    let (phone, tablet) = (scene.token("phone"), scene.token("tablet"));
    let stranger = Token::access("b").with("sub", "bob").sign(&scene.key);
    let forged = Token::access("forged").sign(&SigningKey::generate(Algorithm::ES256));
    for _ in 0..10 {
        for token in [&laptop, &phone, &stranger] {
            one.is(token, "ok").await;
        }
        for token in [&laptop, &tablet] {
            two.is(token, "ok").await;
        }
        one.is(&forged, "bad_signature").await;
    }
    lists(&two, "sub=alice", &["laptop", "phone", "tablet"]).await;
    lists(&one, "sub=bob", &["b"]).await;
    // Once a token and replica.
    eventually("all notes", async || {
        let (one, two) = (
            one.revoxy.metric(NOTED).await,
            two.revoxy.metric(NOTED).await,
        );
        assert!(one < 3.5 && two < 2.5);
        (one > 2.5 && two > 1.5).then_some(())
    })
    .await;
    let page = one.admin.get("/tokens?issuer=shop&sub=alice").await;
    for token in page.body["tokens"].as_array().unwrap() {
        assert_eq!(token["registered"], false);
        assert_eq!(token["type"], "access");
        assert_eq!(token["revoked"], false);
    }

    let named = json!({ "issuer": "shop", "sub": "alice", "id": "laptop", "actor": "alice" });
    assert_eq!(two.admin.revoke(named).await["revoked"], 1);
    two.is(&laptop, "revoked").await;
    one.becomes(&laptop, "revoked").await;
    let value: String = scene.redis.run(&["GET", "revoxy:jti:shop:laptop"]);
    assert!(value.contains("\"actor\":\"alice\""), "{value}");
    let others = json!({
        "issuer": "shop", "sub": "alice", "all": true, "except": ["phone"],
    });
    assert_eq!(one.admin.revoke(others).await["revoked"], 2);
    one.is(&tablet, "revoked").await;
    two.becomes(&tablet, "revoked").await;
    for replica in [&one, &two] {
        replica.is(&phone, "ok").await;
        replica.is(&stranger, "ok").await;
    }
    // Identifiers only, and none of them outside of the list.
    let record: Vec<String> = scene
        .redis
        .run(&["HVALS", "revoxy-tokens:record:{shop:alice}"]);
    assert!(
        record.iter().all(|r| !r.contains("shop.example")),
        "{record:?}"
    );
    for replica in [&one, &two] {
        let said = replica.revoxy.log().await;
        assert!(
            !said.contains("alice") && !said.contains("laptop"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn what_revokes_a_listed_token_is_seen_whichever_key_it_stands_under() {
    let scene = Scene::set(NOTE).await;
    let replica = scene.replica().await;
    let token = Token::access("a").with("sid", "s").with("azp", "app");
    replica
        .is(&token.header("kid", "k").sign(&scene.key), "ok")
        .await;
    lists(&replica, "sub=alice", &["a"]).await;
    for key in [
        "sub:shop:alice",
        "sid:shop:s",
        "client:shop:app",
        "kid:shop:k",
        "iss:shop:all",
    ] {
        let key = format!("revoxy:{key}");
        let () = scene.redis.run(&["SET", &key, "", "EX", "60"]);
        let listed = replica.admin.list("sub=alice").await;
        assert_eq!(listed, [("a".to_owned(), true)], "{key}");
        assert!(replica.admin.list("sub=alice&active=true").await.is_empty());
        let _: u64 = scene.redis.run(&["DEL", &key]);
    }
    assert_eq!(
        replica.admin.list("sub=alice").await,
        [("a".to_owned(), false)]
    );
}

#[tokio::test]
async fn nothing_is_noted_unless_it_is_wanted_or_of_a_type_that_is_not_checked() {
    for lines in [&["note_tokens: false"], &["token_types: [refresh]"]] {
        let scene = Scene::set(lines).await;
        let mut config = scene.config(scene.redis.store());
        if lines[0] != "note_tokens: false" {
            config = config.revocation("note_tokens: true");
        }
        let replica = scene.replica_of(&config).await;
        replica.is(&scene.token("a"), "ok").await;
        if lines[0] != "note_tokens: false" {
            let refresh = Token::refresh("r").sign(&scene.key);
            replica
                .checks
                .ask(Ask::bearer(&refresh).policy("refresh"))
                .await;
            lists(&replica, "sub=alice", &["r"]).await;
        }
        assert!(replica.revoxy.metric(NOTED).await < 1.5);
        let listed = replica.admin.list("sub=alice").await;
        assert!(listed.iter().all(|(id, _)| id != "a"), "{listed:?}");
    }
}

#[tokio::test]
async fn without_a_cache_a_token_is_still_noted_once() {
    let scene = Scene::set(NOTE).await;
    let config = scene.config(scene.redis.store());
    let config = config.section("verification: { cache_entries: 0 }");
    let replica = scene.replica_of(&config).await;
    let (a, b) = (scene.token("a"), scene.token("b"));
    for _ in 0..20 {
        replica.is(&a, "ok").await;
    }
    lists(&replica, "sub=alice", &["a"]).await;
    replica.is(&b, "ok").await;
    lists(&replica, "sub=alice", &["a", "b"]).await;
    let noted = replica.revoxy.metric(NOTED).await;
    assert!((1.5..2.5).contains(&noted), "{noted}");
}

#[tokio::test]
async fn an_oversized_identifier_is_not_noted_and_does_no_harm() {
    let scene = Scene::set(NOTE).await;
    let replica = scene.replica().await;
    let long = Token::access("a").with("sid", "x".repeat(1025));
    let (long, good) = (long.sign(&scene.key), scene.token("good"));
    replica.is(&long, "ok").await;
    replica.is(&good, "ok").await;
    lists(&replica, "sub=alice", &["good"]).await;
    assert!(replica.revoxy.metric(OVERSIZED).await > 0.5);
}

#[tokio::test]
async fn what_was_seen_last_is_noted_at_the_end() {
    let scene = Scene::set(NOTE).await;
    let mut replica = scene.replica().await;
    replica.is(&scene.token("last"), "ok").await;
    replica.revoxy.process.signal(Signal::TERM);
    assert!(replica.revoxy.process.end().await.success());
    let noted: u64 = scene
        .redis
        .run(&["HLEN", "revoxy-tokens:record:{shop:alice}"]);
    assert_eq!(noted, 1);
}

#[tokio::test]
async fn notes_push_nothing() {
    let scene = Scene::set(NOTE).await;
    let replica = scene.replica().await;
    let pushes = "revoxy_revocation_feed_pushes_total";
    let before = replica.revoxy.metric(pushes).await;
    for n in 0..50 {
        replica.is(&scene.token(&n.to_string()), "ok").await;
    }
    eventually("all notes", async || {
        (replica.revoxy.metric(NOTED).await > 49.5).then_some(())
    })
    .await;
    assert!(replica.revoxy.metric(pushes).await < before + 0.5);
}

/// More tokens than the queue and a batch hold.
const FLOOD: usize = 9000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_hangs_neither_slows_checks_nor_fills_memory() {
    let scratch = Scratch::new();
    let redis = Redis::start(&scratch).await;
    let proxy = Proxy::before(redis.port()).await;
    let scene = Scene {
        redis,
        // Quick to sign with.
        key: std::sync::Arc::new(SigningKey::generate(Algorithm::HS256)),
        scratch,
        lines: &["note_tokens: true", "on_unavailable: { serve_stale: 1h }"],
    };
    let replica = scene.replica_of(&scene.config(proxy.store())).await;
    replica.is(&scene.token("first"), "ok").await;
    proxy.set(Mood::Hanging);
    let started = Instant::now();
    let each = FLOOD / 8;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8 {
        let (key, address) = (
            std::sync::Arc::clone(&scene.key),
            replica.revoxy.check.clone(),
        );
        tasks.spawn(async move {
            let checks = Checks::connect(&address).await;
            for n in 0..each {
                let token = Token::access(&format!("{task} {n}")).sign(&key);
                let answer = checks.bearer(&token).await;
                assert!(answer.allows(), "{answer:?}");
            }
        });
    }
    tasks.join_all().await;
    // Were each to wait for the store, it would be minutes.
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
    let dropped = replica.revoxy.metric(DROPPED).await;
    assert!(dropped > 0.5, "{dropped}");
    proxy.set(Mood::Passing);
    let kept = f64::from(u32::try_from(FLOOD).unwrap()) - dropped;
    eventually("the notes that had room", async || {
        (replica.revoxy.metric(NOTED).await > kept - 0.5).then_some(())
    })
    .await;
    let noted: u32 = scene
        .redis
        .run(&["HLEN", "revoxy-tokens:record:{shop:alice}"]);
    assert!(f64::from(noted) > kept - 0.5, "{noted} of {kept}");
}

#[tokio::test]
async fn what_the_store_refuses_costs_nobody_else_a_note_and_is_noted_when_it_is_seen_again() {
    let scene = Scene::set(NOTE).await;
    let config = scene.config(scene.redis.store());
    let config = config.section("verification: { cache_entries: 0 }");
    let replica = scene.replica_of(&config).await;
    let spoiled = "revoxy-tokens:expiry:{shop:bob}";
    let () = scene.redis.run(&["SET", spoiled, "of another type"]);
    let refused = Token::access("b").with("sub", "bob").sign(&scene.key);
    replica.is(&refused, "ok").await;
    for jti in ["a1", "a2", "a3"] {
        replica.is(&scene.token(jti), "ok").await;
    }
    lists(&replica, "sub=alice", &["a1", "a2", "a3"]).await;
    eventually("a note that was refused", async || {
        (replica.revoxy.metric(DROPPED).await > 0.5).then_some(())
    })
    .await;
    let _: u64 = scene.redis.run(&["DEL", spoiled]);
    replica.is(&refused, "ok").await;
    lists(&replica, "sub=bob", &["b"]).await;
}
