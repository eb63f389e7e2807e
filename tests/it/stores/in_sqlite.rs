//! The store in SQLite, where its one process has a clock that jumps.

use std::time::Duration;

use revoxy::jwt::TokenType;
use revoxy::revocation::{Cutoff, RegistrationKey, TokenRecord};

use super::contract::{HOUR, find, key, list, revocation};
use super::fixture::{Durable as _, Fixture as _, InSqlite};

#[tokio::test]
async fn what_a_clock_that_jumps_ahead_would_sweep_stands_when_it_is_set_back() {
    let mut f = InSqlite::start().await;
    let (begin, half_an_hour) = (f.now(), HOUR / 2);
    let expires_at = begin.plus(half_an_hour);
    let entry = revocation(key("a"), expires_at);
    f.store().revoke(&entry).await.unwrap();
    let record = TokenRecord {
        token: key("b"),
        subject: None,
        session: None,
        client: None,
        kid: None,
        token_type: TokenType::Access,
        issued_at: None,
        expires_at,
        registered: false,
        noted_at: begin,
    };
    let registration = RegistrationKey::of(&record.token);
    let store = f.store();
    let registered = store.registry().unwrap().register(&[record]).await;
    registered.unwrap();
    drop(store);
    for restarted in [false, true] {
        f.clock.set(expires_at.plus(half_an_hour));
        assert_eq!(find(&f.store(), &entry.key).await, None);
        assert_eq!(f.store().prune(f.now()).await, Ok(0));
        if restarted {
            f.restart().await;
        }
        f.clock.set(begin);
        let store = f.store();
        let view = store.view().unwrap();
        assert_eq!(view.lookup(&entry.key, f.now()), Some(Cutoff::All));
        assert_eq!(list(&store, 10).await.len(), 1);
        let registry = store.registry().unwrap();
        assert!(registry.is_registered(&registration).await.unwrap());
    }
    f.clock
        .set(expires_at.plus(HOUR + Duration::from_millis(1)));
    assert_eq!(f.store().prune(f.now()).await, Ok(2));
    assert!(f.store().view().unwrap().is_empty());
}
