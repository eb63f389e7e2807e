//! What a store must keep when it ends without warning.

use revoxy::clock::Timestamp;
use revoxy::revocation::Cutoff;

use super::contract::{HOUR, find, key, list, revocation};
use super::fixture::Durable;
use super::registry;

pub async fn revocations_outlive_a_restart(mut f: impl Durable) {
    let cutoff = Cutoff::IssuedUpTo(Timestamp::from_millis(1_700_000_000_125));
    let mut partial = revocation(key("partial"), f.now().plus(HOUR));
    partial.cutoff = cutoff;
    partial.reason = Some("why".to_owned());
    partial.actor = Some("who".to_owned());
    let whole = revocation(key("whole\0\né"), Timestamp::NEVER);
    f.store().revoke(&partial).await.unwrap();
    f.store().revoke(&whole).await.unwrap();
    f.restart().await;
    let store = f.store();
    assert_eq!(find(&store, &partial.key).await, Some(cutoff));
    assert_eq!(find(&store, &whole.key).await, Some(Cutoff::All));
    let read = store.get(&partial.key).await.unwrap().unwrap();
    assert_eq!((read.reason, read.actor), (partial.reason, partial.actor));
    assert_eq!(list(&store, 10).await.len(), 2);
    if let Some(view) = store.view() {
        assert_eq!(view.len(), 2);
        assert_eq!(view.lookup(&partial.key, f.now()), Some(cutoff));
        assert_eq!(view.lookup(&whole.key, f.now()), Some(Cutoff::All));
    }
}

pub async fn what_was_taken_back_or_has_expired_stays_gone_after_a_restart(mut f: impl Durable) {
    let store = f.store();
    let soon = f.now().plus(f.moment());
    store.revoke(&revocation(key("short"), soon)).await.unwrap();
    let long = revocation(key("long"), f.now().plus(HOUR));
    store.revoke(&long).await.unwrap();
    assert!(store.unrevoke(&long.key).await.unwrap());
    drop(store);
    f.pass_a_moment().await;
    f.restart().await;
    assert!(list(&f.store(), 10).await.is_empty());
    for gone in [key("short"), long.key] {
        assert_eq!(find(&f.store(), &gone).await, None);
        let store = f.store();
        let held = store.view().and_then(|view| view.lookup(&gone, f.now()));
        assert_eq!(held, None);
    }
}

pub async fn records_and_registrations_outlive_a_restart(mut f: impl Durable) {
    let store = f.store();
    registry::register(&store, &registry::record(&f, "registered", "alice")).await;
    registry::note(&store, &registry::record(&f, "noted", "alice")).await;
    drop(store);
    f.restart().await;
    let store = f.store();
    assert!(registry::is_registered(&store, &key("registered")).await);
    assert!(!registry::is_registered(&store, &key("noted")).await);
    let listed = registry::list(&store, "alice", 10).await;
    assert_eq!(registry::ids(&listed), ["noted", "registered"].into());
}
