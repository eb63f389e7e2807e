//! Rows that somebody writes with psql: they count at once, in every view.

use std::process::Command;
use std::sync::Arc;

use revoxy::clock::SystemClock;
use revoxy::revocation::{Cutoff, PostgresStore, Revocation, RevocationStore as _};

use super::{Followed, key, revocation, up_to};
use crate::support::process::program;
use crate::support::{PATIENCE, Postgres, Scratch};

#[tokio::test]
async fn one_line_of_psql_revokes_and_another_takes_it_back() {
    let scratch = Scratch::new();
    let postgres = Postgres::start(&scratch).await;
    let f = Followed::start(&postgres).await;
    let psql = |sql: &str| {
        let mut psql = Command::new(program("psql", "PSQL_BIN", &[]));
        psql.args([&postgres.url(), "-v", "ON_ERROR_STOP=1", "-c", sql]);
        let output = psql.output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    psql("INSERT INTO revocations VALUES ('revoxy:jti:shop:abc')");
    f.comes_to("abc", Some(Cutoff::All)).await;
    let answer = f.store.lookup(&[key("abc")]).await.unwrap();
    assert_eq!(answer, [Some(Cutoff::All)]);
    psql("DELETE FROM revocations WHERE key = 'revoxy:jti:shop:abc'");
    f.comes_to("abc", None).await;
}

#[tokio::test]
async fn what_each_column_says_counts() {
    let scratch = Scratch::new();
    let postgres = Postgres::start(&scratch).await;
    let f = Followed::start(&postgres).await;
    postgres
        .run(
            "INSERT INTO revocations (key, not_before, expires_at) VALUES
                ('revoxy:jti:shop:cutoff', to_timestamp(1700000000), 'infinity'),
                ('revoxy:jti:shop:hour', NULL, now() + interval '1 hour'),
                ('revoxy:jti:shop:over', NULL, now() - interval '1 hour'),
                ('revoxy:jti:shop:never', NULL, '-infinity'),
                ('revoxy:jti:shop:a\\000b', NULL, 'infinity')",
        )
        .await;
    f.comes_to("a\0b", Some(Cutoff::All)).await;
    let expected = [
        ("cutoff", up_to(1_700_000_000)),
        ("hour", Some(Cutoff::All)),
        ("over", None),
        ("never", None),
        ("a\0b", Some(Cutoff::All)),
    ];
    for (value, expected) in expected {
        assert_eq!(f.holds(&key(value)), expected, "{value}");
        let answer = f.store.lookup(&[key(value)]).await.unwrap();
        assert_eq!(answer, [expected], "{value}");
    }
    // Another feed reads the same that this one was told.
    let late = Followed::start(&postgres).await;
    for (value, expected) in expected {
        assert_eq!(late.holds(&key(value)), expected, "{value}");
    }
}

#[tokio::test]
async fn every_way_to_change_rows_is_heard() {
    let scratch = Scratch::new();
    let postgres = Postgres::start(&scratch).await;
    let f = Followed::start(&postgres).await;
    for value in ["a", "b", "c"] {
        f.store.revoke(&revocation(value)).await.unwrap();
    }
    // Weaker, and stronger again.
    let of_a = "WHERE key = 'revoxy:jti:shop:a'";
    postgres
        .run(&format!(
            "UPDATE revocations SET not_before = to_timestamp(1700000000) {of_a}"
        ))
        .await;
    f.comes_to("a", up_to(1_700_000_000)).await;
    // Of equal notifications in one transaction PostgreSQL sends only the first.
    let set = |t: &str| format!("UPDATE revocations SET not_before = {t} {of_a};");
    let (one, two) = (
        set("to_timestamp(1700000001)"),
        set("to_timestamp(1700000002)"),
    );
    postgres
        .run(&format!("BEGIN; {one} {two} {one} COMMIT"))
        .await;
    f.comes_to("a", up_to(1_700_000_001)).await;
    // Another key.
    postgres
        .run("UPDATE revocations SET key = 'revoxy:jti:shop:d' WHERE key = 'revoxy:jti:shop:b'")
        .await;
    f.comes_to("d", Some(Cutoff::All)).await;
    f.comes_to("b", None).await;
    // In another transaction that is rolled back, nothing.
    postgres
        .run("BEGIN; DELETE FROM revocations; ROLLBACK")
        .await;
    f.catches_up().await;
    assert_eq!(f.len(), 3);
    postgres.run("TRUNCATE revocations").await;
    for value in ["a", "c", "d"] {
        f.comes_to(value, None).await;
    }
    f.store.revoke(&revocation("e")).await.unwrap();
    f.catches_up().await;
    assert_eq!(f.len(), 1);
    assert_eq!((f.feed.healed.get(), f.feed.reconnects.get()), (0, 0));
}

#[tokio::test]
async fn rows_whose_key_is_none_of_ours_are_passed_over() {
    let scratch = Scratch::new();
    let postgres = Postgres::start(&scratch).await;
    let f = Followed::start(&postgres).await;
    let long = "x".repeat(5000);
    for foreign in [
        "other",
        "revoxy:",
        "revoxy:jti:shop",
        "revoxy:unheard:shop:1",
        &format!("revoxy:{long}:shop:1"),
        r"revoxy:jti:shop\377",
    ] {
        postgres
            .run(&format!("INSERT INTO revocations VALUES ('{foreign}')"))
            .await;
    }
    // Not UTF-8, as no claim is: it stands, and hits nobody.
    postgres
        .run(r"INSERT INTO revocations VALUES ('revoxy:jti:shop:\377')")
        .await;
    f.store.revoke(&revocation("mine")).await.unwrap();
    f.catches_up().await;
    let page = f.store.list(None, 100).await.unwrap();
    let listed: Vec<_> = page.revocations.iter().map(|r| r.key.value()).collect();
    assert_eq!(listed, ["mine"]);
    assert!(f.len() <= 2, "{}", f.len());
    assert_eq!(f.feed.reconnects.get(), 0);
}

#[tokio::test]
async fn nobody_takes_a_revocation_back_with_a_forged_notification() {
    let scratch = Scratch::new();
    let postgres = Postgres::start(&scratch).await;
    let f = Followed::start(&postgres).await;
    f.store.revoke(&revocation("a")).await.unwrap();
    let told = postgres
        .ask("SELECT concat_ws(' ', kind, encode(id, 'hex')) FROM revocations")
        .await;
    for forged in [
        format!("gone (0,1) {told}"),
        format!("put (0,1) {told} 0 1 0"),
        "all".to_owned(),
        "nonsense".to_owned(),
    ] {
        let notify = format!("SELECT pg_notify('revoxy_' || md5('public'), '{forged}')");
        postgres.run(&notify).await;
        f.catches_up().await;
        assert_eq!(f.holds(&key("a")), Some(Cutoff::All), "{forged}");
    }
    assert_eq!(f.feed.reconnects.get(), 0);
}

#[tokio::test]
async fn a_nul_in_the_reason_is_replaced_and_the_revocation_stands() {
    let scratch = Scratch::new();
    let postgres = Postgres::start(&scratch).await;
    let f = Followed::start(&postgres).await;
    let plain = revocation("a");
    let odd = Revocation {
        reason: Some("a\0b".to_owned()),
        actor: Some("\0".to_owned()),
        ..plain
    };
    f.store.revoke(&odd).await.unwrap();
    let read = f.store.get(&odd.key).await.unwrap().unwrap();
    assert_eq!(read.reason.as_deref(), Some("a\u{fffd}b"));
    assert_eq!(read.actor.as_deref(), Some("\u{fffd}"));
}

#[tokio::test]
async fn a_revocation_is_durable_although_the_user_s_sessions_are_not() {
    let scratch = Scratch::new();
    // Nothing else is written: no heartbeats, and no notes for standbys.
    let settings = ["wal_level=minimal", "max_wal_senders=0"];
    let postgres = Postgres::start_with(&scratch, &settings).await;
    postgres
        .run("ALTER ROLE postgres SET synchronous_commit = off")
        .await;
    let clock = Arc::new(SystemClock);
    let store = PostgresStore::open(&postgres.options(), PATIENCE, clock).await;
    let store = store.unwrap();
    // In a transaction that was not raised, the position that is flushed stays behind for a while.
    let flushed = "SELECT (pg_current_wal_flush_lsn() >= pg_current_wal_insert_lsn())::text";
    for n in 0..20 {
        let entry = revocation(&n.to_string());
        store.revoke(&entry).await.unwrap();
        assert_eq!(postgres.ask(flushed).await, "true", "revocation {n}");
        assert!(store.unrevoke(&entry.key).await.unwrap());
        assert_eq!(postgres.ask(flushed).await, "true", "taking {n} back");
    }
}
