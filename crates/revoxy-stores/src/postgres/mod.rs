//! The PostgreSQL store: one row per revocation, in the table `revocations` of the schema that the URL's search
//! path names.
//!
//! So anybody can revoke with one line of `psql`: `INSERT INTO revocations VALUES ('revoxy:jti:shop:<jti>')`.
//! The columns are described in `migrations/1_revocations.sql`.
//!
//! With a view, `feed.rs` keeps a copy of all revocations in memory, and checks query the server only when the
//! copy is too old. Without a view, every check queries the server with one statement; that works through a
//! pooler that tracks prepared statements.

mod connect_options;
mod doctor;
mod error;
mod feed;
mod feed_end;
mod listener;
mod mirror;
mod pool;
mod row;
mod schema;
mod session;
mod tokens;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::clock::{Clock, Timestamp};
use crate::metrics::FeedMetrics;

use super::effect::Effect;
use super::feed::state::FeedState;
use super::feed::supervise::supervise;
use super::key::RevocationKey;
use super::options::PostgresOptions;
use super::state::Held;
use super::statement::{Cutoff, Revocation};
use super::view::View;
use super::{Durability, FeedSettings, Page, RevocationStore, StoreError, TokenRegistry};

use feed::Feed;
use pool::Pool;
use row::COLUMNS;

/// How many expired rows one statement deletes, so that a revocation never waits long for it.
const PRUNE_BATCH: i64 = 1000;
/// The pause between two attempts to connect at the start.
const PAUSE: Duration = Duration::from_millis(100);

/// The deadline for migrating the schema, and for waiting while another replica does that.
const MIGRATION_DEADLINE: Duration = Duration::from_secs(60);

/// An existing row is only ever strengthened; an expired row counts as absent. `synchronous_commit` is raised if it is
/// `off` or `local`: an acknowledged write must survive a crash, whatever the settings of this user's sessions are.
const REVOKE: &str = "
    INSERT INTO revocations AS r (key, not_before, expires_at, reason, actor, revoked_at)
    VALUES ($1, revocation_time($2), revocation_time($3), $4, $5, revocation_time($6))
    ON CONFLICT (id) DO UPDATE SET
        not_before = CASE
            WHEN r.expires_at <= revocation_time($7) THEN excluded.not_before
            WHEN r.not_before IS NULL OR excluded.not_before IS NULL THEN NULL
            ELSE greatest(r.not_before, excluded.not_before)
        END,
        expires_at = greatest(r.expires_at, excluded.expires_at),
        reason = excluded.reason,
        actor = excluded.actor,
        revoked_at = excluded.revoked_at
    -- What adds nothing is not written, and no replica hears of it.
    WHERE r.expires_at <= revocation_time($7)
        OR r.expires_at < excluded.expires_at
        OR coalesce(r.not_before, 'infinity') < coalesce(excluded.not_before, 'infinity')
        OR (r.reason, r.actor) IS DISTINCT FROM (excluded.reason, excluded.actor)
    RETURNING CASE WHEN current_setting('synchronous_commit') IN ('off', 'local')
        THEN set_config('synchronous_commit', 'on', true) END";

/// Makes the deletion as durable as a revocation: see [`REVOKE`].
const UNREVOKE: &str = "
    DELETE FROM revocations WHERE id = $1 RETURNING expires_at > revocation_time($2),
        CASE WHEN current_setting('synchronous_commit') IN ('off', 'local')
            THEN set_config('synchronous_commit', 'on', true) END";

/// Returns at least one row. Every row contains whether the server is in recovery, in which case it must not be
/// trusted, and a revocation if any exists.
const LOOKUP: &str = "
    SELECT pg_is_in_recovery(), r.id, revocation_millis(r.not_before) FROM (SELECT) AS once
    LEFT JOIN revocations r ON r.id = ANY ($1) AND r.expires_at > revocation_time($2)";

/// Deletes only rows that have expired by the server's clock as well: a row that a replica with a wrong clock
/// deletes is gone for all other replicas, too.
const PRUNE: &str = "
    DELETE FROM revocations WHERE id IN (
        SELECT id FROM revocations WHERE expires_at <= least(revocation_time($1), now())
        LIMIT $2 FOR UPDATE SKIP LOCKED)";

/// Revocations and token records in PostgreSQL.
pub struct PostgresStore {
    clock: Arc<dyn Clock>,
    pool: Pool,
    following: Option<Following>,
}

/// The view, and the task that keeps it current.
struct Following {
    view: Arc<View>,
    states: watch::Receiver<FeedState>,
    task: AbortHandle,
}

impl Drop for Following {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl PostgresStore {
    /// Opens a store that is queried on every check. Migrates the schema if necessary; waits for the server for
    /// as long as `patience`.
    pub async fn open(
        options: &PostgresOptions,
        patience: Duration,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        let deadline = Instant::now() + patience;
        loop {
            let migrated = match pool::connect(options).await {
                Ok(connection) => timeout(MIGRATION_DEADLINE, schema::migrate(connection))
                    .await
                    .unwrap_or(Err(StoreError::Timeout)),
                Err(error) => Err(error),
            };
            match migrated {
                Ok(()) => break,
                Err(StoreError::Unavailable(_)) if Instant::now() < deadline => {
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Self {
            clock,
            pool: Pool::new(options.clone()),
            following: None,
        })
    }

    /// Opens a store with a view that is kept current in the background, and is complete when this returns. If
    /// the server cannot be followed, the error says why. Reading a large list may take longer than `patience`.
    pub async fn with_view(
        options: &PostgresOptions,
        settings: FeedSettings,
        patience: Duration,
        clock: Arc<dyn Clock>,
        metrics: Arc<dyn FeedMetrics>,
    ) -> Result<Self, StoreError> {
        let mut store = Self::open(options, patience, Arc::clone(&clock)).await?;
        let view = Arc::<View>::default();
        let (feed, states) = Feed::new(options, settings, Arc::clone(&view), clock, metrics);
        let following = Following {
            view,
            states,
            task: tokio::spawn(supervise(feed)).abort_handle(),
        };
        FeedState::complete(following.states.clone(), patience).await?;
        store.following = Some(following);
        Ok(store)
    }

    /// Returns the cutoffs of the rows that exist, by id. A check asks for everything with this one statement,
    /// which every connection has prepared.
    async fn rows(&self, ids: &[[u8; 32]]) -> Result<HashMap<Vec<u8>, Cutoff>, StoreError> {
        let query = sqlx::query(LOOKUP)
            .bind(ids)
            .bind(self.clock.now().millis());
        let look = async |c: &mut PgConnection| {
            let rows = query.fetch_all(c).await?;
            let mut cutoffs = HashMap::with_capacity(rows.len());
            for row in &rows {
                if row.try_get(0)? {
                    return Ok(None);
                }
                if let Some(id) = row.try_get::<Option<Vec<u8>>, _>(1)? {
                    cutoffs.insert(id, row::cutoff(row.try_get(2)?));
                }
            }
            Ok((!rows.is_empty()).then_some(cutoffs))
        };
        self.pool.run(look).await?.ok_or_else(|| {
            self.pool.forget();
            StoreError::Unavailable(pool::STANDBY.to_owned())
        })
    }

    async fn write(&self, row: &Row<'_>) -> Result<(), StoreError> {
        let not_before = match row.effect {
            Effect::Revokes(Cutoff::IssuedUpTo(cutoff)) => Some(cutoff.millis()),
            Effect::Revokes(Cutoff::All) | Effect::Admits => None,
        };
        let statement = sqlx::query(REVOKE)
            .bind(row.key.as_bytes())
            .bind(not_before)
            .bind(row.expires_at.millis())
            .bind(without_nul(row.reason))
            .bind(without_nul(row.actor))
            .bind(row.written_at.millis())
            .bind(self.clock.now().millis());
        let written = async |c: &mut PgConnection| statement.execute(c).await.map(drop);
        self.pool.run(written).await
    }

    /// Retries a write once, because a connection that was lost while idle is noticed only by the next statement.
    /// The write is idempotent.
    async fn write_twice(&self, row: &Row<'_>) -> Result<(), StoreError> {
        match self.write(row).await {
            Err(StoreError::Unavailable(_)) => self.write(row).await,
            written => written,
        }
    }
}

/// A row of the table `revocations`, to be written.
struct Row<'r> {
    key: &'r str,
    effect: Effect,
    expires_at: Timestamp,
    reason: Option<&'r str>,
    actor: Option<&'r str>,
    written_at: Timestamp,
}

#[async_trait]
impl RevocationStore for PostgresStore {
    fn view(&self) -> Option<&View> {
        self.following.as_ref().map(|following| &*following.view)
    }

    fn registry(&self) -> Option<&dyn TokenRegistry> {
        Some(self)
    }

    async fn lookup(&self, keys: &[RevocationKey]) -> Result<Vec<Option<Cutoff>>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<_> = keys.iter().map(RevocationKey::digest).collect();
        let cutoffs = self.rows(&ids).await?;
        Ok(ids.iter().map(|id| cutoffs.get(&id[..]).copied()).collect())
    }

    async fn revoke(&self, revocation: &Revocation) -> Result<Durability, StoreError> {
        if !revocation.is_live(self.clock.now()) {
            return Ok(Durability::default());
        }
        let row = Row {
            key: revocation.key.rendered(),
            effect: revocation.cutoff.into(),
            expires_at: revocation.expires_at,
            reason: revocation.reason.as_deref(),
            actor: revocation.actor.as_deref(),
            written_at: revocation.revoked_at,
        };
        self.write_twice(&row).await?;
        if let Some(view) = self.view() {
            // The notification arrives later, but this process must refuse at once the tokens that were revoked
            // through it.
            view.strengthen(revocation.key.hash(), Held::of(revocation));
        }
        Ok(Durability::default())
    }

    async fn unrevoke(&self, key: &RevocationKey) -> Result<bool, StoreError> {
        let query = sqlx::query(UNREVOKE)
            .bind(key.digest())
            .bind(self.clock.now().millis());
        let row = self
            .pool
            .run(async |c: &mut PgConnection| query.fetch_optional(c).await)
            .await?;
        // The view is updated by the notification of the deletion, in commit order with all other changes to the
        // key. Removing the entry here could undo a later revocation.
        row.map_or(Ok(false), |row| {
            row.try_get(0).map_err(|e| error::store_error(&e))
        })
    }

    async fn get(&self, key: &RevocationKey) -> Result<Option<Revocation>, StoreError> {
        let query = format!(
            "SELECT {COLUMNS} FROM revocations r WHERE r.id = $1 AND r.expires_at > revocation_time($2)"
        );
        let query = sqlx::query(AssertSqlSafe(query))
            .bind(key.digest())
            .bind(self.clock.now().millis());
        let read = async |c: &mut PgConnection| {
            let row = query.fetch_optional(c).await?;
            row.as_ref().map_or(Ok(None), row::revocation)
        };
        self.pool.run(read).await
    }

    async fn list(&self, after: Option<&str>, limit: usize) -> Result<Page, StoreError> {
        let after = match after {
            Some(text) => hex::decode(text)
                .map_err(|_| StoreError::Failed("`after` is none of our cursors".to_owned()))?,
            None => Vec::new(),
        };
        let query = format!(
            "SELECT {COLUMNS} FROM revocations r WHERE r.id > $1 AND r.expires_at > revocation_time($2) \
             AND r.kind IS NOT NULL ORDER BY r.id LIMIT $3"
        );
        let query = sqlx::query(AssertSqlSafe(query))
            .bind(after)
            .bind(self.clock.now().millis())
            .bind(i64::try_from(limit).unwrap_or(i64::MAX));
        let read = async |c: &mut PgConnection| page(&query.fetch_all(c).await?, limit);
        self.pool.run(read).await
    }

    async fn prune(&self, now: Timestamp) -> Result<u64, StoreError> {
        if let Some(view) = self.view() {
            view.prune(now);
        }
        let mut pruned = 0;
        loop {
            let query = sqlx::query(PRUNE).bind(now.millis()).bind(PRUNE_BATCH);
            let sweep = async |c: &mut PgConnection| Ok(query.execute(c).await?.rows_affected());
            let deleted = self.pool.run(sweep).await?;
            pruned += deleted;
            if deleted == 0 {
                return Ok(pruned + self.prune_tokens(now).await?);
            }
        }
    }
}

fn page(rows: &[PgRow], limit: usize) -> sqlx::Result<Page> {
    let next = match rows.last() {
        Some(last) if rows.len() == limit => Some(hex::encode(last.try_get::<Vec<u8>, _>("id")?)),
        _ => None,
    };
    let revocations = rows
        .iter()
        .filter_map(|row| row::revocation(row).transpose());
    Ok(Page {
        revocations: revocations.collect::<sqlx::Result<_>>()?,
        next,
    })
}

/// Replaces NUL, the only character that a `text` in PostgreSQL cannot hold.
fn without_nul(text: Option<&str>) -> Option<String> {
    text.map(|text| text.replace('\0', "\u{fffd}"))
}
