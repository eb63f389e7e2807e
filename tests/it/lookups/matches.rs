//! Every way to match, over values of every kind.

use super::{STORE, Scene, VIEW};
use crate::support::{Token, tokens};

#[tokio::test]
async fn only_the_values_that_are_named_revoke() {
    for read in [VIEW, STORE] {
        let lookup = "[{ key: \"s:{jti}\", match: { equals: [\"1\", gone] } }]";
        let scene = Scene::set(lookup, &[read]).await;
        for (value, reason) in [
            ("0", "ok"),
            ("1", "revoked"),
            ("", "ok"),
            ("gone", "revoked"),
        ] {
            scene.run(&["SET", "s:a", value, "EX", "60"]);
            scene.becomes(&scene.token("a"), reason).await;
        }
        // Taken back in the same way.
        scene.run(&["SET", "s:a", "0", "EX", "60"]);
        scene.becomes(&scene.token("a"), "ok").await;
        scene.nothing_was_healed().await;
    }
}

#[tokio::test]
async fn what_was_issued_before_an_instant_is_revoked_in_every_unit() {
    let lookup = "[{ key: \"u:{sub}\", match: { issued_before: auto } }]";
    for read in [VIEW, STORE] {
        let scene = Scene::set(lookup, &[read]).await;
        let now = tokens::now();
        let issued =
            |at: i64, sub: &str| scene.sign(Token::access("x").with("iat", at).with("sub", sub));
        for (sub, value) in [
            ("seconds", (now - 100).to_string()),
            ("millis", format!("{}000", now - 100)),
        ] {
            scene.run(&["SET", &format!("u:{sub}"), &value, "EX", "60"]);
            scene.becomes(&issued(now - 100, sub), "revoked").await;
            scene.is(&issued(now - 99, sub), "ok").await;
            scene.is(&issued(now - 101, sub), "revoked").await;
        }
        // What is no instant revokes everything.
        scene.run(&["SET", "u:carol", "yesterday", "EX", "60"]);
        scene.becomes(&issued(now, "carol"), "revoked").await;
        // So does any for a token that does not say when it was issued.
        let token = Token::access("x").with("sub", "seconds").without("iat");
        scene.is(&scene.sign(token), "revoked").await;
        scene.is(&issued(now, "dave"), "ok").await;
    }
}

#[tokio::test]
async fn an_instant_is_read_through_what_libraries_put_around_it() {
    let lookup = "[{ key: \"u:{sub}\", match: { issued_before: auto } }]";
    for read in [VIEW, STORE] {
        let scene = Scene::set(lookup, &[read]).await;
        let at = tokens::now() - 100;
        let issued =
            |at: i64, sub: &str| scene.sign(Token::access("x").with("iat", at).with("sub", sub));
        for (sub, value) in [
            ("keyv", format!("{{\"value\":{at},\"expires\":{at}999}}")),
            (
                "keyv-text",
                format!("{{\"value\":\"{at}000\",\"expires\":null}}"),
            ),
            ("jackson", format!("\"{at}\"")),
            ("jackson-class", format!("[\"java.lang.Long\",{at}000]")),
        ] {
            scene.run(&["SET", &format!("u:{sub}"), &value, "EX", "60"]);
            scene.becomes(&issued(at, sub), "revoked").await;
            // A new login.
            scene.is(&issued(at + 1, sub), "ok").await;
        }
        let unreadable = "revoxy_revocation_lookup_unreadable_total";
        assert!(scene.revoxy.metric(unreadable).await < 0.5, "{read}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_counted_and_logged_without_key_and_value() {
    let lookup = "[{ key: \"u:{sub}\", match: { issued_before: auto } }]";
    for read in [VIEW, STORE] {
        let scene = Scene::set(lookup, &[read]).await;
        let token = scene.sign(Token::access("x").with("sub", "unreadable-user"));
        for value in ["some-value", "other-value"] {
            scene.run(&["SET", "u:unreadable-user", value, "EX", "60"]);
            scene.becomes(&token, "revoked").await;
        }
        let counted = scene
            .revoxy
            .metric("revoxy_revocation_lookup_unreadable_total");
        assert!(counted.await > 0.5, "{read}");
        let log = scene.revoxy.log().await;
        let lines: Vec<_> = log
            .lines()
            .filter(|l| l.contains("cannot be read"))
            .collect();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("u:{sub}"), "{lines:?}");
        assert!(
            !log.contains("unreadable-user") && !log.contains("-value"),
            "{log}"
        );
    }
}

#[tokio::test]
async fn members_of_a_set_are_revoked() {
    for read in [VIEW, STORE] {
        let lookup = "[{ key: revoked_jti, match: { member: \"{jti}\" } }]";
        let scene = Scene::set(lookup, &[read]).await;
        scene.is(&scene.token("1"), "ok").await;
        scene.run(&["SADD", "revoked_jti", "1", "2"]);
        for jti in ["1", "2"] {
            scene.becomes(&scene.token(jti), "revoked").await;
        }
        scene.is(&scene.token("3"), "ok").await;
        scene.run(&["SREM", "revoked_jti", "1"]);
        scene.becomes(&scene.token("1"), "ok").await;
        scene.is(&scene.token("2"), "revoked").await;
    }
}

#[tokio::test]
async fn an_allow_list_refuses_what_is_not_on_it() {
    for read in [VIEW, STORE] {
        let lookup = "[{ key: \"jwt_label:{jti}\", match: never, missing: revoked }]";
        let scene = Scene::set(lookup, &[read]).await;
        let token = scene.token("1");
        scene.is(&token, "revoked").await;
        for write in [
            &["SET", "jwt_label:1", "x", "EX", "60"][..],
            &["HSET", "jwt_label:1", "device", "phone"],
        ] {
            scene.run(write);
            scene.is(&token, "ok").await;
            scene.becomes(&token, "ok").await;
            scene.is(&scene.token("2"), "revoked").await;
            scene.run(&["DEL", "jwt_label:1"]);
            scene.becomes(&token, "revoked").await;
        }
        scene.run(&["SET", "jwt_label:1", "x", "PX", "200"]);
        scene.becomes(&token, "revoked").await;
        scene.nothing_was_healed().await;
    }
}

#[tokio::test]
async fn a_value_of_another_type_never_lets_a_token_through() {
    let lookup = "[{ key: \"s:{jti}\", match: { equals: [\"1\"] } }]";
    let scene = Scene::set(lookup, &[STORE]).await;
    scene.run(&["HSET", "s:a", "a", "b"]);
    scene.is(&scene.token("a"), "revocation_unavailable").await;
    scene.is(&scene.token("b"), "ok").await;
    let lookup = "[{ key: revoked, match: { member: \"{jti}\" } }]";
    let scene = Scene::set(lookup, &[VIEW]).await;
    scene.run(&["SET", "revoked", "a"]);
    scene.is(&scene.token("a"), "revocation_unavailable").await;
}

#[tokio::test]
async fn a_token_that_lacks_the_claim_is_refused_or_not_looked_up() {
    for read in [VIEW, STORE] {
        let lookups = "[{ key: \"s:{sid}\" }]";
        let scene = Scene::set(lookups, &[read]).await;
        scene.is(&scene.token("1"), "unidentified").await;
        let token = |sid: &str| scene.sign(Token::access("1").with("sid", sid));
        scene.is(&token("x"), "ok").await;
        scene.run(&["SET", "s:x", ""]);
        scene.becomes(&token("x"), "revoked").await;
        let lookups = "[{ key: \"s:{sid}\", without_claim: skip }]";
        let scene = Scene::set(lookups, &[read]).await;
        scene.is(&scene.token("1"), "ok").await;
        // What cannot be part of a key is not skipped.
        let odd = scene.sign(Token::access("1").with("sid", "a\nb"));
        scene.is(&odd, "unidentified").await;
    }
}

#[tokio::test]
async fn a_key_may_be_made_of_claims_of_the_application_s_own() {
    for read in [VIEW, STORE] {
        let lookup = "[{ key: \"off:{claim:tenant}:{claim:/dept/id}\" }]";
        let scene = Scene::set(lookup, &[read]).await;
        let dept = serde_json::json!({ "id": 7 });
        let token = Token::access("1").with("tenant", "acme").with("dept", dept);
        let token = scene.sign(token);
        scene.is(&token, "ok").await;
        scene.run(&["SET", "off:acme:7", ""]);
        scene.becomes(&token, "revoked").await;
        scene.is(&scene.token("1"), "unidentified").await;
    }
}

#[tokio::test]
async fn keys_that_java_serialized_are_found() {
    for read in [VIEW, STORE] {
        let lookup = "[{ key: \"BL:{jti}\", key_encoding: java, match: { equals: [logout] } }]";
        let scene = Scene::set(lookup, &[read]).await;
        let serialized = |text: &str| {
            let length = u16::try_from(text.len()).unwrap().to_be_bytes();
            [b"\xac\xed\x00\x05t", &length[..], text.as_bytes()].concat()
        };
        scene.is(&scene.token("1"), "ok").await;
        let client = redis::Client::open(scene.redis.url()).unwrap();
        let mut connection = client.get_connection().unwrap();
        let mut set = redis::cmd("SET");
        set.arg(serialized("BL:1")).arg(serialized("logout"));
        let () = set.query(&mut connection).unwrap();
        scene.becomes(&scene.token("1"), "revoked").await;
        scene.is(&scene.token("2"), "ok").await;
    }
}
