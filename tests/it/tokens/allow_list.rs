//! Only registered tokens count, as in flask-jwt-extended's database example: what is unknown is revoked.

use serde_json::json;

use super::Scene;
use crate::support::cluster::{Cluster, Flavour};
use crate::support::sentinel::Trio;
use crate::support::tokens::now;
use crate::support::{Ask, Postgres, Token};

const ALLOW_LIST: &[&str] = &["mode: allow_list"];

fn states(expected: &[(&str, bool)]) -> Vec<(String, bool)> {
    let owned = |(id, revoked): &(&str, bool)| ((*id).to_owned(), *revoked);
    expected.iter().map(owned).collect()
}

#[tokio::test]
async fn tokens_are_registered_at_login_listed_revoked_and_taken_back() {
    let scene = Scene::set(ALLOW_LIST).await;
    let (one, two) = (scene.replica().await, scene.replica().await);
    let (laptop, phone) = (scene.token("laptop"), scene.token("phone"));
    let refresh = Token::refresh("refresh").sign(&scene.key);
    let stranger = Token::access("b").with("sub", "bob").sign(&scene.key);
    let refreshes = async |replica: &super::Replica| {
        let ask = Ask::bearer(&refresh).policy("refresh");
        replica.checks.ask(ask).await.reason().to_owned()
    };

    // What nobody has registered is revoked.
    for replica in [&one, &two] {
        replica.is(&laptop, "revoked").await;
        assert_eq!(refreshes(replica).await, "revoked");
    }
    // At login the application adds both tokens; the other replica takes them at once.
    let shown = one.admin.register(&laptop).await;
    assert_eq!(shown["id"], "laptop");
    assert_eq!(shown["sub"], "alice");
    assert_eq!(shown["registered"], true);
    two.is(&laptop, "ok").await;
    one.admin.register(&refresh).await;
    assert_eq!(refreshes(&two).await, "ok");
    two.admin.register(&stranger).await;
    // By its fields, where the application has no token at hand; a second time is no other.
    let fields = json!({
        "issuer": "shop", "jti": "phone", "sub": "alice", "expires_at": now() + 3600,
    });
    for replica in [&two, &one] {
        let said = replica.admin.post("/tokens", fields.clone()).await;
        assert_eq!(said.status, 201, "{said:?}");
    }
    one.is(&phone, "ok").await;
    two.is(&scene.token("unknown"), "revoked").await;

    // The user looks at the list, and revokes a token of it.
    let all = |laptop, phone, refresh| {
        states(&[("laptop", laptop), ("phone", phone), ("refresh", refresh)])
    };
    assert_eq!(two.admin.list("sub=alice").await, all(false, false, false));
    let named = json!({ "issuer": "shop", "sub": "alice", "id": "laptop", "reason": "lost" });
    let done = one.admin.revoke(named).await;
    assert_eq!(done["revoked"], 1);
    assert_eq!(done["enforced_within"], 1.0);
    one.is(&laptop, "revoked").await;
    assert_eq!(two.admin.list("sub=alice").await, all(true, false, false));
    let active = states(&[("phone", false), ("refresh", false)]);
    assert_eq!(two.admin.list("sub=alice&active=true").await, active);
    two.becomes(&laptop, "revoked").await;

    // And takes it back.
    let named = json!({ "issuer": "shop", "id": "laptop" });
    two.admin.unrevoke(named.clone()).await;
    two.admin.unrevoke_nothing(named).await;
    for replica in [&one, &two] {
        replica.becomes(&laptop, "ok").await;
    }
    assert_eq!(one.admin.list("sub=alice").await, all(false, false, false));

    // A token of somebody else is not the user's to revoke.
    let foreign = json!({ "issuer": "shop", "sub": "alice", "id": "b" });
    let said = one.admin.post("/tokens/revoke", foreign).await;
    assert_eq!(
        (said.status, &said.body["error"]),
        (404, &json!("unknown_token"))
    );
    one.is(&stranger, "ok").await;

    // All others are revoked.
    let others = json!({ "issuer": "shop", "sub": "alice", "all": true, "except": ["phone"] });
    assert_eq!(one.admin.revoke(others).await["revoked"], 2);
    one.is(&laptop, "revoked").await;
    assert_eq!(refreshes(&one).await, "revoked");
    for replica in [&one, &two] {
        replica.is(&phone, "ok").await;
        replica.is(&stranger, "ok").await;
    }
    assert_eq!(two.admin.list("sub=alice").await, all(true, false, true));
}

#[tokio::test]
async fn logging_out_everywhere_spares_the_next_login_only() {
    let scene = Scene::set(ALLOW_LIST).await;
    let replica = scene.replica().await;
    let old = scene.token("old");
    replica.admin.register(&old).await;
    replica.is(&old, "ok").await;
    let everything = json!({ "issuer": "shop", "sub": "alice", "all": true });
    let said = replica
        .admin
        .post("/tokens/revoke", everything.clone())
        .await;
    assert_eq!(said.status, 400, "{said:?}");
    replica.is(&old, "ok").await;
    let mut until = everything.clone();
    until["expires_at"] = json!(now() + 7200);
    let done = replica.admin.revoke(until).await;
    assert!(done["revoked_up_to"].as_f64().is_some(), "{done}");
    replica.is(&old, "revoked").await;
    let next = Token::access("new").with("iat", now() + 2).sign(&scene.key);
    replica.admin.register(&next).await;
    replica.is(&next, "ok").await;
    let expected = states(&[("new", false), ("old", true)]);
    assert_eq!(replica.admin.list("sub=alice").await, expected);
    replica.admin.unrevoke(everything).await;
    replica.becomes(&old, "ok").await;
}

#[tokio::test]
async fn every_store_keeps_an_allow_list() {
    let scene = Scene::set(ALLOW_LIST).await;
    let (postgres, cluster, trio) = tokio::join!(
        Postgres::start(&scene.scratch),
        Cluster::start(&scene.scratch, Flavour::Redis),
        Trio::without_replicas(),
    );
    let sqlite = scene.scratch.file("revoxy.db");
    for (name, store) in [
        ("postgres", postgres.store()),
        ("memory", "memory: {}".to_owned()),
        ("sqlite", format!("sqlite: {{ path: {sqlite:?} }}")),
        ("redis", scene.redis.store()),
        ("cluster", cluster.store()),
        ("sentinel", trio.store()),
    ] {
        for read in ["view", "store"] {
            let config = scene
                .config(store.clone())
                .revocation(&format!("read: {read}"));
            let replica = scene.replica_of(&config).await;
            let jti = format!("{name} {read}");
            let (token, other) = (scene.token(&jti), scene.token("other"));
            let nameless = Token::access("x").without("jti").with("nonce", &*jti);
            let nameless = nameless.sign(&scene.key);
            replica.is(&token, "revoked").await;
            replica.is(&nameless, "revoked").await;
            replica.admin.register(&token).await;
            replica.is(&token, "ok").await;
            let shown = replica.admin.register(&nameless).await;
            assert_eq!(shown["id_kind"], "digest");
            replica.is(&nameless, "ok").await;
            replica.is(&other, "revoked").await;
            // Whoever holds a token may still revoke it.
            replica.revoxy.revoke(&token).await;
            replica.is(&token, "revoked").await;
            let digest = json!({ "issuer": "shop", "id": shown["id"], "id_kind": "digest" });
            replica.admin.revoke(digest.clone()).await;
            replica.is(&nameless, "revoked").await;
            replica.admin.unrevoke(digest).await;
            replica.becomes(&nameless, "ok").await;
            let done = replica.admin.revoke(json!({ "token": nameless })).await;
            let follows = !["memory", "sqlite"].contains(&name) && read == "view";
            assert_eq!(
                done["enforced_within"],
                if follows { 1.0 } else { 0.0 },
                "{name}"
            );
            replica.is(&nameless, "revoked").await;
        }
    }
}

#[tokio::test]
async fn registrations_in_sqlite_survive_kill_9() {
    let scene = Scene::set(ALLOW_LIST).await;
    let store = format!("sqlite: {{ path: {:?} }}", scene.scratch.file("revoxy.db"));
    let config = scene.config(store);
    let (token, other) = (scene.token("a"), scene.token("b"));
    let mut replica = scene.replica_of(&config).await;
    replica.admin.register(&token).await;
    replica.revoxy.process.kill();
    let replica = scene.replica_of(&config).await;
    replica.is(&token, "ok").await;
    replica.is(&other, "revoked").await;
}

#[tokio::test]
async fn types_that_are_not_checked_need_no_registration() {
    let scene = Scene::set(&["mode: allow_list", "token_types: [refresh]"]).await;
    let replica = scene.replica().await;
    let refresh = Token::refresh("r").sign(&scene.key);
    replica.is(&scene.token("a"), "ok").await;
    let ask = || Ask::bearer(&refresh).policy("refresh");
    assert_eq!(replica.checks.ask(ask()).await.reason(), "revoked");
    replica.admin.register(&refresh).await;
    assert_eq!(replica.checks.ask(ask()).await.reason(), "ok");
}

#[tokio::test]
async fn a_token_is_registered_by_one_line_of_redis_cli() {
    let scene = Scene::set(ALLOW_LIST).await;
    let replica = scene.replica().await;
    let token = scene.token("by-hand");
    let name = "revoxy:registered:jti:shop:by-hand";
    let () = scene.redis.run(&["SET", name, "", "EX", "3600"]);
    replica.is(&token, "ok").await;
    replica
        .admin
        .revoke(json!({ "issuer": "shop", "id": "by-hand" }))
        .await;
    replica.is(&token, "revoked").await;
}

#[tokio::test]
async fn who_is_on_a_list_that_redis_lost_has_to_be_put_there_again() {
    for lines in [
        &["mode: allow_list", "deletions: honour"],
        &["mode: allow_list", "deletions: ignore"],
    ] {
        let mut scene = Scene::set(lines).await;
        let (one, two) = (scene.replica().await, scene.replica().await);
        let (a, b) = (scene.token("a"), scene.token("b"));
        for token in [&a, &b] {
            one.admin.register(token).await;
            one.is(token, "ok").await;
            two.is(token, "ok").await;
        }
        let _: u64 = scene.redis.run(&["DEL", "revoxy:registered:jti:shop:a"]);
        for replica in [&one, &two] {
            replica.becomes(&a, "revoked").await;
            replica.is(&b, "ok").await;
        }
        one.admin.register(&a).await;
        two.is(&a, "ok").await;
        let () = scene.redis.run(&["FLUSHALL"]);
        for replica in [&one, &two] {
            replica.becomes(&a, "revoked").await;
            replica.becomes(&b, "revoked").await;
        }
        two.admin.register(&a).await;
        one.is(&a, "ok").await;
        two.is(&a, "ok").await;
        one.is(&b, "revoked").await;
        // A new server has nothing, and nobody writes anything back.
        scene.redis.kill();
        scene.redis.restart(&scene.scratch).await;
        for replica in [&one, &two] {
            replica.becomes(&a, "revoked").await;
            let restored = replica.revoxy.metric("revoxy_revocations_restored_total");
            assert!(restored.await < 0.5);
        }
        one.admin.register(&a).await;
        one.is(&a, "ok").await;
        two.is(&a, "ok").await;
        let keys: Vec<String> = scene.redis.run(&["KEYS", "revoxy:*"]);
        assert_eq!(keys, ["revoxy:registered:jti:shop:a"]);
    }
}
