//! A record as the API shows it, and whether its token is revoked.

use std::collections::HashMap;

use serde_json::{Number, Value, json};

use crate::clock::Timestamp;
use crate::revocation::{RevocationKey, TokenRecord};

use super::super::Api;
use super::super::answer::Failure;
use super::in_time;

impl Api {
    /// Returns, for each record, whether its token is revoked, or would be refused because it is not
    /// registered. Queries the store itself.
    pub(super) async fn are_revoked(&self, records: &[TokenRecord]) -> Result<Vec<bool>, Failure> {
        let (mut keys, mut places) = (Vec::new(), HashMap::<RevocationKey, usize>::new());
        let mut place = |key: RevocationKey| {
            *places.entry(key).or_insert_with_key(|key| {
                keys.push(key.clone());
                keys.len() - 1
            })
        };
        let of_records: Vec<Vec<usize>> = records
            .iter()
            .map(|record| record.keys().into_iter().map(&mut place).collect())
            .collect();
        let cutoffs = in_time(self.store.lookup(&keys)).await?;
        let is_revoked = |(record, places): (&TokenRecord, Vec<usize>)| {
            let cutoffs = places.into_iter().filter_map(|at| *cutoffs.get(at)?);
            let unregistered =
                self.allow_list && self.types.includes(record.token_type) && !record.registered;
            unregistered || record.is_revoked_by(cutoffs)
        };
        Ok(records.iter().zip(of_records).map(is_revoked).collect())
    }
}

/// Renders a record as JSON. Times are in seconds since the epoch.
pub(super) fn record(record: &TokenRecord) -> Value {
    json!({
        "issuer": record.token.issuer(),
        "id": record.token.value(),
        "id_kind": record.token.kind().as_str(),
        "sub": record.subject,
        "type": record.token_type.as_str(),
        "issued_at": record.issued_at.map(seconds),
        "expires_at": seconds(record.expires_at),
        "registered": record.registered,
        "noted_at": seconds(record.noted_at),
    })
}

/// Renders a record and whether its token is revoked.
pub(super) fn with_status(shown: &TokenRecord, revoked: bool) -> Value {
    let mut value = record(shown);
    value["revoked"] = json!(revoked);
    value
}

/// Renders whole seconds as an integer.
#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds have 48 bits, f64 holds 53"
)]
pub(super) fn seconds(at: Timestamp) -> Number {
    let millis = at.millis();
    match millis % 1000 {
        0 => Number::from(millis / 1000),
        _ => Number::from_f64(millis as f64 / 1000.0).unwrap_or_else(|| Number::from(at.secs())),
    }
}
