//! Schemas by migrations: numbered steps in SQL that are part of the program. Which of them a database has had stands
//! in a table of its own there, with a checksum of each.
//!
//! A step that has been released is never changed; a new one is added behind it.

use sqlx::SqlSafeStr as _;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};

/// The table that says which steps a database has had. Not the library's own name for it: the schema may be shared
/// with an application that uses the library too.
pub(super) const TABLE: &str = "revoxy_migrations";

/// One step: its number, from 1, what it is for, and its SQL.
pub(super) type Step = (i64, &'static str, &'static str);

/// All steps, ready to be run under the lock of the database.
pub(super) fn migrator(steps: &'static [Step]) -> Migrator {
    let step = |(version, name, sql): &Step| {
        let (kind, sql) = (MigrationType::Simple, (*sql).into_sql_str());
        Migration::new(*version, (*name).into(), kind, sql, false)
    };
    let mut migrator = Migrator::with_migrations(steps.iter().map(step).collect());
    migrator.dangerous_set_table_name(TABLE);
    migrator
}

/// What a failed migration means for whoever runs this.
pub(super) fn explain(error: &MigrateError) -> String {
    match error {
        MigrateError::VersionMissing(version) => format!(
            "the schema has had migration {version}, which this version does not know: a later version of revoxy has \
             been here; run that one, or a later one"
        ),
        MigrateError::VersionMismatch(version) => format!(
            "migration {version} of the schema is another than this version's: somebody has changed {TABLE}, or the \
             schema is of an unreleased version"
        ),
        other => other.to_string(),
    }
}
