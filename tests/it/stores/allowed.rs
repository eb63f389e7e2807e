//! What a check makes of an allow-list: the same with every store that knows tokens, whether it keeps a view or is asked.

use revoxy::clock::Timestamp;
use revoxy::jwt::TokenType;
use revoxy::revocation::{
    KeyKind, Lookup, RegistrationKey, RevocationKey, RevokedBy, TokenKeys, TokenRecord,
};

use super::checks::{checker, full, judge, verified};
use super::contract::{HOUR, key, revocation};
use super::fixture::{Durable, Fixture};
use super::registry::{note, record, register};
use crate::support::{Token, eventually};

const UNREGISTERED: Option<RevokedBy> = Some(RevokedBy::Unregistered);

/// The keys of a token that has to be registered, the first of which names it.
fn on_allow_list(token: Token) -> TokenKeys {
    let keys = TokenKeys::of(&verified(token));
    let registration = RegistrationKey::of(&keys.keys()[0]);
    keys.on_allow_list(registration)
}

/// The record under which the token of these keys is registered.
fn until(f: &impl Fixture, keys: &TokenKeys, expires_at: Timestamp) -> TokenRecord {
    TokenRecord {
        token: keys.keys()[0].clone(),
        expires_at,
        ..record(f, "", "alice")
    }
}

/// Waits until the view alone lets the token pass; there is nothing to wait for without one.
async fn passes_by_the_view(f: &impl Fixture, keys: &TokenKeys) {
    let (store, checker) = (f.store(), checker(f));
    if store.view().is_none() {
        return;
    }
    eventually("a registration in the view", async || {
        let said = checker.check(TokenType::Access, keys, f.now());
        assert!(!matches!(said, Lookup::Revoked(_)), "{said:?}");
        (said == Lookup::Clear).then_some(())
    })
    .await;
}

pub async fn only_a_registered_token_passes_and_at_once(f: impl Fixture) {
    let (end, stranger) = (f.now().plus(HOUR), on_allow_list(full()));
    let odd = ["plain", "a:b", "*", "{a}b", "\r\n", "a\0b", "é😀", "'\"\\"];
    for jti in odd {
        let keys = on_allow_list(Token::access(jti));
        assert_eq!(keys.keys()[0], key(jti));
        assert_eq!(judge(&f, &keys).await, UNREGISTERED);
        // To be seen is not to be registered.
        note(&f.store(), &until(&f, &keys, end)).await;
        assert_eq!(judge(&f, &keys).await, UNREGISTERED);
        register(&f.store(), &until(&f, &keys, end)).await;
        assert_eq!(judge(&f, &keys).await, None);
        passes_by_the_view(&f, &keys).await;
        assert_eq!(judge(&f, &stranger).await, UNREGISTERED);
    }
    // Each of them once.
    if let Some(view) = f.store().view() {
        assert_eq!(view.len(), odd.len());
    }
}

pub async fn a_registered_token_can_be_revoked_and_taken_back(f: impl Fixture) {
    let (store, keys) = (f.store(), on_allow_list(full()));
    register(&store, &until(&f, &keys, f.now().plus(HOUR))).await;
    passes_by_the_view(&f, &keys).await;
    for (kind, value) in [
        (KeyKind::TokenId, "the-jti"),
        (KeyKind::Subject, "the-sub"),
        (KeyKind::Issuer, "all"),
    ] {
        let key = RevocationKey::new(kind, "shop", value);
        let entry = revocation(key.clone(), f.now().plus(HOUR));
        store.revoke(&entry).await.unwrap();
        assert_eq!(judge(&f, &keys).await, Some(RevokedBy::Key(kind)));
        assert!(store.unrevoke(&key).await.unwrap());
        assert_eq!(judge(&f, &keys).await, None, "{kind:?}");
        passes_by_the_view(&f, &keys).await;
    }
    // What revokes a token that nobody registered is the revocation.
    let stranger = on_allow_list(Token::access("stranger"));
    let entry = revocation(key("stranger"), f.now().plus(HOUR));
    store.revoke(&entry).await.unwrap();
    let by_itself = Some(RevokedBy::Key(KeyKind::TokenId));
    assert_eq!(judge(&f, &stranger).await, by_itself);
    assert!(store.unrevoke(&entry.key).await.unwrap());
    assert_eq!(judge(&f, &stranger).await, UNREGISTERED);
}

pub async fn a_registration_that_has_ended_lets_nobody_pass(f: impl Fixture) {
    let store = f.store();
    let [short, longer, nameless] = [
        on_allow_list(Token::access("short")),
        on_allow_list(Token::access("longer")),
        // Named by its digest.
        on_allow_list(full().without("jti")),
    ];
    assert_eq!(nameless.keys()[0].kind(), KeyKind::Digest);
    for keys in [&short, &longer, &nameless] {
        let soon = f.now().plus(f.moment());
        register(&store, &until(&f, keys, soon)).await;
        assert_eq!(judge(&f, keys).await, None);
    }
    // The later end stands, also when the earlier one is said again.
    register(&store, &until(&f, &longer, f.now().plus(HOUR))).await;
    register(&store, &until(&f, &longer, f.now().plus(f.moment()))).await;
    f.pass_a_moment().await;
    for keys in [&short, &nameless] {
        assert_eq!(judge(&f, keys).await, UNREGISTERED);
    }
    assert_eq!(judge(&f, &longer).await, None);
    passes_by_the_view(&f, &longer).await;
    register(&store, &until(&f, &short, f.now().plus(HOUR))).await;
    assert_eq!(judge(&f, &short).await, None);
    passes_by_the_view(&f, &short).await;
}

pub async fn an_allow_list_outlives_a_restart(mut f: impl Durable) {
    let registered: Vec<_> = (0..8)
        .map(|n| on_allow_list(Token::access(&format!("registered {n}"))))
        .collect();
    let stranger = on_allow_list(Token::access("stranger"));
    for keys in &registered {
        register(&f.store(), &until(&f, keys, f.now().plus(HOUR))).await;
    }
    f.restart().await;
    let store = f.store();
    if let Some(view) = store.view() {
        assert_eq!(view.len(), 8);
    }
    for keys in &registered {
        assert_eq!(judge(&f, keys).await, None);
        passes_by_the_view(&f, keys).await;
    }
    assert_eq!(judge(&f, &stranger).await, UNREGISTERED);
}
