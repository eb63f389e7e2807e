//! Creates and migrates the tables: see `migrations/`.
//!
//! Replicas that start at the same time wait for each other. Once the schema is current, a user that may only
//! read and write rows is sufficient.

use sqlx::migrate::{Migrate as _, MigrateError, Migrator};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::super::StoreError;
use super::super::migrations::{self, MigrationStep, TABLE};
use super::error;

const STEPS: [MigrationStep; 2] = [
    (
        1,
        "revocations",
        include_str!("migrations/1_revocations.sql"),
    ),
    (2, "tokens", include_str!("migrations/2_tokens.sql")),
];

/// Makes the schema current, if it is not. Consumes the connection, which may still hold the lock if this fails.
pub(super) async fn migrate(mut connection: PgConnection) -> Result<(), StoreError> {
    let migrator = migrations::migrator(&STEPS);
    if is_current(&mut connection, &migrator).await? {
        return Ok(());
    }
    // Not `run`: the compiler does not accept its future as `Send`.
    let migrated = migrator.run_direct(None, &mut connection, false).await;
    migrated.map_err(|e| failed(&e))?;
    tracing::info!(steps = STEPS.len(), "the schema in PostgreSQL is current");
    // Everything is done, so it does not matter whether the server receives the termination message.
    let _ = connection.close().await;
    Ok(())
}

/// Returns whether every step has been applied. Needs only the privilege to read.
async fn is_current(
    connection: &mut PgConnection,
    migrator: &Migrator,
) -> Result<bool, StoreError> {
    let there = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL").bind(TABLE);
    let there: bool = there
        .fetch_one(&mut *connection)
        .await
        .map_err(|e| error::store_error(&e))?;
    if !there {
        return Ok(false);
    }
    let applied = connection.list_applied_migrations(TABLE).await;
    let applied = applied.map_err(|e| failed(&e))?;
    let is_known = |v| migrator.iter().any(|step| step.version == v);
    if let Some(later) = applied.iter().find(|a| !is_known(a.version)) {
        return Err(failed(&MigrateError::VersionMissing(later.version)));
    }
    for step in migrator.iter() {
        match applied.iter().find(|a| a.version == step.version) {
            None => return Ok(false),
            Some(a) if a.checksum != step.checksum => {
                return Err(failed(&MigrateError::VersionMismatch(step.version)));
            }
            Some(_) => {}
        }
    }
    Ok(true)
}

fn failed(error: &MigrateError) -> StoreError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
            if error::is_forbidden(error) {
                return StoreError::Failed(format!(
                    "the schema is not current and this user may not change it ({}): start revoxy once as the owner \
                     of the schema, or `GRANT CREATE, USAGE ON SCHEMA ...` to this user; afterwards SELECT, INSERT, \
                     UPDATE and DELETE on revocations and tokens, and SELECT on {TABLE}, will do",
                    error::describe(error)
                ));
            }
            error::store_error(error)
        }
        other => StoreError::Failed(migrations::explain(other)),
    }
}

/// The state of the triggers that notify about changes.
pub(super) struct Triggers {
    /// A text that changes with every change to any of the triggers, and to the table itself.
    pub state: String,
    /// Whether both triggers exist and are enabled.
    pub sound: bool,
}

/// The statement that makes the triggers sound again.
pub(super) const ENABLE: &str = "ALTER TABLE revocations ENABLE ALWAYS TRIGGER revocation_changed, \
    ENABLE ALWAYS TRIGGER revocations_emptied";

/// A subquery that returns the state of the triggers.
pub(super) const TRIGGERS: &str = "(SELECT concat(to_regclass('revocations')::oid, ': ', \
    string_agg(t.tgname || '=' || t.tgenabled::text || '@' || t.xmin::text, ', ' ORDER BY t.tgname)) FROM pg_trigger t \
    WHERE t.tgrelid = to_regclass('revocations') AND NOT t.tgisinternal)";

impl Triggers {
    /// Parses the result of [`TRIGGERS`].
    pub(super) fn read(state: String) -> Self {
        let enabled = |name: &str| {
            ["A", "O"]
                .iter()
                .any(|how| state.contains(&format!("{name}={how}@")))
        };
        Self {
            sound: enabled("revocation_changed") && enabled("revocations_emptied"),
            state,
        }
    }

    /// Queries the state of the triggers.
    pub(super) async fn ask(connection: &mut PgConnection) -> sqlx::Result<Self> {
        let query = sqlx::query_scalar(AssertSqlSafe(format!("SELECT {TRIGGERS}")));
        query.fetch_one(connection).await.map(Self::read)
    }
}
