//! The SQLite store: the embedded default. One file, which only this process writes, read into a [`View`] at
//! start.
//!
//! The store uses `sqlx` because that crate serves PostgreSQL with the same code. The database is opened in
//! exclusive mode: a second process on the same file would not see what this process writes, so the second process
//! is refused at start. With `synchronous=FULL`, an acknowledged revocation survives a power failure of the
//! machine, not only a crash of the process.

mod tokens;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::migrate::MigrateError;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteLockingMode, SqlitePool,
    SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{Connection as _, Row as _};
use tokio::sync::Mutex;

use crate::clock::{Clock, Timestamp};

use super::key::RevocationKey;
use super::migrations::{self, MigrationStep};
use super::statement::{Cutoff, Revocation};
use super::view::View;
use super::{Durability, Page, RevocationStore, StoreError, TokenRegistry};

const STEPS: [MigrationStep; 2] = [
    (
        1,
        "revocations",
        include_str!("migrations/1_revocations.sql"),
    ),
    (2, "tokens", include_str!("migrations/2_tokens.sql")),
];
const COLUMNS: &str = "key, not_before, expires_at, reason, actor, revoked_at";
/// The maximum number of expired rows that one statement deletes, so that a revocation never waits long
/// behind it.
const PRUNE_BATCH: i64 = 1000;

/// How long expired rows and entries are kept, in the file and the view: the clock may have jumped ahead, and
/// may be set back.
const GRACE: Duration = Duration::from_secs(3600);

/// Revocations and token records in an SQLite file.
pub struct SqliteStore(Arc<Inner>);

struct Inner {
    clock: Arc<dyn Clock>,
    pool: SqlitePool,
    view: View,
    /// Held from reading a row to updating the view, so that the file and the view are changed in the same order.
    writing: Mutex<()>,
}

impl SqliteStore {
    /// Opens the file, creates it and its tables if they are missing, and reads what it contains.
    pub async fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .locking_mode(SqliteLockingMode::Exclusive)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(1));
        // One connection: in exclusive mode there cannot be a second one.
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(Duration::from_secs(5))
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options)
            .await
            .map_err(failed)?;
        let migrated = migrations::migrator(&STEPS).run(&pool).await;
        migrated.map_err(|error| match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
                failed(error)
            }
            other => StoreError::Failed(migrations::explain(&other)),
        })?;
        let store = Inner {
            clock,
            pool,
            view: View::always_fresh(),
            writing: Mutex::default(),
        };
        store.fill_view().await?;
        Ok(Self(Arc::new(store)))
    }

    /// Returns the version of the SQLite library.
    pub async fn version() -> Result<String, StoreError> {
        let version = async {
            let mut memory = SqliteConnection::connect("sqlite::memory:").await?;
            let version = sqlx::query_scalar("SELECT sqlite_version()");
            version.fetch_one(&mut memory).await
        };
        version.await.map_err(failed)
    }

    /// Runs a change to completion, even if its caller gives up: what is in the file must be in the view.
    async fn to_the_end<T: Send + 'static>(
        &self,
        change: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let ended = tokio::spawn(change).await;
        ended.unwrap_or_else(|_| Err(StoreError::Failed("the change was broken off".to_owned())))
    }
}

impl Inner {
    async fn fill_view(&self) -> Result<(), StoreError> {
        let since = self.clock.now().minus(GRACE);
        let mut after = None;
        loop {
            let page = self.page(after.as_deref(), 10_000, since).await?;
            for revocation in page.revocations {
                self.view.record(&revocation);
            }
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        self.fill_view_with_registrations().await
    }

    async fn page(
        &self,
        after: Option<&str>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Page, StoreError> {
        let query = format!(
            "SELECT {COLUMNS} FROM revocations WHERE key > ? AND expires_at > ? ORDER BY key LIMIT ?"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(query))
            .bind(after.unwrap_or_default())
            .bind(now.millis())
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(&self.pool)
            .await
            .map_err(failed)?;
        let revocations = rows.iter().map(revocation).collect::<Result<Vec<_>, _>>()?;
        let next = match revocations.last() {
            Some(last) if rows.len() == limit => Some(last.key.rendered().to_owned()),
            _ => None,
        };
        Ok(Page { revocations, next })
    }
}

#[async_trait]
impl RevocationStore for SqliteStore {
    fn view(&self) -> Option<&View> {
        Some(&self.0.view)
    }

    fn registry(&self) -> Option<&dyn TokenRegistry> {
        Some(self)
    }

    async fn lookup(&self, keys: &[RevocationKey]) -> Result<Vec<Option<Cutoff>>, StoreError> {
        self.0.lookup(keys).await
    }

    async fn revoke(&self, revocation: &Revocation) -> Result<Durability, StoreError> {
        let (store, revocation) = (Arc::clone(&self.0), revocation.clone());
        self.to_the_end(async move { store.revoke(&revocation).await })
            .await
    }

    async fn unrevoke(&self, key: &RevocationKey) -> Result<bool, StoreError> {
        let (store, key) = (Arc::clone(&self.0), key.clone());
        self.to_the_end(async move { store.unrevoke(&key).await })
            .await
    }

    async fn get(&self, key: &RevocationKey) -> Result<Option<Revocation>, StoreError> {
        self.0.get(key).await
    }

    async fn list(&self, after: Option<&str>, limit: usize) -> Result<Page, StoreError> {
        self.0.page(after, limit, self.0.clock.now()).await
    }

    async fn prune(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.0.prune(now.minus(GRACE)).await
    }
}

impl Inner {
    async fn lookup(&self, keys: &[RevocationKey]) -> Result<Vec<Option<Cutoff>>, StoreError> {
        let mut cutoffs = Vec::with_capacity(keys.len());
        for key in keys {
            cutoffs.push(self.get(key).await?.map(|r| r.cutoff));
        }
        Ok(cutoffs)
    }

    async fn revoke(&self, revocation: &Revocation) -> Result<Durability, StoreError> {
        let _writing = self.writing.lock().await;
        let current = match self.get(&revocation.key).await? {
            // The holder of a token may revoke it again and again; that must not write to the disk every
            // time.
            Some(old) if !revocation.adds_to(&old) => return Ok(Durability::default()),
            Some(old) => old.strengthened_by(revocation),
            None => revocation.clone(),
        };
        let query =
            format!("INSERT OR REPLACE INTO revocations ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)");
        let not_before = match current.cutoff {
            Cutoff::All => None,
            Cutoff::IssuedUpTo(cutoff) => Some(cutoff.millis()),
        };
        sqlx::query(sqlx::AssertSqlSafe(query))
            .bind(current.key.rendered())
            .bind(not_before)
            .bind(current.expires_at.millis())
            .bind(&current.reason)
            .bind(&current.actor)
            .bind(current.revoked_at.millis())
            .execute(&self.pool)
            .await
            .map_err(failed)?;
        self.view.record(&current);
        Ok(Durability::default())
    }

    async fn unrevoke(&self, key: &RevocationKey) -> Result<bool, StoreError> {
        let _writing = self.writing.lock().await;
        let deleted = sqlx::query("DELETE FROM revocations WHERE key = ? RETURNING expires_at")
            .bind(key.rendered())
            .fetch_optional(&self.pool)
            .await
            .map_err(failed)?;
        self.view.forget(key);
        match deleted {
            Some(row) => {
                let expires_at: i64 = row.try_get(0).map_err(failed)?;
                Ok(self.clock.now() < Timestamp::from_millis(expires_at))
            }
            None => Ok(false),
        }
    }

    async fn get(&self, key: &RevocationKey) -> Result<Option<Revocation>, StoreError> {
        let query = format!("SELECT {COLUMNS} FROM revocations WHERE key = ? AND expires_at > ?");
        let row = sqlx::query(sqlx::AssertSqlSafe(query))
            .bind(key.rendered())
            .bind(self.clock.now().millis())
            .fetch_optional(&self.pool)
            .await
            .map_err(failed)?;
        row.as_ref().map(revocation).transpose()
    }

    /// Deletes what had expired at `then`.
    async fn prune(&self, then: Timestamp) -> Result<u64, StoreError> {
        self.view.prune(then);
        let mut pruned = 0;
        loop {
            let deleted = sqlx::query(
                "DELETE FROM revocations WHERE key IN \
                 (SELECT key FROM revocations WHERE expires_at <= ? LIMIT ?)",
            )
            .bind(then.millis())
            .bind(PRUNE_BATCH)
            .execute(&self.pool)
            .await
            .map_err(failed)?
            .rows_affected();
            pruned += deleted;
            if deleted == 0 {
                break;
            }
        }
        Ok(pruned + self.prune_tokens(then).await?)
    }
}

fn revocation(row: &SqliteRow) -> Result<Revocation, StoreError> {
    let key: String = row.try_get("key").map_err(failed)?;
    let not_before: Option<i64> = row.try_get("not_before").map_err(failed)?;
    let expires_at: i64 = row.try_get("expires_at").map_err(failed)?;
    let revoked_at: i64 = row.try_get("revoked_at").map_err(failed)?;
    Ok(Revocation {
        key: RevocationKey::parse(&key).ok_or_else(|| {
            StoreError::Failed("a row holds a key that is none of ours".to_owned())
        })?,
        cutoff: not_before.map_or(Cutoff::All, |ms| {
            Cutoff::IssuedUpTo(Timestamp::from_millis(ms))
        }),
        expires_at: Timestamp::from_millis(expires_at),
        reason: row.try_get("reason").map_err(failed)?,
        actor: row.try_get("actor").map_err(failed)?,
        revoked_at: Timestamp::from_millis(revoked_at),
    })
}

/// The library's messages contain the names of tables and files, and SQL, but never bound values.
fn failed(error: sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::PoolTimedOut => StoreError::Timeout,
        sqlx::Error::Database(e) if e.message().contains("locked") => StoreError::Unavailable(
            "the database file is locked: another process has it open".to_owned(),
        ),
        other => StoreError::Failed(other.to_string()),
    }
}
