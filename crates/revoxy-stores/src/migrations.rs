//! Schema migrations: numbered SQL steps that are part of the program. A table in the database records which
//! steps were applied, with a checksum of each.
//!
//! A released step is never changed; changes are added as new steps at the end.

use sqlx::SqlSafeStr as _;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};

/// The table that records the applied steps. It does not have the library's default name, because an
/// application that uses the same library may share the schema.
pub(super) const TABLE: &str = "revoxy_migrations";

/// One step: its number (from 1), its purpose, and its SQL.
pub(super) type MigrationStep = (i64, &'static str, &'static str);

/// Makes a migrator for all steps, to be run under the database's lock.
pub(super) fn migrator(steps: &'static [MigrationStep]) -> Migrator {
    let step = |(version, name, sql): &MigrationStep| {
        let (kind, sql) = (MigrationType::Simple, (*sql).into_sql_str());
        Migration::new(*version, (*name).into(), kind, sql, false)
    };
    let mut migrator = Migrator::with_migrations(steps.iter().map(step).collect());
    migrator.dangerous_set_table_name(TABLE);
    migrator
}

/// Explains a failed migration to the operator.
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
