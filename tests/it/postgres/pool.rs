//! The connections for direct reads: callers give up, servers go, and there are always enough and never too many.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use revoxy::clock::SystemClock;
use revoxy::revocation::{Cutoff, PostgresOptions, PostgresStore, RevocationStore as _};
use tokio::time::timeout;

use super::{key, revocation};
use crate::support::{Mood, PATIENCE, Postgres, Proxy, Scratch, eventually, postgres};

/// How many connections a store may have here.
const CONNECTIONS: usize = 3;
/// Far longer than anything takes that nobody delays.
const LONG: Duration = Duration::from_millis(500);

/// A store that is asked on every check, with a proxy before its server.
struct Asked {
    store: Arc<PostgresStore>,
    proxy: Proxy,
    postgres: Postgres,
    _scratch: Scratch,
}

impl Asked {
    async fn start() -> Self {
        let scratch = Scratch::new();
        let postgres = Postgres::start(&scratch).await;
        let proxy = Proxy::before(postgres.port()).await;
        let options = PostgresOptions {
            max_connections: CONNECTIONS,
            ..postgres::options(postgres::url(proxy.port()))
        };
        let store = PostgresStore::open(&options, PATIENCE, Arc::new(SystemClock)).await;
        Self {
            store: Arc::new(store.unwrap()),
            proxy,
            postgres,
            _scratch: scratch,
        }
    }

    /// As a check asks that waits no longer than this.
    async fn ask(&self, patience: Duration) -> Option<Cutoff> {
        let answer = timeout(patience, self.store.lookup(&[key("a")])).await;
        answer.ok()?.ok()?[0]
    }

    /// What the server says of the sessions of stores.
    async fn sessions(&self, what: &str) -> String {
        let of = "FROM pg_stat_activity WHERE application_name = 'revoxy'";
        self.postgres
            .ask(&format!("SELECT ({what})::text {of}"))
            .await
    }
}

#[tokio::test]
async fn checks_are_answered_although_to_connect_takes_longer_than_they_wait() {
    let f = Asked::start().await;
    f.postgres
        .run("INSERT INTO revocations VALUES ('revoxy:jti:shop:a')")
        .await;
    // A round trip takes 100 ms: a lookup is one, and a connection, ready for its first, five.
    f.proxy.set(Mood::Delaying(Duration::from_millis(50)));
    eventually("answers to as many as there are connections", async || {
        let asked = (0..CONNECTIONS).map(|_| f.ask(Duration::from_millis(400)));
        let answers = join_all(asked).await;
        (answers == [Some(Cutoff::All); CONNECTIONS]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn callers_that_give_up_leave_no_more_connections_than_configured() {
    let f = Asked::start().await;
    f.store.revoke(&revocation("a")).await.unwrap();
    f.proxy.set(Mood::Hanging);
    for _ in 0..3 {
        let asked = (0..2 * CONNECTIONS).map(|_| f.ask(LONG / 5));
        assert_eq!(join_all(asked).await, [None; 2 * CONNECTIONS]);
    }
    f.proxy.set(Mood::Passing);
    eventually("an answer", async || f.ask(LONG).await).await;
    eventually("as many sessions as configured, or fewer", async || {
        let sessions: usize = f.sessions("count(*)").await.parse().unwrap();
        (1..=CONNECTIONS).contains(&sessions).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_was_begun_before_another_broke_is_not_used() {
    let f = Asked::start().await;
    f.store.revoke(&revocation("a")).await.unwrap();
    // The first was for the schema, the second is waiting, and the third will hang.
    f.proxy.set(Mood::HangingHalf { odd: true });
    let mut locker = f.postgres.connect().await.unwrap();
    for sql in ["BEGIN", "LOCK TABLE revocations"] {
        sqlx::raw_sql(sql).execute(&mut locker).await.unwrap();
    }
    let blocked = tokio::spawn({
        let store = Arc::clone(&f.store);
        async move { store.lookup(&[key("a")]).await }
    });
    eventually("a lookup that waits for the lock", async || {
        let waiting = f.sessions("bool_or(wait_event_type = 'Lock')").await;
        (waiting == "true").then_some(())
    })
    .await;
    assert_eq!(f.ask(LONG).await, None);
    f.sessions("count(pg_terminate_backend(pid))").await;
    blocked.await.unwrap().unwrap_err();
    let broken_at = f.postgres.ask("SELECT now()::text").await;
    drop(locker);
    f.proxy.set(Mood::Passing);
    for _ in 0..2 * CONNECTIONS {
        assert_eq!(f.ask(PATIENCE).await, Some(Cutoff::All));
    }
    let newer = format!("bool_and(backend_start > '{broken_at}')");
    assert_eq!(f.sessions(&newer).await, "true");
}
