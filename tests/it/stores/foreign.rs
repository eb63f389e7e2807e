//! What others do to a store: write Redis keys by hand, open the file of another process.

use std::sync::Arc;

use revoxy::clock::{Clock as _, SystemClock, Timestamp};
use revoxy::revocation::{
    Cutoff, KeyKind, RevocationKey, RevocationStore as _, SqliteStore, StoreError,
};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use super::contract::{HOUR, find, key, list, revocation};
use super::fixture::{Fixture as _, InRedis};
use crate::support::{Scratch, eventually};

#[tokio::test]
async fn one_line_of_redis_cli_revokes() {
    let f = InRedis::start().await;
    let key = RevocationKey::new(KeyKind::Subject, "shop", "alice");
    let name = key.rendered();
    let at = |secs| Some(Cutoff::IssuedUpTo(Timestamp::from_secs(secs)));
    for (value, expected) in [
        ("", Some(Cutoff::All)),
        ("1", Some(Cutoff::All)),
        ("anything", Some(Cutoff::All)),
        (r#"{"not_before":1700000000}"#, at(1_700_000_000)),
        (r#"{"not_before":"x"}"#, Some(Cutoff::All)),
    ] {
        let () = f.redis.run(&["SET", name, value, "EX", "60"]);
        assert_eq!(find(&f.store(), &key).await, expected, "{value}");
        assert!(f.store().get(&key).await.unwrap().is_some());
        assert_eq!(list(&f.store(), 10).await.len(), 1);
    }
    let () = f.redis.run(&["DEL", name]);
    assert_eq!(find(&f.store(), &key).await, None);
}

#[tokio::test]
async fn revoking_in_redis_never_weakens_what_was_written_by_hand() {
    let f = InRedis::start().await;
    let name = key("a");
    for by_hand in [
        "",
        "x",
        "{}",
        "[]",
        "null",
        r#"{"not_before":"x"}"#,
        // Unreadable as a cutoff, although Lua would make a number of it.
        r#"{"not_before":"5"}"#,
    ] {
        let () = f.redis.run(&["SET", name.rendered(), by_hand]);
        let mut entry = revocation(name.clone(), f.now().plus(HOUR));
        entry.cutoff = Cutoff::IssuedUpTo(f.now());
        f.store().revoke(&entry).await.unwrap();
        let found = find(&f.store(), &name).await;
        assert_eq!(found, Some(Cutoff::All), "{by_hand:?}");
        let life: i64 = f.redis.run(&["PTTL", name.rendered()]);
        assert_eq!(life, -1, "{by_hand:?}: it stood for ever, and must still");
    }
}

#[tokio::test]
async fn a_redis_key_expires_with_the_revocation() {
    let f = InRedis::start().await;
    let entry = revocation(key("a"), f.now().plus(HOUR));
    f.store().revoke(&entry).await.unwrap();
    let life: i64 = f.redis.run(&["PTTL", entry.key.rendered()]);
    assert!((3_500_000..=3_600_000).contains(&life), "{life}");
}

#[tokio::test]
async fn a_redis_key_of_another_type_is_an_error_and_never_clear() {
    let f = InRedis::start().await;
    let () = f.redis.run(&["SADD", key("a").rendered(), "x"]);
    let answer = f.store().lookup(&[key("b"), key("a")]).await;
    assert!(
        matches!(answer, Err(StoreError::Unreadable(_))),
        "{answer:?}"
    );
    // The others are still found.
    assert_eq!(find(&f.store(), &key("b")).await, None);
}

#[tokio::test]
async fn foreign_redis_keys_are_not_listed() {
    let f = InRedis::start().await;
    for foreign in [
        "other",
        "revoxy:",
        "revoxy:jti:shop",
        "revoxy:unheard:shop:1",
    ] {
        let () = f.redis.run(&["SET", foreign, ""]);
    }
    assert!(list(&f.store(), 10).await.is_empty());
}

#[tokio::test]
async fn an_sqlite_file_that_is_open_elsewhere_is_refused() {
    let scratch = Scratch::new();
    let path = scratch.file("revoxy.db");
    let _first = SqliteStore::open(&path, Arc::new(SystemClock))
        .await
        .unwrap();
    let second = SqliteStore::open(&path, Arc::new(SystemClock)).await;
    assert!(matches!(second.err(), Some(StoreError::Unavailable(_))));
}

/// The schema as the first version made it.
const FIRST_SCHEMA: &str = "
    CREATE TABLE revocations (
        key        TEXT PRIMARY KEY NOT NULL,
        not_before INTEGER,
        expires_at INTEGER NOT NULL,
        reason     TEXT,
        actor      TEXT,
        revoked_at INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX revocations_by_expiry ON revocations (expires_at);
    INSERT INTO revocations VALUES ('revoxy:jti:shop:old', NULL, 9223372036854775807, 'why', 'who', 1700000000000);
";

#[tokio::test]
async fn an_sqlite_file_of_the_first_version_opens_with_all_that_it_holds() {
    let scratch = Scratch::new();
    let path = scratch.file("revoxy.db");
    let options = SqliteConnectOptions::new().filename(&path);
    let mut file = options.create_if_missing(true).connect().await.unwrap();
    sqlx::raw_sql(FIRST_SCHEMA)
        .execute(&mut file)
        .await
        .unwrap();
    file.close().await.unwrap();
    // Twice: made current, and found so.
    for _ in 0..2 {
        let store = eventually("an unlocked file", async || {
            SqliteStore::open(&path, Arc::new(SystemClock)).await.ok()
        })
        .await;
        let old = store.get(&key("old")).await.unwrap().unwrap();
        assert_eq!(old.reason.as_deref(), Some("why"));
        assert_eq!(old.expires_at, Timestamp::NEVER);
        let view = store.view().unwrap();
        assert_eq!(
            view.lookup(&key("old"), SystemClock.now()),
            Some(Cutoff::All)
        );
    }
}

#[tokio::test]
async fn an_sqlite_file_of_a_later_version_is_refused_and_left_alone() {
    let scratch = Scratch::new();
    let path = scratch.file("revoxy.db");
    drop(SqliteStore::open(&path, Arc::new(SystemClock)).await);
    let write = async |sql: &'static str| {
        let options = SqliteConnectOptions::new().filename(&path);
        let mut file = options.connect().await.ok()?;
        let done = sqlx::raw_sql(sql).execute(&mut file).await.ok();
        file.close().await.ok().and(done)
    };
    eventually("a step of the future", async || {
        write("INSERT INTO revoxy_migrations VALUES (99, 'later', 0, TRUE, x'00', 0)").await
    })
    .await;
    let refused = SqliteStore::open(&path, Arc::new(SystemClock)).await;
    let said = refused.err().unwrap().to_string();
    assert!(said.contains("a later version of revoxy"), "{said}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let scratch = Scratch::new();
    let path = scratch.write("notes.txt", "not a database\n".repeat(100));
    let opened = SqliteStore::open(&path, Arc::new(SystemClock)).await;
    assert!(matches!(opened.err(), Some(StoreError::Failed(_))));
    let content = std::fs::read_to_string(&path).unwrap();
    assert_eq!(content, "not a database\n".repeat(100));
}
