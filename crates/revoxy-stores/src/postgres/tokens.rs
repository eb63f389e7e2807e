//! Token records in PostgreSQL: the table `tokens`.
//!
//! Whether a token is registered is stored in the table `revocations`, under the key of its registration, so
//! that every replica's view is notified as for revocations. Records are not part of any view, and no
//! notification is sent for them.

use std::collections::BTreeMap;

use async_trait::async_trait;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use crate::clock::Timestamp;
use crate::digest::sha256;
use crate::jwt::TokenType;

use super::super::StoreError;
use super::super::key::RevocationKey;
use super::super::record::{Place, TokenPage, TokenRecord};
use super::super::registry::{RegistrationKey, TokenRegistry};
use super::{Effect, PRUNE_BATCH, PostgresStore, Row};

/// Merges like [`TokenRecord::merged_with`]; an expired row counts as absent. Rows are written in a fixed order, so
/// that two batches never wait for each other (deadlock).
const KEEP: &str = "
    INSERT INTO tokens AS t
        (id, token, registration, list, subject, session, client, kid, type, issued_at, expires_at, noted_at)
    SELECT n.id, n.token, n.registration, n.list, n.subject, n.session, n.client, n.kid, n.type,
        revocation_time(n.issued_at), revocation_time(n.expires_at), revocation_time(n.noted_at)
    FROM unnest($1::bytea[], $2::bytea[], $3::bytea[], $4::bytea[], $5::bytea[], $6::bytea[], $7::bytea[], $8::bytea[],
        $9::text[], $10::bigint[], $11::bigint[], $12::bigint[])
        AS n (id, token, registration, list, subject, session, client, kid, type, issued_at, expires_at, noted_at)
    ORDER BY n.id
    ON CONFLICT (id) DO UPDATE SET (list, subject, session, client, kid, type, issued_at, expires_at, noted_at) = (
        SELECT coalesce(excluded.list, old.list), coalesce(excluded.subject, old.subject),
            coalesce(excluded.session, old.session), coalesce(excluded.client, old.client),
            coalesce(excluded.kid, old.kid), excluded.type, coalesce(excluded.issued_at, old.issued_at),
            greatest(excluded.expires_at, old.expires_at), least(excluded.noted_at, old.noted_at)
        FROM (SELECT) AS once
        LEFT JOIN (SELECT t.*) AS old ON old.expires_at > revocation_time($13))";

/// Removes expired records in the same way as expired revocations.
const PRUNE: &str = "
    DELETE FROM tokens WHERE id IN (
        SELECT id FROM tokens WHERE expires_at <= least(revocation_time($1), now())
        LIMIT $2 FOR UPDATE SKIP LOCKED)";

/// The columns of a record, of the table `t`, and whether the token is registered at `$1`.
const COLUMNS: &str = "t.token, t.subject, t.session, t.client, t.kid, t.type, \
    revocation_millis(t.issued_at) AS issued_at, revocation_millis(t.expires_at) AS expires_at, \
    revocation_millis(t.noted_at) AS noted_at, EXISTS (SELECT FROM revocations r \
        WHERE r.id = t.registration AND r.expires_at > revocation_time($1)) AS registered";

#[async_trait]
impl TokenRegistry for PostgresStore {
    async fn is_registered(&self, key: &RegistrationKey) -> Result<bool, StoreError> {
        Ok(!self.rows(&[key.digest()]).await?.is_empty())
    }

    async fn register(&self, records: &[TokenRecord]) -> Result<(), StoreError> {
        // The list is written first, so that an accepted token is listed even if the second write fails.
        self.keep(records).await?;
        let now = self.clock.now();
        for record in records.iter().filter(|record| record.is_live(now)) {
            let key = RegistrationKey::of(&record.token);
            let row = Row {
                key: key.rendered(),
                effect: Effect::Admits,
                expires_at: record.expires_at,
                reason: None,
                actor: None,
                written_at: now,
            };
            self.write_twice(&row).await?;
        }
        // The view is updated by the notification of the registration, in order with all other changes; a check
        // before that queries the server.
        Ok(())
    }

    async fn note(&self, records: &[TokenRecord]) -> Result<(), StoreError> {
        let listed = records.iter().filter(|record| record.subject.is_some());
        let listed: Vec<_> = listed.cloned().collect();
        self.keep(&listed).await
    }

    async fn of_subject(
        &self,
        issuer: &str,
        subject: &str,
        after: Option<Place>,
        limit: usize,
    ) -> Result<TokenPage, StoreError> {
        let now = self.clock.now().millis();
        // A record that expires now is no longer live, so every live record comes after this place.
        let (millis, id) = after.map_or((now, u128::MAX), |p| (p.expires_at.millis(), p.id));
        let query = format!(
            "SELECT {COLUMNS} FROM tokens t WHERE t.list = $2 AND t.expires_at > revocation_time($1) \
             AND (t.expires_at, t.id) > (revocation_time($3), $4) ORDER BY t.expires_at, t.id LIMIT $5"
        );
        let query = sqlx::query(AssertSqlSafe(query))
            .bind(now)
            .bind(list(issuer, subject))
            .bind(millis)
            .bind(id.to_be_bytes().to_vec())
            .bind(i64::try_from(limit.saturating_add(1)).unwrap_or(i64::MAX));
        let rows = self
            .pool
            .run(async |c: &mut PgConnection| query.fetch_all(c).await)
            .await?;
        let records = rows.iter().map(record).collect::<Result<_, _>>()?;
        Ok(TokenPage::of(records, limit))
    }

    async fn find(
        &self,
        token: &RevocationKey,
        subject: Option<&str>,
    ) -> Result<Option<TokenRecord>, StoreError> {
        let query = format!(
            "SELECT {COLUMNS} FROM tokens t WHERE t.id = $2 AND t.expires_at > revocation_time($1)"
        );
        let query = sqlx::query(AssertSqlSafe(query))
            .bind(self.clock.now().millis())
            .bind(id(token));
        let row = self
            .pool
            .run(async |c: &mut PgConnection| query.fetch_optional(c).await)
            .await?;
        let found = row.as_ref().map(record).transpose()?;
        Ok(found.filter(|r| subject.is_none() || r.subject.as_deref() == subject))
    }
}

impl PostgresStore {
    async fn keep(&self, records: &[TokenRecord]) -> Result<(), StoreError> {
        let now = self.clock.now();
        // One statement cannot change a row twice.
        let mut once = BTreeMap::<u128, TokenRecord>::new();
        for record in records.iter().filter(|record| record.is_live(now)) {
            let joined = match once.get(&record.id()) {
                Some(before) => before.merged_with(record),
                None => record.clone(),
            };
            once.insert(joined.id(), joined);
        }
        let records: Vec<_> = once.values().collect();
        if records.is_empty() {
            return Ok(());
        }
        // Retried once, because a connection that was lost while idle is noticed only by the next statement. The
        // write is idempotent.
        match self.keep_once(&records, now).await {
            Err(StoreError::Unavailable(_)) => self.keep_once(&records, now).await,
            kept => kept,
        }
    }

    async fn keep_once(&self, records: &[&TokenRecord], now: Timestamp) -> Result<(), StoreError> {
        let bytes = |of: fn(&TokenRecord) -> Vec<u8>| -> Vec<Vec<u8>> {
            records.iter().map(|record| of(record)).collect()
        };
        let texts = |of: fn(&TokenRecord) -> Option<&String>| -> Vec<Option<Vec<u8>>> {
            let texts = records.iter().map(|record| of(record));
            texts.map(|text| Some(text?.clone().into_bytes())).collect()
        };
        let lists: Vec<Option<Vec<u8>>> = records
            .iter()
            .map(|r| Some(list(r.token.issuer(), r.subject.as_deref()?)))
            .collect();
        let types: Vec<&str> = records.iter().map(|r| r.token_type.as_str()).collect();
        let issued_at: Vec<Option<i64>> = records
            .iter()
            .map(|r| r.issued_at.map(Timestamp::millis))
            .collect();
        let expires_at: Vec<i64> = records.iter().map(|r| r.expires_at.millis()).collect();
        let noted_at: Vec<i64> = records.iter().map(|r| r.noted_at.millis()).collect();
        let query = sqlx::query(KEEP)
            .bind(bytes(|r| id(&r.token)))
            .bind(bytes(|r| r.token.rendered().as_bytes().to_vec()))
            .bind(bytes(|r| RegistrationKey::of(&r.token).digest().to_vec()))
            .bind(lists)
            .bind(texts(|r| r.subject.as_ref()))
            .bind(texts(|r| r.session.as_ref()))
            .bind(texts(|r| r.client.as_ref()))
            .bind(texts(|r| r.kid.as_ref()))
            .bind(types)
            .bind(issued_at)
            .bind(expires_at)
            .bind(noted_at)
            .bind(now.millis());
        self.pool
            .run(async |c: &mut PgConnection| query.execute(c).await.map(drop))
            .await
    }

    pub(super) async fn prune_tokens(&self, now: Timestamp) -> Result<u64, StoreError> {
        let mut pruned = 0;
        loop {
            let query = sqlx::query(PRUNE).bind(now.millis()).bind(PRUNE_BATCH);
            let sweep = async |c: &mut PgConnection| Ok(query.execute(c).await?.rows_affected());
            let deleted = self.pool.run(sweep).await?;
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

fn list(issuer: &str, subject: &str) -> Vec<u8> {
    sha256(format!("{issuer}:{subject}").as_bytes()).to_vec()
}

fn record(row: &PgRow) -> Result<TokenRecord, StoreError> {
    let none_of_ours = || StoreError::Failed("a token's record is none of ours".to_owned());
    read(row)
        .map_err(|error| super::error::store_error(&error))?
        .ok_or_else(none_of_ours)
}

fn read(row: &PgRow) -> sqlx::Result<Option<TokenRecord>> {
    let text = |name: &str| -> sqlx::Result<Option<String>> {
        let bytes: Option<Vec<u8>> = row.try_get(name)?;
        let text = bytes.map(String::from_utf8).transpose();
        text.map_err(|error| sqlx::Error::Decode(error.into()))
    };
    let time = |name: &str| row.try_get(name).map(Timestamp::from_millis);
    let token = text("token")?.as_deref().and_then(RevocationKey::parse);
    let token_type: String = row.try_get("type")?;
    let (Some(token), Some(token_type)) = (token, TokenType::from_name(&token_type)) else {
        return Ok(None);
    };
    let issued_at: Option<i64> = row.try_get("issued_at")?;
    Ok(Some(TokenRecord {
        token,
        subject: text("subject")?,
        session: text("session")?,
        client: text("client")?,
        kid: text("kid")?,
        token_type,
        issued_at: issued_at.map(Timestamp::from_millis),
        expires_at: time("expires_at")?,
        registered: row.try_get("registered")?,
        noted_at: time("noted_at")?,
    }))
}
