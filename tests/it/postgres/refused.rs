//! A standby is not believed: it may be behind, or cut off.

use std::sync::Arc;
use std::time::Duration;

use revoxy::clock::SystemClock;
use revoxy::revocation::{Cutoff, PostgresStore, RevocationStore as _, StoreError};

use super::{Followed, key, revocation};
use crate::support::postgres::hand_over;
use crate::support::{Postgres, Scratch, eventually};

#[tokio::test]
async fn a_server_that_has_become_a_standby_is_neither_followed_nor_asked() {
    let scratch = Scratch::new();
    let mut postgres = Postgres::start(&scratch).await;
    let f = Followed::start(&postgres).await;
    f.store.revoke(&revocation("a")).await.unwrap();
    postgres.kill();
    let signal = postgres.data().join("standby.signal");
    std::fs::write(&signal, "").unwrap();
    hand_over(&signal);
    postgres.restart(&scratch).await;
    let recovering = "SELECT pg_is_in_recovery()::text";
    assert_eq!(postgres.ask(recovering).await, "true");
    eventually("an old view", async || {
        (f.age() > Duration::from_millis(1500)).then_some(())
    })
    .await;
    for _ in 0..3 {
        let answer = f.store.lookup(&[key("b")]).await;
        assert!(
            matches!(answer, Err(StoreError::Unavailable(_))),
            "{answer:?}"
        );
    }
    let written = f.store.revoke(&revocation("b")).await;
    assert!(
        matches!(written, Err(StoreError::Unavailable(_))),
        "{written:?}"
    );
    assert_eq!(f.holds(&key("a")), Some(Cutoff::All), "what is held stays");
    let (options, patience) = (postgres.options(), Duration::from_millis(300));
    let opened = PostgresStore::open(&options, patience, Arc::new(SystemClock)).await;
    let said = opened.err().unwrap();
    assert!(matches!(said, StoreError::Unavailable(_)), "{said:?}");
    assert!(
        said.to_string().contains("connect to the primary"),
        "{said}"
    );
    // And is again, when it is a primary again.
    postgres.run("SELECT pg_promote()").await;
    f.catches_up().await;
    f.store.revoke(&revocation("b")).await.unwrap();
    f.catches_up().await;
    assert_eq!(f.len(), 2);
}
