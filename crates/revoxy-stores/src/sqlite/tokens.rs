//! Token records in SQLite: the table `tokens`. Registrations are in the view, too.

use std::sync::Arc;

use async_trait::async_trait;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use crate::clock::Timestamp;
use crate::jwt::TokenType;

use super::super::StoreError;
use super::super::key::RevocationKey;
use super::super::record::{Place, TokenPage, TokenRecord};
use super::super::registry::{RegistrationKey, TokenRegistry};
use super::{GRACE, Inner, PRUNE_BATCH, SqliteStore, failed};

const COLUMNS: &str =
    "token, subject, session, client, kid, type, issued_at, expires_at, registered_until, noted_at";
/// Inserts a record or merges it with the existing one: see [`TokenRecord::merged_with`].
const KEEP: &str = "
    INSERT INTO tokens (id, issuer, token, subject, session, client, kid, type, issued_at, expires_at, registered_until,
                        noted_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET
        subject = coalesce(excluded.subject, subject),
        session = coalesce(excluded.session, session),
        client = coalesce(excluded.client, client),
        kid = coalesce(excluded.kid, kid),
        type = excluded.type,
        issued_at = coalesce(excluded.issued_at, issued_at),
        expires_at = max(excluded.expires_at, expires_at),
        registered_until = max(excluded.registered_until, registered_until),
        noted_at = min(excluded.noted_at, noted_at)
    RETURNING registered_until";

#[async_trait]
impl TokenRegistry for SqliteStore {
    async fn is_registered(&self, key: &RegistrationKey) -> Result<bool, StoreError> {
        // The view matches the file at every moment.
        let store = &self.0;
        Ok(store.view.find(key.hash(), store.clock.now()).is_some())
    }

    async fn register(&self, records: &[TokenRecord]) -> Result<(), StoreError> {
        let (store, records) = (Arc::clone(&self.0), records.to_vec());
        self.to_the_end(async move { store.keep(&records, true).await })
            .await
    }

    async fn note(&self, records: &[TokenRecord]) -> Result<(), StoreError> {
        let store = Arc::clone(&self.0);
        let listed = records.iter().filter(|r| r.subject.is_some());
        let records: Vec<_> = listed.cloned().collect();
        self.to_the_end(async move { store.keep(&records, false).await })
            .await
    }

    async fn of_subject(
        &self,
        issuer: &str,
        subject: &str,
        after: Option<Place>,
        limit: usize,
    ) -> Result<TokenPage, StoreError> {
        let store = &self.0;
        let now = store.clock.now();
        // A record that expires now is no longer live, so every live record comes after this position.
        let (millis, id) =
            after.map_or((now.millis(), u128::MAX), |p| (p.expires_at.millis(), p.id));
        let query = format!(
            "SELECT {COLUMNS} FROM tokens WHERE issuer = ? AND subject = ? AND expires_at > ? \
             AND (expires_at, id) > (?, ?) ORDER BY expires_at, id LIMIT ?"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(query))
            .bind(issuer)
            .bind(subject)
            .bind(now.millis())
            .bind(millis)
            .bind(id.to_be_bytes().to_vec())
            .bind(i64::try_from(limit.saturating_add(1)).unwrap_or(i64::MAX))
            .fetch_all(&store.pool)
            .await
            .map_err(failed)?;
        let records = rows.iter().map(|row| record(row, now));
        let records = records.collect::<Result<_, _>>()?;
        Ok(TokenPage::of(records, limit))
    }

    async fn find(
        &self,
        token: &RevocationKey,
        subject: Option<&str>,
    ) -> Result<Option<TokenRecord>, StoreError> {
        let query = format!("SELECT {COLUMNS} FROM tokens WHERE id = ? AND expires_at > ?");
        let now = self.0.clock.now();
        let row = sqlx::query(sqlx::AssertSqlSafe(query))
            .bind(id(token))
            .bind(now.millis())
            .fetch_optional(&self.0.pool)
            .await
            .map_err(failed)?;
        let found = row.as_ref().map(|row| record(row, now)).transpose()?;
        Ok(found.filter(|r| subject.is_none() || r.subject.as_deref() == subject))
    }
}

impl Inner {
    async fn keep(&self, records: &[TokenRecord], registered: bool) -> Result<(), StoreError> {
        let now = self.clock.now();
        let _writing = self.writing.lock().await;
        let mut transaction = self.pool.begin().await.map_err(failed)?;
        let mut registrations = Vec::new();
        for record in records.iter().filter(|r| r.is_live(now)) {
            sqlx::query("DELETE FROM tokens WHERE id = ? AND expires_at <= ?")
                .bind(id(&record.token))
                .bind(now.millis())
                .execute(&mut *transaction)
                .await
                .map_err(failed)?;
            let kept = sqlx::query(KEEP)
                .bind(id(&record.token))
                .bind(record.token.issuer())
                .bind(record.token.rendered())
                .bind(&record.subject)
                .bind(&record.session)
                .bind(&record.client)
                .bind(&record.kid)
                .bind(record.token_type.as_str())
                .bind(record.issued_at.map(Timestamp::millis))
                .bind(record.expires_at.millis())
                .bind(if registered {
                    record.expires_at.millis()
                } else {
                    0
                })
                .bind(record.noted_at.millis())
                .fetch_one(&mut *transaction)
                .await
                .map_err(failed)?;
            if registered {
                let until: i64 = kept.try_get(0).map_err(failed)?;
                let key = RegistrationKey::of(&record.token);
                registrations.push((key, Timestamp::from_millis(until)));
            }
        }
        transaction.commit().await.map_err(failed)?;
        for (key, until) in registrations {
            self.view.register(&key, until);
        }
        Ok(())
    }

    pub(super) async fn fill_view_with_registrations(&self) -> Result<(), StoreError> {
        let mut after = Vec::new();
        loop {
            let rows = sqlx::query(
                "SELECT id, token, registered_until FROM tokens WHERE id > ? AND registered_until > ? \
                 ORDER BY id LIMIT 10000",
            )
            .bind(&after)
            .bind(self.clock.now().minus(GRACE).millis())
            .fetch_all(&self.pool)
            .await
            .map_err(failed)?;
            let Some(last) = rows.last() else {
                return Ok(());
            };
            after = last.try_get("id").map_err(failed)?;
            for row in &rows {
                let until: i64 = row.try_get("registered_until").map_err(failed)?;
                let key = RegistrationKey::of(&token(row)?);
                self.view.register(&key, Timestamp::from_millis(until));
            }
        }
    }

    pub(super) async fn prune_tokens(&self, then: Timestamp) -> Result<u64, StoreError> {
        let mut pruned = 0;
        loop {
            let deleted = sqlx::query(
                "DELETE FROM tokens WHERE id IN (SELECT id FROM tokens WHERE expires_at <= ? LIMIT ?)",
            )
            .bind(then.millis())
            .bind(PRUNE_BATCH)
            .execute(&self.pool)
            .await
            .map_err(failed)?
            .rows_affected();
            pruned += deleted;
            if deleted == 0 {
                return Ok(pruned);
            }
        }
    }
}

fn id(token: &RevocationKey) -> Vec<u8> {
    token.hash().to_u128().to_be_bytes().to_vec()
}

fn none_of_ours() -> StoreError {
    StoreError::Failed("a token's record is none of ours".to_owned())
}

fn token(row: &SqliteRow) -> Result<RevocationKey, StoreError> {
    let rendered: String = row.try_get("token").map_err(failed)?;
    RevocationKey::parse(&rendered).ok_or_else(none_of_ours)
}

fn record(row: &SqliteRow, now: Timestamp) -> Result<TokenRecord, StoreError> {
    let token_type: String = row.try_get("type").map_err(failed)?;
    let issued_at: Option<i64> = row.try_get("issued_at").map_err(failed)?;
    let expires_at: i64 = row.try_get("expires_at").map_err(failed)?;
    let registered_until: i64 = row.try_get("registered_until").map_err(failed)?;
    let noted_at: i64 = row.try_get("noted_at").map_err(failed)?;
    Ok(TokenRecord {
        token: token(row)?,
        subject: row.try_get("subject").map_err(failed)?,
        session: row.try_get("session").map_err(failed)?,
        client: row.try_get("client").map_err(failed)?,
        kid: row.try_get("kid").map_err(failed)?,
        token_type: TokenType::from_name(&token_type).ok_or_else(none_of_ours)?,
        issued_at: issued_at.map(Timestamp::from_millis),
        expires_at: Timestamp::from_millis(expires_at),
        registered: registered_until > now.millis(),
        noted_at: Timestamp::from_millis(noted_at),
    })
}
