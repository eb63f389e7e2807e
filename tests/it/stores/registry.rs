//! What every store that knows tokens must do.

use std::collections::BTreeSet;
use std::time::Duration;

use revoxy::clock::Timestamp;
use revoxy::jwt::TokenType;
use revoxy::revocation::{
    Cutoff, KeyKind, Place, RegistrationKey, Revocation, RevocationKey, TokenRecord, TokenRegistry,
};
use tokio::task::JoinSet;

use super::contract::{HOUR, find, key, revocation};
use super::fixture::{Fixture, Store};

fn registry(store: &Store) -> &dyn TokenRegistry {
    store.registry().expect("a store that knows tokens")
}

pub fn record(f: &impl Fixture, jti: &str, subject: &str) -> TokenRecord {
    TokenRecord {
        token: key(jti),
        subject: Some(subject.to_owned()),
        session: None,
        client: None,
        kid: None,
        token_type: TokenType::Access,
        issued_at: Some(Timestamp::from_secs(1_700_000_000)),
        expires_at: f.now().plus(HOUR),
        registered: false,
        noted_at: Timestamp::from_millis(1_700_000_001_234),
    }
}

pub async fn is_registered(store: &Store, token: &RevocationKey) -> bool {
    let key = RegistrationKey::of(token);
    registry(store).is_registered(&key).await.unwrap()
}

/// All records of a subject, asking for `limit` at a time.
pub async fn list(store: &Store, subject: &str, limit: usize) -> Vec<TokenRecord> {
    let (mut records, mut after) = (Vec::new(), None);
    loop {
        let page = registry(store).of_subject("shop", subject, after, limit);
        let page = page.await.unwrap();
        assert!(page.records.len() <= limit);
        records.extend(page.records);
        match page.next {
            Some(next) => after = Some(next),
            None => return records,
        }
    }
}

pub fn ids(records: &[TokenRecord]) -> BTreeSet<&str> {
    records.iter().map(|r| r.token.value()).collect()
}

pub async fn register(store: &Store, record: &TokenRecord) {
    let records = std::slice::from_ref(record);
    registry(store).register(records).await.unwrap();
}

pub async fn note(store: &Store, record: &TokenRecord) {
    let records = std::slice::from_ref(record);
    registry(store).note(records).await.unwrap();
}

/// What Redis says of an expiry is off by a few ms, where it counts down.
fn same(read: &TokenRecord, written: &TokenRecord) {
    let off = read.expires_at.millis() - written.expires_at.millis();
    assert!(off.abs() < 5000, "{off} ms off");
    let expires_at = read.expires_at;
    let expected = TokenRecord {
        expires_at,
        ..written.clone()
    };
    assert!(*read == expected, "{read:?}");
}

pub async fn a_token_that_nobody_registered_is_not_registered(f: impl Fixture) {
    let store = f.store();
    assert!(!is_registered(&store, &key("a")).await);
    note(&store, &record(&f, "a", "alice")).await;
    assert!(!is_registered(&store, &key("a")).await);
    register(&store, &record(&f, "b", "alice")).await;
    assert!(is_registered(&store, &key("b")).await);
    for other in [
        RevocationKey::new(KeyKind::Digest, "shop", "b"),
        RevocationKey::new(KeyKind::TokenId, "shop2", "b"),
        key("B"),
        key(""),
    ] {
        assert!(!is_registered(&store, &other).await, "{other:?}");
    }
    // To be registered is not to be revoked, and the other way round.
    assert_eq!(find(&store, &key("b")).await, None);
}

pub async fn a_record_reads_back_as_it_was_written(f: impl Fixture) {
    let store = f.store();
    let full = TokenRecord {
        session: Some("s".to_owned()),
        client: Some("c".to_owned()),
        kid: Some("k".to_owned()),
        token_type: TokenType::Refresh,
        ..record(&f, "full", "alice")
    };
    let bare = TokenRecord {
        token: RevocationKey::new(KeyKind::Digest, "shop", "bare"),
        token_type: TokenType::Other,
        issued_at: None,
        ..record(&f, "", "alice")
    };
    note(&store, &full).await;
    register(&store, &bare).await;
    let bare = TokenRecord {
        registered: true,
        ..bare
    };
    let listed = list(&store, "alice", 10).await;
    assert_eq!(listed.len(), 2);
    for (written, subject) in [
        (&full, Some("alice")),
        (&bare, Some("alice")),
        (&bare, None),
    ] {
        let found = registry(&store).find(&written.token, subject).await;
        same(&found.unwrap().unwrap(), written);
        let listed = listed.iter().find(|r| r.token == written.token);
        same(listed.unwrap(), written);
    }
    for subject in [Some("bob"), Some("")] {
        let found = registry(&store).find(&full.token, subject).await.unwrap();
        assert!(found.is_none(), "{found:?}");
    }
    assert_eq!(
        registry(&store).find(&key("other"), None).await.unwrap(),
        None
    );
}

pub async fn records_and_registrations_go_with_their_token(f: impl Fixture) {
    let store = f.store();
    let soon = |jti: &str| TokenRecord {
        expires_at: f.now().plus(f.moment()),
        ..record(&f, jti, "alice")
    };
    note(&store, &soon("noted")).await;
    register(&store, &soon("registered")).await;
    register(&store, &record(&f, "long", "alice")).await;
    assert!(is_registered(&store, &key("registered")).await);
    assert_eq!(list(&store, "alice", 10).await.len(), 3);
    f.pass_a_moment().await;
    assert!(!is_registered(&store, &key("registered")).await);
    for jti in ["registered", "noted"] {
        for subject in [None, Some("alice")] {
            let found = registry(&store).find(&key(jti), subject).await.unwrap();
            assert_eq!(found, None);
        }
    }
    assert_eq!(ids(&list(&store, "alice", 1).await), ["long"].into());
    store.prune(f.now().plus(f.grace())).await.unwrap();
    assert_eq!(ids(&list(&store, "alice", 1).await), ["long"].into());
    assert!(is_registered(&store, &key("long")).await);
}

pub async fn what_has_expired_already_is_not_kept(f: impl Fixture) {
    let store = f.store();
    for expires_at in [f.now(), Timestamp::from_secs(1), Timestamp::from_millis(-1)] {
        let dead = TokenRecord {
            expires_at,
            ..record(&f, "dead", "alice")
        };
        register(&store, &dead).await;
        note(&store, &dead).await;
        assert!(!is_registered(&store, &key("dead")).await);
        assert!(list(&store, "alice", 10).await.is_empty());
    }
}

pub async fn to_see_a_registered_token_takes_nothing_from_it(f: impl Fixture) {
    let store = f.store();
    let registered = TokenRecord {
        session: Some("s".to_owned()),
        ..record(&f, "a", "alice")
    };
    let seen = TokenRecord {
        session: None,
        client: Some("c".to_owned()),
        issued_at: None,
        expires_at: f.now().plus(f.moment()),
        noted_at: Timestamp::from_millis(1_800_000_000_000),
        ..registered.clone()
    };
    register(&store, &registered).await;
    let expected = TokenRecord {
        client: Some("c".to_owned()),
        registered: true,
        ..registered
    };
    for again in [false, true] {
        note(&store, &seen).await;
        if again {
            register(&store, &seen).await;
        }
        let listed = list(&store, "alice", 10).await;
        assert_eq!(listed.len(), 1);
        same(&listed[0], &expected);
    }
    f.pass_a_moment().await;
    // The later expiry stands, on either list.
    assert!(is_registered(&store, &key("a")).await);
    assert_eq!(list(&store, "alice", 10).await.len(), 1);
}

/// Two tokens of one id are against RFC 7519, §4.1.7, and yet there.
pub async fn a_registration_ends_with_what_was_registered(f: impl Fixture) {
    let store = f.store();
    let registered = TokenRecord {
        expires_at: f.now().plus(f.moment()),
        ..record(&f, "a", "alice")
    };
    note(&store, &record(&f, "a", "alice")).await;
    register(&store, &registered).await;
    assert!(is_registered(&store, &key("a")).await);
    assert!(list(&store, "alice", 10).await[0].registered);
    f.pass_a_moment().await;
    assert!(!is_registered(&store, &key("a")).await);
    assert!(!list(&store, "alice", 10).await[0].registered);
    let found = registry(&store).find(&key("a"), Some("alice")).await;
    assert!(found.unwrap().is_some_and(|r| !r.registered));
}

pub async fn a_token_that_was_seen_can_be_registered_later(f: impl Fixture) {
    let store = f.store();
    note(&store, &record(&f, "a", "alice")).await;
    assert!(!list(&store, "alice", 10).await[0].registered);
    register(&store, &record(&f, "a", "alice")).await;
    let listed = list(&store, "alice", 10).await;
    assert_eq!(listed.len(), 1);
    assert!(listed[0].registered);
}

pub async fn tokens_without_a_subject_are_in_nobody_s_list(f: impl Fixture) {
    let store = f.store();
    let nobody = TokenRecord {
        subject: None,
        ..record(&f, "a", "")
    };
    note(&store, &nobody).await;
    register(&store, &nobody).await;
    register(&store, &record(&f, "b", "")).await;
    assert_eq!(ids(&list(&store, "", 10).await), ["b"].into());
    assert!(is_registered(&store, &key("a")).await);
    let found = registry(&store).find(&key("a"), None).await.unwrap();
    assert!(found.is_some_and(|r| r.registered && r.subject.is_none()));
}

pub async fn a_list_shows_everything_page_by_page(f: impl Fixture) {
    let store = f.store();
    let now = f.now();
    let records: Vec<_> = (0..57_u64)
        .map(|n| TokenRecord {
            // Many of the same millisecond, some of a second.
            expires_at: now.plus(HOUR + Duration::from_millis(n / 20) + Duration::from_secs(n % 2)),
            ..record(&f, &n.to_string(), "alice")
        })
        .collect();
    let (noted, registered) = records.split_at(30);
    registry(&store).note(noted).await.unwrap();
    registry(&store).register(registered).await.unwrap();
    note(&store, &record(&f, "other", "bob")).await;
    for limit in [1, 2, 7, 19, 56, 57, 58, 1000] {
        let listed = list(&store, "alice", limit).await;
        assert_eq!(listed.len(), 57, "limit {limit}");
        assert_eq!(ids(&listed), ids(&records), "limit {limit}");
        let places: Vec<Place> = listed.iter().map(TokenRecord::place).collect();
        assert!(places.is_sorted());
        assert_eq!(listed.iter().filter(|r| r.registered).count(), 27);
    }
    let elsewhere = registry(&store)
        .of_subject("shop2", "alice", None, 10)
        .await;
    assert!(elsewhere.unwrap().records.is_empty());
    // A page may begin where there is nothing any more.
    let stale = "1.00000000000000000000000000000001".parse().unwrap();
    let page = registry(&store).of_subject("shop", "alice", Some(stale), 100);
    assert_eq!(page.await.unwrap().records.len(), 57);
    let last = records.iter().map(TokenRecord::place).max();
    let page = registry(&store).of_subject("shop", "alice", last, 100);
    assert!(page.await.unwrap().records.is_empty());
}

pub async fn odd_identifiers_are_identifiers_like_any_other(f: impl Fixture) {
    let store = f.store();
    let long = "x".repeat(10_000);
    let values = [
        "", " ", "a", "A", "a:b", ":", "*", "?", "[a]", "{}", "{a}b", "}", "\n", "\r\n", "\0",
        "a\0b", "é", "e\u{301}", "😀", "\u{feff}", "'", "\"", "\\", "\\u0041", "/", "%", "_",
        "null", "\u{7f}", &long,
    ];
    for value in values {
        let odd = TokenRecord {
            session: Some(value.to_owned()),
            client: Some(value.to_owned()),
            kid: Some(value.to_owned()),
            ..record(&f, value, value)
        };
        note(&store, &odd).await;
        let listed = list(&store, value, 10).await;
        assert_eq!(listed.len(), 1, "{value:?}");
        same(&listed[0], &odd);
        assert!(!is_registered(&store, &odd.token).await, "{value:?}");
        register(&store, &odd).await;
        let odd = TokenRecord {
            registered: true,
            ..odd
        };
        for subject in [Some(value), None] {
            let found = registry(&store).find(&odd.token, subject).await.unwrap();
            same(&found.unwrap(), &odd);
        }
    }
    for value in values {
        assert!(is_registered(&store, &key(value)).await, "{value:?}");
        assert_eq!(ids(&list(&store, value, 10).await), [value].into());
    }
}

pub async fn many_tasks_may_register_note_and_list_at_once(f: impl Fixture) {
    let mut tasks = JoinSet::new();
    for task in 0..8 {
        let store = f.store();
        let mine: Vec<_> = (0..16)
            .map(|n| record(&f, &format!("{task} {n}"), "alice"))
            .collect();
        // Everybody's at once, one way or the other.
        let shared = record(&f, "shared", "alice");
        tasks.spawn(async move {
            for record in &mine {
                match task % 2 {
                    0 => register(&store, record).await,
                    _ => note(&store, record).await,
                }
                note(&store, &shared).await;
                if task == 0 {
                    register(&store, &shared).await;
                }
                let found = registry(&store).find(&record.token, Some("alice")).await;
                assert!(found.unwrap().is_some());
                assert_eq!(is_registered(&store, &record.token).await, task % 2 == 0);
            }
        });
    }
    tasks.join_all().await;
    let listed = list(&f.store(), "alice", 20).await;
    assert_eq!(listed.len(), 8 * 16 + 1);
    assert_eq!(listed.iter().filter(|r| r.registered).count(), 4 * 16 + 1);
}

pub async fn a_record_says_by_what_its_token_may_be_revoked(f: impl Fixture) {
    let store = f.store();
    let full = TokenRecord {
        session: Some("s".to_owned()),
        client: Some("c".to_owned()),
        kid: Some("k".to_owned()),
        ..record(&f, "a", "alice")
    };
    note(&store, &full).await;
    let listed = list(&store, "alice", 10).await;
    let before = Timestamp::from_secs(1_600_000_000);
    let after = Timestamp::from_secs(1_800_000_000);
    for (kind, value) in [
        (KeyKind::TokenId, "a"),
        (KeyKind::Subject, "alice"),
        (KeyKind::Session, "s"),
        (KeyKind::Client, "c"),
        (KeyKind::SigningKey, "k"),
        (KeyKind::Issuer, "all"),
    ] {
        let key = RevocationKey::new(kind, "shop", value);
        for (cutoff, expected) in [
            (Cutoff::IssuedUpTo(before), false),
            (Cutoff::IssuedUpTo(after), true),
            (Cutoff::All, true),
        ] {
            let plain = revocation(key.clone(), f.now().plus(HOUR));
            store.revoke(&Revocation { cutoff, ..plain }).await.unwrap();
            let cutoffs = store.lookup(&listed[0].keys()).await.unwrap();
            let revoked = listed[0].is_revoked_by(cutoffs.into_iter().flatten());
            assert_eq!(revoked, expected, "{kind:?}");
        }
        assert!(store.unrevoke(&key).await.unwrap());
    }
}
