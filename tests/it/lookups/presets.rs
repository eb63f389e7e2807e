//! Every preset, over the keys that its library writes.

use super::{STORE, Scene, VIEW};
use crate::support::{Token, tokens};

/// A token is let through until `revoke` has run.
async fn revokes(lookup: &str, revoke: impl Fn(&Scene, &str)) {
    for read in [VIEW, STORE] {
        let scene = Scene::set(&format!("[{lookup}]"), &[read]).await;
        let (revoked, other) = (scene.token("1"), scene.token("2"));
        scene.is(&revoked, "ok").await;
        revoke(&scene, &revoked);
        scene.becomes(&revoked, "revoked").await;
        scene.is(&other, "ok").await;
        // What our own API writes holds, too.
        scene.revoxy.revoke(&other).await;
        scene.is(&other, "revoked").await;
        scene.nothing_was_healed().await;
    }
}

#[tokio::test]
async fn flask_jwt_extended_writes_an_empty_value_under_the_jti() {
    revokes("{ preset: flask-jwt-extended }", |scene, _| {
        scene.run(&["SET", "1", "", "EX", "60"]);
    })
    .await;
}

#[tokio::test]
async fn fastapi_jwt_auth_writes_true_and_means_nothing_else() {
    revokes("{ preset: fastapi-jwt-auth }", |scene, _| {
        scene.run(&["SET", "2", "false", "EX", "60"]);
        scene.run(&["SET", "1", "true", "EX", "60"]);
    })
    .await;
}

#[tokio::test]
async fn a_blacklist_by_hand_has_any_value_of_any_type_under_a_prefix() {
    revokes("{ preset: generic-blacklist }", |scene, _| {
        scene.run(&["SET", "blacklist:1", "0", "EX", "60"]);
    })
    .await;
    // Spring Data writes hashes.
    let spring = "{ preset: generic-blacklist, prefix: \"BT{x}:\" }";
    revokes(spring, |scene, _| {
        scene.run(&["HSET", "BT{x}:1", "_class", "Logout"]);
    })
    .await;
}

#[tokio::test]
async fn tutorials_for_spring_use_the_token_itself_as_the_key() {
    revokes("{ preset: spring-raw-token }", |scene, token| {
        scene.run(&["SET", token, "logout", "PX", "60000"]);
    })
    .await;
}

#[tokio::test]
async fn higress_writes_the_jti_behind_its_prefix() {
    revokes("{ preset: higress }", |scene, _| {
        scene.run(&["SET", "higress_jwt_logout_1", "1", "EX", "60"]);
    })
    .await;
    revokes("{ preset: higress, prefix: gateway_ }", |scene, _| {
        scene.run(&["SET", "gateway_1", "1", "EX", "60"]);
    })
    .await;
}

#[tokio::test]
async fn jwtblock_writes_the_digest_of_the_token() {
    revokes("{ preset: jwtblock }", |scene, token| {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
        let digest: String = digest.as_ref().iter().map(|b| format!("{b:02x}")).collect();
        scene.run(&["SET", &digest, "1", "NX", "EX", "60"]);
    })
    .await;
}

#[tokio::test]
async fn laravel_serializes_when_a_revocation_begins() {
    let key = "app_cache_:ca7581d6d4749d8fd143ea956aa654aa02abe0ec:1";
    let lookup = "{ preset: laravel-jwt-auth, prefix: \"app_cache_:\" }";
    for value in [
        format!("a:1:{{s:11:\"valid_until\";i:{};}}", tokens::now()),
        "s:7:\"forever\";".to_owned(),
    ] {
        revokes(lookup, |scene, _| {
            scene.run(&["SET", key, &value, "EX", "60"]);
        })
        .await;
    }
    // A grace period, in which the token is still good, ends by itself.
    for read in [VIEW, STORE] {
        let scene = Scene::set(&format!("[{lookup}]"), &[read]).await;
        let begins = tokens::now() + 3;
        let value = format!("a:1:{{s:11:\"valid_until\";i:{begins};}}");
        scene.run(&["SET", key, &value, "EX", "60"]);
        let token = scene.token("1");
        scene.is(&token, "ok").await;
        scene.becomes(&token, "revoked").await;
        assert!(tokens::now() >= begins);
        scene.nothing_was_healed().await;
    }
}

#[tokio::test]
async fn express_jwt_blacklist_lists_single_tokens_and_purges_all_before() {
    for read in [VIEW, STORE] {
        let scene = Scene::set("[{ preset: express-jwt-blacklist }]", &[read]).await;
        let now = tokens::now();
        let token = |iat: i64| scene.sign(Token::access("x").with("iat", iat));
        let (first, second, third) = (token(now - 30), token(now - 20), token(now - 10));
        scene.is(&first, "ok").await;
        let revoke = format!("{},{}", now - 500, now - 20);
        scene.run(&["HSET", "jwt-blacklist:alice", "revoke", &revoke]);
        scene.becomes(&second, "revoked").await;
        scene.is(&first, "ok").await;
        scene.is(&third, "ok").await;
        let purge = (now - 15).to_string();
        scene.run(&["HSET", "jwt-blacklist:alice", "purge", &purge]);
        scene.becomes(&first, "revoked").await;
        scene.is(&third, "ok").await;
        let other = scene.sign(Token::access("x").with("sub", "bob").with("iat", now - 20));
        scene.is(&other, "ok").await;
        // Without `iat` it is in nobody's list.
        let without = scene.sign(Token::access("x").without("iat"));
        scene.is(&without, "unidentified").await;
    }
}

#[tokio::test]
async fn flask_jwt_extended_3_knows_its_tokens_and_refuses_others() {
    for read in [VIEW, STORE] {
        let scene = Scene::set("[{ preset: flask-jwt-extended-3 }]", &[read]).await;
        let token = scene.token("1");
        scene.is(&token, "revoked").await;
        // At login. What was written a moment ago counts at once.
        scene.run(&["SET", "1", "false", "EX", "60"]);
        scene.is(&token, "ok").await;
        scene.becomes(&token, "ok").await;
        scene.run(&["SET", "1", "true", "EX", "60"]);
        scene.becomes(&token, "revoked").await;
        scene.run(&["SET", "1", "false", "EX", "60"]);
        scene.becomes(&token, "ok").await;
        scene.run(&["DEL", "1"]);
        scene.becomes(&token, "revoked").await;
        scene.nothing_was_healed().await;
    }
}
