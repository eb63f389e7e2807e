//! Diagnoses which server it is, and why a revocation list would not be safe with it.

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use tokio::time::timeout;

use super::super::options::PostgresOptions;
use super::super::{Diagnosis, StoreError};
use super::schema::{ENABLE, TRIGGERS, Triggers};
use super::{error, pool};

/// Settings that decide what survives a crash, and what goes wrong if they are `off`.
const SETTINGS: [(&str, &str); 3] = [
    (
        "fsync",
        "what is acknowledged is lost, and the data with it, when the machine crashes: set `fsync = on`",
    ),
    (
        "full_page_writes",
        "a crash can leave torn pages: set `full_page_writes = on`",
    ),
    (
        "synchronous_commit",
        "what others write by this user's settings is acknowledged before it is durable (revoxy's own writes are \
         not): set `synchronous_commit = on`",
    ),
];

impl PostgresOptions {
    /// Connects once and reports which server it is, and why a revocation list would not be safe with it.
    /// Changes nothing.
    pub async fn diagnose(&self) -> Result<Diagnosis, StoreError> {
        let asked = async {
            let mut connection = pool::connect(self).await?;
            let read = async { Ok((ask(&mut connection).await?, version(&mut connection).await?)) };
            read.await.map_err(|e: sqlx::Error| error::store_error(&e))
        };
        let asked = timeout(self.connect_timeout * 2, asked).await;
        let asked = asked.unwrap_or(Err(StoreError::Timeout));
        let (warnings, version) = asked?;
        let at = self.address()?;
        Ok(Diagnosis {
            warnings,
            notes: vec![format!("connected to PostgreSQL {version} at {at}")],
            ..Diagnosis::default()
        })
    }
}

/// Returns only the version number: some distributions append where it was packaged.
async fn version(connection: &mut PgConnection) -> sqlx::Result<String> {
    let version = sqlx::query_scalar("SELECT current_setting('server_version')");
    let version: String = version.fetch_one(connection).await?;
    let number = version.split_whitespace().next().unwrap_or_default();
    Ok(number.to_owned())
}

async fn ask(connection: &mut PgConnection) -> sqlx::Result<Vec<String>> {
    let mut warnings = Vec::new();
    for (name, what) in SETTINGS {
        let setting = sqlx::query_scalar("SELECT current_setting($1)").bind(name);
        let value: String = setting.fetch_one(&mut *connection).await?;
        if value == "off" {
            warnings.push(format!("{name} is off: {what}"));
        }
    }
    let table = format!(
        "SELECT to_regclass('revocations') IS NOT NULL, \
         (SELECT relpersistence::text FROM pg_class WHERE oid = to_regclass('revocations')), {TRIGGERS}"
    );
    let table = sqlx::query(AssertSqlSafe(table))
        .fetch_one(connection)
        .await?;
    warnings.extend(of_table(&table)?);
    Ok(warnings)
}

fn of_table(row: &PgRow) -> sqlx::Result<Vec<String>> {
    let mut warnings = Vec::new();
    if !row.try_get::<bool, _>(0)? {
        // The table is created at the first start.
        return Ok(warnings);
    }
    if row.try_get::<Option<String>, _>(1)?.as_deref() == Some("u") {
        warnings.push(
            "the table revocations is unlogged: a crash empties it: ALTER TABLE revocations SET LOGGED".to_owned(),
        );
    }
    if !Triggers::read(row.try_get(2)?).sound {
        warnings.push(format!(
            "a trigger of the table revocations is missing or disabled, so no view hears of changes: {ENABLE}"
        ));
    }
    Ok(warnings)
}
