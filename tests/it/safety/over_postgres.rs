//! One PostgreSQL, each replica behind a proxy. Only registered tokens are accepted: PostgreSQL loses no
//! registrations, so nobody has to register again.

use std::sync::Arc;

use revoxy::clock::SystemClock;
use revoxy::revocation::{PostgresStore, RevocationStore};
use sqlx::{Connection as _, PgConnection};

use super::backing::{Backing, Writer};
use super::faults::{Fault, Kind};
use crate::support::{Mood, PATIENCE, Postgres, Proxy, Scratch, postgres};

pub struct OverPostgres {
    server: Postgres,
    proxies: Vec<Proxy>,
}

/// Direct `INSERT`s, with one connection.
pub struct PostgresWriter {
    url: String,
    connection: Option<PgConnection>,
}

impl Backing for OverPostgres {
    type Writer = PostgresWriter;

    async fn start(scratch: &Scratch, replicas: usize) -> Self {
        let server = Postgres::start(scratch).await;
        let mut proxies = Vec::new();
        for _ in 0..replicas {
            proxies.push(Proxy::before(server.port()).await);
        }
        Self { server, proxies }
    }

    fn kinds(&self) -> Vec<Kind> {
        use Kind::*;
        // A feed has one connection for notifications and one for queries: if half of them hang, it is one of
        // the two.
        vec![
            Pause, Kill, Doze, Cut, Hang, Orphan, HangHalf, HangHalf, Delay, ClientKill, Flood,
            Restart,
        ]
    }

    fn store(&self, replica: usize) -> String {
        postgres::store(self.proxies[replica].port())
    }

    fn lines(&self) -> Vec<String> {
        vec!["mode: allow_list".to_owned()]
    }

    fn allow_list(&self) -> bool {
        true
    }

    async fn register(&self, jtis: &[String]) {
        let mut connection = self.server.connect().await.expect("a server that runs");
        let keys = jtis
            .iter()
            .map(|jti| format!("revoxy:registered:jti:shop:{jti}").into_bytes());
        let insert = sqlx::query("INSERT INTO revocations (key) SELECT unnest($1::bytea[])");
        let insert = insert.bind(keys.collect::<Vec<_>>());
        insert.execute(&mut connection).await.unwrap();
    }

    fn set_mood(&self, replica: usize, mood: Mood) {
        self.proxies[replica].set(mood);
    }

    fn writer(&self) -> PostgresWriter {
        PostgresWriter {
            url: self.server.url(),
            connection: None,
        }
    }

    async fn direct(&self) -> Arc<dyn RevocationStore> {
        let options = self.server.options();
        let store = PostgresStore::open(&options, PATIENCE, Arc::new(SystemClock)).await;
        Arc::new(store.unwrap())
    }

    async fn flood(&self, count: usize) {
        // One transaction, and as many notifications at once.
        let rows = format!(
            "INSERT INTO revocations SELECT convert_to('revoxy:jti:shop:flood-' || n, 'UTF8'), NULL, \
             now() + interval '1 min' FROM generate_series(1, {count}) n \
             ON CONFLICT (id) DO UPDATE SET expires_at = excluded.expires_at"
        );
        if let Some(mut connection) = self.server.connect().await {
            let flood = sqlx::raw_sql(sqlx::AssertSqlSafe(rows));
            let _ = flood.execute(&mut connection).await;
        }
    }

    async fn suffer(&mut self, fault: Fault, scratch: &Scratch) {
        let wait = tokio::time::sleep;
        match fault {
            Fault::Pause(time) => {
                self.server.pause();
                wait(time).await;
                self.server.resume();
            }
            Fault::Kill(time) => {
                self.server.kill();
                wait(time).await;
                self.server.restart(scratch).await;
            }
            Fault::ClientKill => {
                self.server
                    .run(
                        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                         WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
                    )
                    .await;
            }
            other => panic!("{other:?} is no fault of a PostgreSQL"),
        }
    }
}

impl Writer for PostgresWriter {
    async fn is_connected(&mut self) -> bool {
        if self.connection.is_none() {
            self.connection = PgConnection::connect(&self.url).await.ok();
        }
        self.connection.is_some()
    }

    async fn revoke(&mut self, jti: &str) -> bool {
        let Some(connection) = &mut self.connection else {
            return false;
        };
        let insert = sqlx::query("INSERT INTO revocations (key) VALUES ($1)");
        let key = format!("revoxy:jti:shop:{jti}");
        let done = insert
            .bind(key.as_bytes())
            .execute(connection)
            .await
            .is_ok();
        if !done {
            self.connection = None;
        }
        done
    }
}
