//! What every store must do.

use std::collections::BTreeSet;
use std::time::Duration;

use revoxy::clock::Timestamp;
use revoxy::revocation::{Cutoff, KeyKind, Revocation, RevocationKey};
use tokio::task::JoinSet;

use super::fixture::{Fixture, Store};

pub const HOUR: Duration = Duration::from_secs(3600);

pub fn key(value: &str) -> RevocationKey {
    RevocationKey::new(KeyKind::TokenId, "shop", value)
}

pub fn revocation(key: RevocationKey, expires_at: Timestamp) -> Revocation {
    Revocation {
        key,
        cutoff: Cutoff::All,
        expires_at,
        reason: None,
        actor: None,
        revoked_at: Timestamp::from_secs(1_700_000_000),
    }
}

pub async fn find(store: &Store, key: &RevocationKey) -> Option<Cutoff> {
    let answers = store.lookup(std::slice::from_ref(key)).await.unwrap();
    assert_eq!(answers.len(), 1);
    answers[0]
}

/// All keys that a listing shows, asking for `limit` at a time.
pub async fn list(store: &Store, limit: usize) -> BTreeSet<String> {
    let (mut keys, mut after) = (BTreeSet::new(), None);
    loop {
        let page = store.list(after.as_deref(), limit).await.unwrap();
        keys.extend(page.revocations.iter().map(|r| r.key.rendered().to_owned()));
        match page.next {
            Some(next) => after = Some(next),
            None => return keys,
        }
    }
}

fn rendered<'k>(keys: impl IntoIterator<Item = &'k RevocationKey>) -> BTreeSet<String> {
    keys.into_iter().map(|k| k.rendered().to_owned()).collect()
}

pub async fn what_is_not_revoked_is_not_found(f: impl Fixture) {
    let store = f.store();
    assert_eq!(find(&store, &key("a")).await, None);
    assert_eq!(store.get(&key("a")).await.unwrap(), None);
    assert_eq!(store.lookup(&[]).await.unwrap(), []);
    assert!(list(&store, 10).await.is_empty());
}

pub async fn a_revocation_is_found_until_it_expires(f: impl Fixture) {
    let store = f.store();
    let (short, long) = (key("short"), key("long"));
    let soon = f.now().plus(f.moment());
    store
        .revoke(&revocation(short.clone(), soon))
        .await
        .unwrap();
    store
        .revoke(&revocation(long.clone(), f.now().plus(HOUR)))
        .await
        .unwrap();
    assert_eq!(find(&store, &short).await, Some(Cutoff::All));
    f.pass_a_moment().await;
    assert_eq!(find(&store, &short).await, None);
    assert_eq!(store.get(&short).await.unwrap(), None);
    assert!(!store.unrevoke(&short).await.unwrap());
    assert_eq!(find(&store, &long).await, Some(Cutoff::All));
}

pub async fn a_revocation_that_has_expired_already_revokes_nothing(f: impl Fixture) {
    let store = f.store();
    for expires_at in [f.now(), Timestamp::from_secs(1), Timestamp::from_millis(-1)] {
        store
            .revoke(&revocation(key("a"), expires_at))
            .await
            .unwrap();
        assert_eq!(find(&store, &key("a")).await, None, "{expires_at:?}");
    }
}

pub async fn a_revocation_reads_back_as_it_was_written(f: impl Fixture) {
    let store = f.store();
    let written = Revocation {
        key: RevocationKey::new(KeyKind::Subject, "shop", "alice"),
        cutoff: Cutoff::IssuedUpTo(Timestamp::from_millis(1_700_000_000_250)),
        expires_at: f.now().plus(HOUR),
        reason: Some("lost phone: \"the\nblue one\" {é}".to_owned()),
        actor: Some("support".to_owned()),
        revoked_at: Timestamp::from_millis(1_700_000_001_500),
    };
    store.revoke(&written).await.unwrap();
    let read = store.get(&written.key).await.unwrap().unwrap();
    // Redis counts down what is left, so it may say a little less or more.
    let off = read.expires_at.millis() - written.expires_at.millis();
    assert!(off.abs() < 5_000, "{off} ms off");
    let expires_at = written.expires_at;
    assert_eq!(Revocation { expires_at, ..read }, written);
}

pub async fn taking_back_tells_whether_there_was_something(f: impl Fixture) {
    let store = f.store();
    let expires_at = f.now().plus(HOUR);
    store
        .revoke(&revocation(key("a"), expires_at))
        .await
        .unwrap();
    store
        .revoke(&revocation(key("b"), expires_at))
        .await
        .unwrap();
    assert!(store.unrevoke(&key("a")).await.unwrap());
    assert!(!store.unrevoke(&key("a")).await.unwrap());
    assert!(!store.unrevoke(&key("c")).await.unwrap());
    assert_eq!(find(&store, &key("a")).await, None);
    assert_eq!(find(&store, &key("b")).await, Some(Cutoff::All));
    store
        .revoke(&revocation(key("a"), expires_at))
        .await
        .unwrap();
    assert_eq!(find(&store, &key("a")).await, Some(Cutoff::All));
}

pub async fn answers_come_in_the_order_of_the_questions(f: impl Fixture) {
    let store = f.store();
    let cutoff = Cutoff::IssuedUpTo(Timestamp::from_secs(1_700_000_000));
    for (name, cutoff) in [("a", Cutoff::All), ("c", cutoff)] {
        let plain = revocation(key(name), f.now().plus(HOUR));
        store.revoke(&Revocation { cutoff, ..plain }).await.unwrap();
    }
    let questions = ["c", "b", "a", "c"].map(key);
    let expected = [Some(cutoff), None, Some(Cutoff::All), Some(cutoff)];
    assert_eq!(store.lookup(&questions).await.unwrap(), expected);
}

pub async fn kinds_and_issuers_are_kept_apart(f: impl Fixture) {
    let store = f.store();
    for kind in KeyKind::ALL {
        let key = RevocationKey::new(kind, "shop", "same");
        let others = KeyKind::ALL.map(|k| RevocationKey::new(k, "shop", "same"));
        store
            .revoke(&revocation(key.clone(), f.now().plus(HOUR)))
            .await
            .unwrap();
        for other in &others {
            let expected = (*other == key).then_some(Cutoff::All);
            assert_eq!(find(&store, other).await, expected, "{kind:?} {other:?}");
        }
        let elsewhere = RevocationKey::new(kind, "shop2", "same");
        assert_eq!(find(&store, &elsewhere).await, None);
        assert!(store.unrevoke(&key).await.unwrap());
    }
}

async fn revoke_with(f: &impl Fixture, key: &RevocationKey, cutoff: Cutoff) {
    let plain = revocation(key.clone(), f.now().plus(HOUR));
    let stronger = Revocation { cutoff, ..plain };
    f.store().revoke(&stronger).await.unwrap();
}

pub async fn an_older_cutoff_never_weakens_a_newer_one(f: impl Fixture) {
    let at = |ms: i64| Cutoff::IssuedUpTo(Timestamp::from_millis(1_700_000_000_000 + ms));
    for (cutoff, stands) in [(at(500), at(500)), (at(0), at(500)), (at(501), at(501))] {
        revoke_with(&f, &key("a"), cutoff).await;
        assert_eq!(find(&f.store(), &key("a")).await, Some(stands));
    }
}

pub async fn a_cutoff_never_weakens_a_revocation_of_every_token(f: impl Fixture) {
    let cutoff = Cutoff::IssuedUpTo(f.now());
    for first in [cutoff, Cutoff::All, cutoff] {
        revoke_with(&f, &key("a"), first).await;
    }
    assert_eq!(find(&f.store(), &key("a")).await, Some(Cutoff::All));
}

pub async fn an_earlier_expiry_never_shortens_a_later_one(f: impl Fixture) {
    let store = f.store();
    for expires_at in [f.now().plus(HOUR), f.now().plus(f.moment())] {
        store
            .revoke(&revocation(key("a"), expires_at))
            .await
            .unwrap();
    }
    for expires_at in [Timestamp::NEVER, f.now().plus(f.moment())] {
        store
            .revoke(&revocation(key("b"), expires_at))
            .await
            .unwrap();
    }
    f.pass_a_moment().await;
    assert_eq!(find(&store, &key("a")).await, Some(Cutoff::All));
    assert_eq!(find(&store, &key("b")).await, Some(Cutoff::All));
}

pub async fn an_expired_revocation_does_not_strengthen_a_new_one(f: impl Fixture) {
    let store = f.store();
    let soon = f.now().plus(f.moment());
    store.revoke(&revocation(key("a"), soon)).await.unwrap();
    f.pass_a_moment().await;
    let cutoff = Cutoff::IssuedUpTo(Timestamp::from_secs(1_700_000_000));
    revoke_with(&f, &key("a"), cutoff).await;
    assert_eq!(find(&store, &key("a")).await, Some(cutoff));
}

pub async fn a_listing_shows_everything_page_by_page(f: impl Fixture) {
    let store = f.store();
    let keys: Vec<_> = (0..57).map(|n| key(&n.to_string())).collect();
    for key in &keys {
        store
            .revoke(&revocation(key.clone(), f.now().plus(HOUR)))
            .await
            .unwrap();
    }
    for limit in [1, 10, 19, 56, 57, 58, 1000] {
        assert_eq!(list(&store, limit).await, rendered(&keys), "limit {limit}");
    }
}

pub async fn a_listing_shows_nothing_expired(f: impl Fixture) {
    let store = f.store();
    for n in 0..10 {
        let expires_at = f.now().plus(f.moment());
        let short = revocation(key(&format!("short {n}")), expires_at);
        store.revoke(&short).await.unwrap();
    }
    let long = revocation(key("long"), f.now().plus(HOUR));
    store.revoke(&long).await.unwrap();
    f.pass_a_moment().await;
    assert_eq!(list(&store, 3).await, rendered([&long.key]));
}

pub async fn sweeping_leaves_what_still_stands(f: impl Fixture) {
    let store = f.store();
    for n in 0..20 {
        let span = if n % 2 == 0 { f.moment() } else { HOUR };
        let entry = revocation(key(&n.to_string()), f.now().plus(span));
        store.revoke(&entry).await.unwrap();
    }
    f.pass_a_moment().await;
    for _ in 0..2 {
        store.prune(f.now().plus(f.grace())).await.unwrap();
    }
    let odd: Vec<_> = (1..20).step_by(2).map(|n| key(&n.to_string())).collect();
    assert_eq!(list(&store, 100).await, rendered(&odd));
    if let Some(view) = store.view() {
        assert_eq!(view.len(), odd.len());
    }
}

pub async fn odd_values_are_values_like_any_other(f: impl Fixture) {
    let store = f.store();
    let long = "x".repeat(10_000);
    let longer = format!("{long}y");
    let values = [
        "",
        " ",
        "a",
        "A",
        "a:b",
        "a:",
        ":",
        "*",
        "?",
        "[a]",
        "{}",
        "{a}b",
        "\n",
        "a\nb",
        "\r\n",
        "\0",
        "a\0b",
        "é",
        "e\u{301}",
        "😀",
        "\u{feff}",
        "'",
        "\"",
        "\\",
        "%",
        "_",
        "' OR 1=1 --",
        "revoxy:jti:shop:a",
        &long,
        &longer,
    ];
    let keys = values.map(key);
    for (index, key) in keys.iter().enumerate() {
        store
            .revoke(&revocation(key.clone(), f.now().plus(HOUR)))
            .await
            .unwrap();
        let answers = store.lookup(&keys).await.unwrap();
        let found = answers.iter().filter(|a| a.is_some()).count();
        assert_eq!(found, index + 1, "{:?}", values[index]);
        let read = store.get(key).await.unwrap().unwrap();
        assert_eq!(read.key.value(), values[index]);
    }
    assert_eq!(list(&store, 7).await, rendered(&keys));
    for (index, key) in keys.iter().enumerate() {
        assert!(store.unrevoke(key).await.unwrap(), "{:?}", values[index]);
        let left = list(&store, 100).await;
        assert_eq!(left, rendered(&keys[index + 1..]));
    }
}

pub async fn many_tasks_may_write_and_read_at_once(f: impl Fixture) {
    let mut tasks = JoinSet::new();
    for task in 0..16 {
        let (store, expires_at) = (f.store(), f.now().plus(HOUR));
        tasks.spawn(async move {
            for n in 0..16 {
                let (kept, taken) = (format!("kept {task} {n}"), format!("taken {task} {n}"));
                for value in [&kept, &taken] {
                    let entry = revocation(key(value), expires_at);
                    store.revoke(&entry).await.unwrap();
                    assert!(find(&store, &entry.key).await.is_some(), "{value}");
                }
                assert!(store.unrevoke(&key(&taken)).await.unwrap());
                assert_eq!(find(&store, &key(&taken)).await, None, "{taken}");
                assert!(find(&store, &key(&kept)).await.is_some(), "{kept}");
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(list(&f.store(), 50).await.len(), 16 * 16);
    if let Some(view) = f.store().view() {
        assert_eq!(view.len(), 16 * 16);
    }
}

pub async fn of_cutoffs_written_at_once_the_latest_stands(f: impl Fixture) {
    let mut tasks = JoinSet::new();
    let at = |n: i64| Cutoff::IssuedUpTo(Timestamp::from_secs(1_700_000_000 + n));
    for n in 0..40 {
        // In no order, and the latest neither first nor last.
        let cutoff = at((n * 7) % 40);
        let plain = revocation(key("a"), f.now().plus(HOUR));
        let store = f.store();
        tasks.spawn(async move { store.revoke(&Revocation { cutoff, ..plain }).await });
    }
    assert!(tasks.join_all().await.iter().all(Result::is_ok));
    assert_eq!(find(&f.store(), &key("a")).await, Some(at(39)));
}

pub async fn what_adds_nothing_is_not_written_again(f: impl Fixture) {
    let (store, now) = (f.store(), f.now());
    let at = |seconds: i64| Timestamp::from_secs(1_700_000_000 + seconds);
    let first = Revocation {
        cutoff: Cutoff::IssuedUpTo(at(0)),
        reason: Some("lost phone".to_owned()),
        revoked_at: at(1),
        ..revocation(key("a"), now.plus(HOUR))
    };
    store.revoke(&first).await.unwrap();
    let token = first.key.clone();
    let revoked_at = async || {
        let stands = store.get(&token).await.unwrap();
        stands.map(|stands| stands.revoked_at)
    };
    for again in [
        first.clone(),
        Revocation {
            cutoff: Cutoff::IssuedUpTo(at(-1)),
            ..first.clone()
        },
        Revocation {
            expires_at: now.plus(HOUR / 2),
            ..first.clone()
        },
    ] {
        let again = Revocation {
            revoked_at: at(2),
            ..again
        };
        store.revoke(&again).await.unwrap();
        assert_eq!(revoked_at().await, Some(first.revoked_at), "{again:?}");
    }
    let mut stands = first;
    for (seconds, more) in [(3, Cutoff::IssuedUpTo(at(1))), (4, Cutoff::All)] {
        stands = Revocation {
            cutoff: more,
            revoked_at: at(seconds),
            ..stands
        };
        store.revoke(&stands).await.unwrap();
        assert_eq!(revoked_at().await, Some(at(seconds)), "{more:?}");
    }
    for (seconds, expires_at, reason) in [
        (5, now.plus(HOUR * 2), "lost phone"),
        (6, now.plus(HOUR * 2), "stolen phone"),
    ] {
        stands = Revocation {
            expires_at,
            reason: Some(reason.to_owned()),
            revoked_at: at(seconds),
            ..stands
        };
        store.revoke(&stands).await.unwrap();
        assert_eq!(revoked_at().await, Some(at(seconds)), "{reason}");
    }
    // What was taken back does not stand.
    assert!(store.unrevoke(&stands.key).await.unwrap());
    let again = Revocation {
        revoked_at: at(7),
        ..stands
    };
    store.revoke(&again).await.unwrap();
    assert_eq!(revoked_at().await, Some(at(7)));
    assert_eq!(find(&store, &again.key).await, Some(Cutoff::All));
}
