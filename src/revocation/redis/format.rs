//! The value of a native key: empty, or a JSON object with `not_before` (seconds), `reason`, `actor` and `at`
//! (seconds).
//!
//! Whatever stands there, the key itself says "revoked". A value that we cannot read therefore revokes every token:
//! to read it as nothing would un-revoke by a typing mistake.

use serde::Serialize;
use serde_json::Map;

use crate::clock::Timestamp;

use super::super::key::RevocationKey;
use super::super::statement::{Cutoff, Revocation};

#[derive(Default, Serialize)]
struct Value {
    #[serde(skip_serializing_if = "Option::is_none")]
    not_before: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<f64>,
}

/// The cutoff that a value says.
pub(super) fn cutoff(value: &[u8]) -> Cutoff {
    if value.is_empty() {
        return Cutoff::All;
    }
    Value::read(value).cutoff()
}

/// The cutoff, and when the revocation was written if the value says so.
pub(super) fn cutoff_and_time(value: &[u8]) -> (Cutoff, Option<Timestamp>) {
    let value = Value::read(value);
    (value.cutoff(), value.at.map(from_seconds))
}

/// A revocation as it stands in the store.
pub(super) fn revocation(key: RevocationKey, value: &[u8], expires_at: Timestamp) -> Revocation {
    let value = Value::read(value);
    Revocation {
        key,
        cutoff: value.cutoff(),
        expires_at,
        revoked_at: value.at.map_or(Timestamp::from_millis(0), from_seconds),
        reason: value.reason,
        actor: value.actor,
    }
}

/// The value to write, without the cutoff, which the script decides on.
pub(super) fn value(revocation: &Revocation) -> String {
    let value = Value {
        not_before: None,
        reason: revocation.reason.clone(),
        actor: revocation.actor.clone(),
        at: Some(to_seconds(revocation.revoked_at)),
    };
    serde_json::to_string(&value).unwrap_or_else(|_| "{}".to_owned())
}

/// The value of a restored revocation, of which nothing else is known, without the cutoff.
pub(super) fn restored_value() -> String {
    let value = Value {
        reason: Some("restored".to_owned()),
        ..Value::default()
    };
    serde_json::to_string(&value).unwrap_or_else(|_| "{}".to_owned())
}

/// The cutoff as the script takes it.
pub(super) fn cutoff_argument(cutoff: Cutoff) -> String {
    match cutoff {
        Cutoff::All | Cutoff::NoToken => String::new(),
        Cutoff::IssuedUpTo(at) => to_seconds(at).to_string(),
    }
}

impl Value {
    /// Member by member, as the script reads it: one that is not understood says nothing, and spoils no other.
    fn read(value: &[u8]) -> Self {
        let members: Map<String, serde_json::Value> =
            serde_json::from_slice(value).unwrap_or_default();
        let number = |name: &str| members.get(name).and_then(serde_json::Value::as_f64);
        let text = |name: &str| Some(members.get(name)?.as_str()?.to_owned());
        Self {
            not_before: number("not_before"),
            reason: text("reason"),
            actor: text("actor"),
            at: number("at"),
        }
    }

    fn cutoff(&self) -> Cutoff {
        match self.not_before {
            Some(seconds) => Cutoff::IssuedUpTo(from_seconds(seconds)),
            None => Cutoff::All,
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds have 43 bits, f64 holds 53"
)]
fn to_seconds(at: Timestamp) -> f64 {
    at.millis() as f64 / 1000.0
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "`as` saturates, which is what is meant"
)]
fn from_seconds(seconds: f64) -> Timestamp {
    Timestamp::from_millis((seconds * 1000.0).round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_or_unreadable_value_revokes_every_token() {
        for value in [
            "",
            "1",
            "true",
            "x",
            "{",
            "[]",
            "[5]",
            r#"{"not_before":"yesterday"}"#,
            "{}",
        ] {
            assert_eq!(cutoff(value.as_bytes()), Cutoff::All, "{value}");
        }
        assert_eq!(cutoff(b"\xff"), Cutoff::All);
    }

    #[test]
    fn a_cutoff_is_read_in_seconds_with_fractions() {
        let expected = Cutoff::IssuedUpTo(Timestamp::from_millis(1_700_000_000_250));
        assert_eq!(cutoff(br#"{"not_before":1700000000.25,"x":1}"#), expected);
        let spoiled = br#"{"not_before":1700000000.25,"at":"x","reason":7}"#;
        assert_eq!(cutoff(spoiled), expected);
        assert_eq!(cutoff_argument(expected), "1700000000.25");
    }
}
