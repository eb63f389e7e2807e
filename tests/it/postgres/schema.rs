//! The schema: made once, by whoever comes first, and used with no more rights than that takes.

use std::sync::Arc;
use std::time::Duration;

use revoxy::clock::{Clock as _, SystemClock};
use revoxy::revocation::{
    Cutoff, PostgresOptions, PostgresStore, RegistrationKey, RevocationStore as _, StoreError,
    TokenRegistry as _,
};

use super::{Followed, HOUR, key, revocation};
use crate::support::postgres::options;
use crate::support::{PATIENCE, Postgres, Scratch};

async fn open(options: &PostgresOptions) -> Result<PostgresStore, StoreError> {
    PostgresStore::open(options, PATIENCE, Arc::new(SystemClock)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_replicas_that_start_at_once_make_it_once() {
    let scratch = Scratch::new();
    let postgres = Postgres::start(&scratch).await;
    let mut starts = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let options = postgres.options();
        starts.spawn(async move { open(&options).await.map(drop) });
    }
    for started in starts.join_all().await {
        started.unwrap();
    }
    let steps = "SELECT count(*)::text FROM revoxy_migrations WHERE success";
    assert_eq!(postgres.ask(steps).await, "2");
}

/// A user who may do this, beyond connecting.
async fn user(postgres: &Postgres, grants: &str) -> PostgresOptions {
    postgres.run("CREATE ROLE low LOGIN").await;
    postgres.run(grants).await;
    options(postgres.url().replace("postgres@", "low@"))
}

#[tokio::test]
async fn a_user_who_may_only_write_rows_will_do_once_it_is_current() {
    let scratch = Scratch::new();
    let postgres = Postgres::start(&scratch).await;
    drop(open(&postgres.options()).await.unwrap());
    let documented = include_str!("../../../docs/operations.md").lines();
    let grants: Vec<_> = documented.filter(|l| l.starts_with("GRANT ")).collect();
    assert_eq!(grants.len(), 2, "{grants:?}");
    let grants = grants.concat().replace("TO revoxy", "TO low");
    let low = user(&postgres, &grants).await;
    let f = Followed::comparing(&low, HOUR).await.unwrap();
    f.store.revoke(&revocation("a")).await.unwrap();
    postgres
        .run("INSERT INTO revocations VALUES ('revoxy:jti:shop:b')")
        .await;
    f.comes_to("b", Some(Cutoff::All)).await;
    assert!(f.store.unrevoke(&key("a")).await.unwrap());
    f.comes_to("a", None).await;
    f.store.prune(SystemClock.now()).await.unwrap();
    let registration = RegistrationKey::of(&key("a"));
    assert!(!f.store.is_registered(&registration).await.unwrap());
    f.store.of_subject("shop", "alice", None, 1).await.unwrap();
}

#[tokio::test]
async fn a_user_who_may_not_make_tables_is_told_what_to_do() {
    let scratch = Scratch::new();
    let postgres = Postgres::start(&scratch).await;
    let low = user(&postgres, "REVOKE CREATE ON SCHEMA public FROM PUBLIC").await;
    let said = open(&low).await.err().unwrap().to_string();
    for part in [
        "GRANT CREATE",
        "as the owner",
        "on revocations and tokens",
        "permission denied",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[tokio::test]
async fn a_schema_of_a_later_version_is_refused() {
    let scratch = Scratch::new();
    let postgres = Postgres::start(&scratch).await;
    drop(open(&postgres.options()).await.unwrap());
    postgres
        .run("INSERT INTO revoxy_migrations VALUES (99, 'later', now(), true, '', 0)")
        .await;
    let said = open(&postgres.options()).await.err().unwrap().to_string();
    assert!(said.contains("a later version of revoxy"), "{said}");
}

#[tokio::test]
async fn an_application_in_the_same_schema_keeps_its_own_migrations() {
    let scratch = Scratch::new();
    let postgres = Postgres::start(&scratch).await;
    postgres
        .run("CREATE TABLE _sqlx_migrations (version bigint)")
        .await;
    postgres
        .run("INSERT INTO _sqlx_migrations VALUES (20260101)")
        .await;
    let store = open(&postgres.options()).await.unwrap();
    store.revoke(&revocation("a")).await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_not_there_is_waited_for_and_no_longer_than_asked() {
    let scratch = Scratch::new();
    let mut postgres = Postgres::start(&scratch).await;
    postgres.kill();
    let (options, patience) = (postgres.options(), Duration::from_millis(300));
    let opened = PostgresStore::open(&options, patience, Arc::new(SystemClock)).await;
    let opened = opened.err().unwrap();
    assert!(matches!(opened, StoreError::Unavailable(_)), "{opened:?}");
}
