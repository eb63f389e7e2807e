//! The feed: what it hears, what it misses while it is away, and what it does not believe.

use std::sync::Arc;
use std::time::Duration;

use revoxy::clock::{Clock as _, SystemClock};
use revoxy::revocation::{Cutoff, PostgresStore, RevocationStore as _, StoreError};

use super::{Followed, HOUR, key, revocation};
use crate::support::postgres::{options, url};
use crate::support::{Mood, PATIENCE, Postgres, Proxy, Scratch, eventually};

#[tokio::test]
async fn two_stores_on_one_database_see_what_the_other_writes() {
    let scratch = Scratch::new();
    let postgres = Postgres::start(&scratch).await;
    let (one, two) = (
        Followed::start(&postgres).await,
        Followed::start(&postgres).await,
    );
    one.store.revoke(&revocation("a")).await.unwrap();
    assert_eq!(one.holds(&key("a")), Some(Cutoff::All), "at once");
    two.comes_to("a", Some(Cutoff::All)).await;
    assert!(two.store.unrevoke(&key("a")).await.unwrap());
    one.comes_to("a", None).await;
    two.comes_to("a", None).await;
    assert_eq!((one.feed.healed.get(), two.feed.healed.get()), (0, 0));
}

#[tokio::test]
async fn stores_in_two_schemas_of_one_database_do_not_hear_each_other() {
    let scratch = Scratch::new();
    let postgres = Postgres::start(&scratch).await;
    postgres.run("CREATE SCHEMA a; CREATE SCHEMA b").await;
    let in_schema = async |name: &str| {
        let url = format!("{}&options=-csearch_path%3D{name}", postgres.url());
        Followed::comparing(&options(url), HOUR).await.unwrap()
    };
    let (a, b) = (in_schema("a").await, in_schema("b").await);
    a.store.revoke(&revocation("x")).await.unwrap();
    postgres
        .run("INSERT INTO a.revocations VALUES ('revoxy:jti:shop:by hand')")
        .await;
    a.comes_to("by hand", Some(Cutoff::All)).await;
    a.catches_up().await;
    b.catches_up().await;
    assert_eq!((a.len(), b.len()), (2, 0));
    assert!(b.store.get(&key("x")).await.unwrap().is_none());
}

/// Ends every connection of ours but the one that says so.
const TERMINATE: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
    WHERE application_name = 'revoxy'";

#[tokio::test]
async fn nothing_is_missed_when_backends_are_terminated_between_two_notifications() {
    let scratch = Scratch::new();
    let postgres = Postgres::start(&scratch).await;
    let f = Followed::start(&postgres).await;
    f.store.revoke(&revocation("taken back")).await.unwrap();
    for n in 0..5 {
        let times = f.feed.reconnects.get();
        // Whatever connection takes the place of the terminated one comes after the next row.
        postgres
            .run(&format!(
                "INSERT INTO revocations VALUES ('revoxy:jti:shop:before {n}'); {TERMINATE}; \
                 INSERT INTO revocations VALUES ('revoxy:jti:shop:after {n}'); \
                 DELETE FROM revocations WHERE key = 'revoxy:jti:shop:taken back'"
            ))
            .await;
        f.is_interrupted(times).await;
        f.catches_up().await;
        for value in [format!("before {n}"), format!("after {n}")] {
            assert_eq!(f.holds(&key(&value)), Some(Cutoff::All), "{value}");
        }
        assert_eq!(f.holds(&key("taken back")), None);
    }
}

#[tokio::test]
async fn a_feed_survives_a_server_that_is_killed_and_started_again() {
    let scratch = Scratch::new();
    let mut postgres = Postgres::start(&scratch).await;
    let f = Followed::start(&postgres).await;
    f.store.revoke(&revocation("a")).await.unwrap();
    postgres.kill();
    f.is_interrupted(0).await;
    assert_eq!(f.holds(&key("a")), Some(Cutoff::All), "what is held stays");
    let answer = f.store.lookup(&[key("b")]).await;
    assert!(
        matches!(answer, Err(StoreError::Unavailable(_))),
        "{answer:?}"
    );
    postgres.restart(&scratch).await;
    f.catches_up().await;
    postgres
        .run("INSERT INTO revocations VALUES ('revoxy:jti:shop:b')")
        .await;
    f.comes_to("b", Some(Cutoff::All)).await;
    assert_eq!(f.feed.healed.get(), 0);
}

#[tokio::test]
async fn a_view_ages_while_the_server_stands_still_and_is_exact_afterwards() {
    let scratch = Scratch::new();
    let postgres = Postgres::start(&scratch).await;
    let f = Followed::start(&postgres).await;
    postgres.pause();
    eventually("an old view", async || {
        (f.age() > Duration::from_millis(1500)).then_some(())
    })
    .await;
    postgres.resume();
    f.catches_up().await;
    f.store.revoke(&revocation("a")).await.unwrap();
    f.catches_up().await;
    assert_eq!(f.holds(&key("a")), Some(Cutoff::All));
}

#[tokio::test]
async fn a_connection_that_carries_nothing_is_given_up() {
    let scratch = Scratch::new();
    let postgres = Postgres::start(&scratch).await;
    let proxy = Proxy::before(postgres.port()).await;
    let mut options = options(url(proxy.port()));
    options.connect_timeout = Duration::from_secs(1);
    let f = Followed::comparing(&options, HOUR).await.unwrap();
    proxy.set(Mood::Hanging);
    f.is_interrupted(0).await;
    postgres
        .run("INSERT INTO revocations VALUES ('revoxy:jti:shop:a')")
        .await;
    // A call that has waited for nothing leaves no connection behind that the next would wait for.
    for _ in 0..10 {
        let patience = Duration::from_millis(50);
        let asked = tokio::time::timeout(patience, f.store.lookup(&[key("a")])).await;
        assert!(asked.is_err() || asked.unwrap().is_err());
    }
    proxy.set(Mood::Passing);
    let answer = f.store.lookup(&[key("a")]).await.unwrap();
    assert_eq!(answer, [Some(Cutoff::All)]);
    f.catches_up().await;
    assert_eq!(f.holds(&key("a")), Some(Cutoff::All));
}

const TRIGGERS: &str = "ALTER TABLE revocations";

#[tokio::test]
async fn a_view_does_not_pass_for_fresh_while_a_trigger_is_disabled() {
    let scratch = Scratch::new();
    let postgres = Postgres::start(&scratch).await;
    let f = Followed::start(&postgres).await;
    postgres
        .run(&format!("{TRIGGERS} DISABLE TRIGGER revocation_changed"))
        .await;
    f.is_interrupted(0).await;
    postgres
        .run("INSERT INTO revocations VALUES ('revoxy:jti:shop:a')")
        .await;
    eventually("an old view", async || {
        (f.age() > Duration::from_millis(1500)).then_some(())
    })
    .await;
    let refused = Followed::comparing(&postgres.options(), HOUR).await;
    let said = refused.err().unwrap().to_string();
    assert!(said.contains("ENABLE ALWAYS TRIGGER"), "{said}");
    assert!(said.contains("read: store"), "{said}");
    postgres
        .run(&format!("{TRIGGERS} ENABLE TRIGGER revocation_changed"))
        .await;
    f.catches_up().await;
    assert_eq!(f.holds(&key("a")), Some(Cutoff::All));
}

#[tokio::test]
async fn a_trigger_that_was_disabled_for_a_moment_is_noticed() {
    let scratch = Scratch::new();
    let postgres = Postgres::start(&scratch).await;
    let f = Followed::start(&postgres).await;
    postgres
        .run(&format!(
            "BEGIN; {TRIGGERS} DISABLE TRIGGER USER; INSERT INTO revocations VALUES ('revoxy:jti:shop:a'); \
             {TRIGGERS} ENABLE ALWAYS TRIGGER revocation_changed; \
             {TRIGGERS} ENABLE ALWAYS TRIGGER revocations_emptied; COMMIT"
        ))
        .await;
    f.catches_up().await;
    assert_eq!(f.holds(&key("a")), Some(Cutoff::All));
    assert_eq!(f.feed.reconnects.get(), 1);
}

/// From now on every row that is read waits for this lock, with what the statement saw when it began.
const SLOW: &str = "CREATE OR REPLACE FUNCTION revocation_millis(t timestamptz) RETURNS bigint LANGUAGE plpgsql AS \
    'BEGIN PERFORM pg_advisory_xact_lock_shared(7); \
    RETURN CASE WHEN t IS NOT NULL THEN 9223372036854775807 END; END'";

#[tokio::test]
async fn what_is_deleted_while_it_is_being_read_does_not_stay_in_the_view() {
    let scratch = Scratch::new();
    let postgres = Postgres::start(&scratch).await;
    drop(Followed::start(&postgres).await);
    postgres
        .run(
            "INSERT INTO revocations VALUES ('revoxy:jti:shop:a'), ('revoxy:registered:jti:shop:b')",
        )
        .await;
    postgres.run(SLOW).await;
    let mut holder = postgres.connect().await.unwrap();
    let hold = sqlx::query("SELECT pg_advisory_lock(7)");
    hold.execute(&mut holder).await.unwrap();
    let deleted = async {
        eventually("a reading that waits", async || {
            let waiting =
                "SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
            (postgres.ask(waiting).await == "1").then_some(())
        })
        .await;
        postgres.run("DELETE FROM revocations").await;
        drop(holder);
    };
    let (f, ()) = tokio::join!(Followed::start(&postgres), deleted);
    f.catches_up().await;
    assert_eq!(f.len(), 0);
    assert_eq!((f.feed.healed.get(), f.feed.reconnects.get()), (0, 0));
}

#[tokio::test]
async fn a_registration_that_was_deleted_unheard_does_not_outlive_the_next_reading() {
    let scratch = Scratch::new();
    let postgres = Postgres::start(&scratch).await;
    let f = Followed::start(&postgres).await;
    // With less time left than clocks may differ by.
    postgres
        .run(
            "INSERT INTO revocations (key, expires_at) \
             VALUES ('revoxy:registered:jti:shop:a', now() + interval '45 s')",
        )
        .await;
    f.catches_up().await;
    assert_eq!(f.len(), 1);
    postgres
        .run(&format!(
            "BEGIN; {TRIGGERS} DISABLE TRIGGER USER; DELETE FROM revocations; \
             {TRIGGERS} ENABLE ALWAYS TRIGGER revocation_changed; \
             {TRIGGERS} ENABLE ALWAYS TRIGGER revocations_emptied; COMMIT"
        ))
        .await;
    f.is_interrupted(0).await;
    f.catches_up().await;
    assert_eq!(f.len(), 0);
}

#[tokio::test]
async fn a_comparison_heals_and_counts_what_nothing_told_of() {
    let scratch = Scratch::new();
    let postgres = Postgres::start(&scratch).await;
    let every = Duration::from_secs(1);
    let f = Followed::comparing(&postgres.options(), every)
        .await
        .unwrap();
    for value in ["stays", "goes", "changes"] {
        f.store.revoke(&revocation(value)).await.unwrap();
    }
    // The triggers are there and enabled, and say nothing.
    postgres
        .run(
            "CREATE OR REPLACE FUNCTION revocation_changed() RETURNS trigger LANGUAGE plpgsql AS \
             'BEGIN RETURN NULL; END'; \
             INSERT INTO revocations VALUES ('revoxy:jti:shop:comes'); \
             DELETE FROM revocations WHERE key = 'revoxy:jti:shop:goes'; \
             UPDATE revocations SET not_before = to_timestamp(1700000000) WHERE key = 'revoxy:jti:shop:changes'",
        )
        .await;
    f.comes_to("comes", Some(Cutoff::All)).await;
    f.comes_to("goes", None).await;
    f.comes_to("changes", super::up_to(1_700_000_000)).await;
    assert_eq!(f.holds(&key("stays")), Some(Cutoff::All));
    assert_eq!((f.feed.healed.get(), f.feed.reconnects.get()), (3, 0));
}

#[tokio::test]
async fn a_comparison_finds_nothing_while_others_write() {
    let scratch = Scratch::new();
    let postgres = Postgres::start(&scratch).await;
    let every = Duration::from_secs(1);
    let f = Followed::comparing(&postgres.options(), every)
        .await
        .unwrap();
    for n in 0..600 {
        let value = format!("{}", n % 40);
        if n % 3 == 0 {
            f.store.unrevoke(&key(&value)).await.unwrap();
        } else {
            f.store.revoke(&revocation(&value)).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    f.catches_up().await;
    let listed = f.store.list(None, 1000).await.unwrap().revocations.len();
    assert_eq!(f.len(), listed);
    assert_eq!((f.feed.healed.get(), f.feed.reconnects.get()), (0, 0));
}

#[tokio::test]
async fn a_replica_whose_clock_is_ahead_sweeps_nothing_that_stands() {
    let scratch = Scratch::new();
    let postgres = Postgres::start(&scratch).await;
    let f = Followed::start(&postgres).await;
    f.store.revoke(&revocation("a")).await.unwrap();
    postgres
        .run(
            "INSERT INTO revocations VALUES ('revoxy:jti:shop:over', NULL, now() - interval '1 s');
             INSERT INTO tokens SELECT sha256(n::text::bytea), '', '', '', '', '', '', '', 'access', NULL,
                now() + n * interval '1 hour', now() FROM (VALUES (-1), (1)) AS of (n)",
        )
        .await;
    let fast = PostgresStore::open(&postgres.options(), PATIENCE, Arc::new(SystemClock)).await;
    let tomorrow = SystemClock.now().plus(24 * HOUR);
    // The row that is over, and the record that is.
    assert_eq!(fast.unwrap().prune(tomorrow).await.unwrap(), 2);
    let left = "SELECT concat((SELECT count(*) FROM revocations), (SELECT count(*) FROM tokens))";
    assert_eq!(postgres.ask(left).await, "11");
    f.catches_up().await;
    assert_eq!(f.holds(&key("a")), Some(Cutoff::All));
}

#[tokio::test]
async fn sweeping_expired_rows_tells_nobody() {
    let scratch = Scratch::new();
    let postgres = Postgres::start(&scratch).await;
    let f = Followed::start(&postgres).await;
    f.store.revoke(&revocation("stays")).await.unwrap();
    postgres
        .run(
            "INSERT INTO revocations SELECT ('revoxy:jti:shop:' || n)::bytea, NULL, now() - interval '1 s' \
             FROM generate_series(1, 2500) n",
        )
        .await;
    f.catches_up().await;
    let told = f.feed.pushes.get();
    assert_eq!(f.store.prune(SystemClock.now()).await.unwrap(), 2500);
    f.catches_up().await;
    assert_eq!(f.feed.pushes.get(), told);
    assert_eq!(f.len(), 1);
}
