//! A revocation that ends with its token, as most applications write it: what comes after `exp` is not accepted again.

use super::{STORE, Scene, VIEW};
use crate::support::{Token, eventually, tokens};

/// Long enough for the revocations to be seen before they end.
const LIFE: i64 = 10;

#[tokio::test]
async fn a_revoked_token_is_not_accepted_again_when_its_key_ends_with_it() {
    for read in [VIEW, STORE] {
        let lookups = "[{ key: \"bl:{jti}\" }]";
        let scene = Scene::set(lookups, &[read]).await;
        let exp = tokens::now() + LIFE;
        let token = |jti: &str| scene.sign(Token::access(jti).with("exp", exp));
        let (by_application, by_hand) = (token("a"), token("b"));
        // An application at logout, and what `docs/revoking.md` tells people to type.
        let keys = ["bl:a", "revoxy:jti:shop:b"];
        for key in keys {
            scene.run(&["SET", key, "", "EXAT", &exp.to_string()]);
        }
        scene.becomes(&by_application, "revoked").await;
        scene.becomes(&by_hand, "revoked").await;
        eventually("the end of both keys", async || {
            let left: i64 = scene.redis.run(&["EXISTS", keys[0], keys[1]]);
            (left == 0).then_some(())
        })
        .await;
        // Nothing knows of the revocations any more, a Revoxy that has just started less than any.
        let restarted = scene.another(lookups, &[read]).await;
        for asking in [&scene.asking, &restarted] {
            asking.is(&by_application, "expired").await;
            asking.is(&by_hand, "expired").await;
        }
    }
}
