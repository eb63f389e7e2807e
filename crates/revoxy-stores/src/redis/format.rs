//! The value of a native or restored key: empty, or a JSON object with `not_before` (seconds), `version`,
//! `unrevoked` (a version), `reason`, `actor` and `at` (seconds).
//!
//! The existence of the key means "revoked", unless the value states an un-revocation and no later revocation. So a
//! value that cannot be parsed revokes every token: if it counted as absent, a typing mistake would un-revoke.

use std::time::Duration;

use serde::Serialize;
use serde_json::Map;

use crate::clock::Timestamp;

use super::super::effect::Effect;
use super::super::key::RevocationKey;
use super::super::state::{Held, KeyState};
use super::super::statement::{Cutoff, Revocation};
use super::super::version::Version;
use super::LONGEST_LIFE;

/// A key that disappears at most this long before its expiry counts as expired: the server's clock and ours differ.
pub(super) const EXPIRY_SLACK: Duration = Duration::from_secs(2);

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

/// What a value states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stated {
    /// What the key means for its tokens, and the version of that statement: [`Version::NONE`] if it has none.
    /// `None` if the latest statement is an un-revocation.
    pub effect: Option<(Effect, Version)>,
    /// The latest un-revocation.
    pub unrevoked: Version,
    /// When the value was written, if the value contains that.
    pub written_at: Option<Timestamp>,
    /// Whether the value does not follow the format: it is neither empty nor an object in which `not_before`,
    /// if present, is a number.
    pub is_unreadable: bool,
}

impl Stated {
    /// Parses a value; `None` is the value of a key that is not a string.
    pub(super) fn read(value: Option<&[u8]>) -> Self {
        let value = value.unwrap_or_default();
        if value.is_empty() {
            return Self::unversioned(Effect::REVOKES_ALL);
        }
        let members = serde_json::from_slice::<Map<String, serde_json::Value>>(value);
        let is_object = members.is_ok();
        let members = members.unwrap_or_default();
        let not_before = members.get("not_before");
        let is_cutoff = not_before.is_none_or(serde_json::Value::is_number);
        let version = |name: &str| members.get(name)?.as_str()?.parse::<Version>().ok();
        let unrevoked = version("unrevoked").unwrap_or_default();
        let is_taken_back = unrevoked != Version::NONE && !members.contains_key("version");
        let value = Value::of(&members);
        let revoked = (
            value.cutoff().into(),
            version("version").unwrap_or_default(),
        );
        Self {
            effect: (!is_taken_back).then_some(revoked),
            unrevoked,
            written_at: value.at.map(from_seconds),
            is_unreadable: !(is_object && is_cutoff),
        }
    }

    /// A statement without a version.
    pub(super) fn unversioned(effect: Effect) -> Self {
        Self {
            effect: Some((effect, Version::NONE)),
            unrevoked: Version::NONE,
            written_at: None,
            is_unreadable: false,
        }
    }

    /// Converts the value to a state, for a reader that knows of at least the un-revocation `unrevoked`.
    pub(super) fn state(&self, unrevoked: Version, expires_at: Timestamp) -> KeyState {
        let unrevoked = unrevoked.max(self.unrevoked);
        match self.effect {
            None => KeyState::unrevoked(unrevoked, expires_at),
            Some((effect, version)) => {
                let held = Held {
                    effect,
                    version,
                    expires_at,
                };
                KeyState::revoked(held, unrevoked)
            }
        }
    }
}

/// Returns the cutoff of the native and the restored key together; `None` if the key is not revoked.
pub(super) fn cutoff(native: Option<&[u8]>, restored: Option<&[u8]>) -> Option<Cutoff> {
    let end = Timestamp::NEVER;
    let restored = restored.map(|value| restored_state(Stated::read(Some(value)), end));
    let restored = restored.unwrap_or(KeyState::NOTHING);
    let native = native.map(|value| Stated::read(Some(value)).state(restored.unrevoked, end));
    let both = native.unwrap_or(KeyState::NOTHING).merge(restored);
    both.held()?.effect.cutoff()
}

/// Returns the state in a restored key, for a reader that knows of no un-revocation.
pub(super) fn restored_state(stated: Stated, expires_at: Timestamp) -> KeyState {
    stated.state(Version::NONE, expires_at)
}

/// The value of a key, and when it expires.
pub(super) type Whole = (Vec<u8>, Timestamp);

/// Combines a key's value with the remaining life in ms that Redis reports, which is negative if the key does
/// not expire.
pub(super) fn whole(value: Option<Vec<u8>>, left: i64, now: Timestamp) -> Option<Whole> {
    let end = match u64::try_from(left) {
        Ok(ms) => now.plus(Duration::from_millis(ms)),
        Err(_) => Timestamp::NEVER,
    };
    Some((value?, end))
}

/// Returns the revocation that is stored under the native key, the restored key, or both; `None` if nothing is
/// stored, or the revocation was taken back.
pub(super) fn revocation(
    key: RevocationKey,
    native: Option<&Whole>,
    restored: Option<&Whole>,
) -> Option<Revocation> {
    let state = |whole: Option<&Whole>, unrevoked: Version| match whole {
        Some((value, end)) => Stated::read(Some(value)).state(unrevoked, *end),
        None => KeyState::NOTHING,
    };
    let beside = state(restored, Version::NONE);
    let held = state(native, beside.unrevoked).merge(beside).held()?;
    // A restored key no longer has reason and actor.
    let (value, _) = native
        .filter(|(value, _)| Stated::read(Some(value)).effect.is_some())
        .or(restored)?;
    let members: Map<String, serde_json::Value> = serde_json::from_slice(value).unwrap_or_default();
    let value = Value::of(&members);
    Some(Revocation {
        key,
        cutoff: held.effect.cutoff()?,
        expires_at: held.expires_at,
        revoked_at: value.at.map_or(Timestamp::from_millis(0), from_seconds),
        reason: value.reason,
        actor: value.actor,
    })
}

/// Formats the value to write, without the cutoff, which the script determines.
pub(super) fn value(revocation: &Revocation) -> String {
    let value = Value {
        not_before: None,
        reason: revocation.reason.clone(),
        actor: revocation.actor.clone(),
        at: Some(to_seconds(revocation.revoked_at)),
    };
    serde_json::to_string(&value).unwrap_or_else(|_| "{}".to_owned())
}

/// Returns the script's arguments to write a state back: all that a view knows, which does not include reason
/// and actor.
pub(super) fn restoring(state: &KeyState, now: Timestamp) -> [String; 6] {
    let text = |version: Version| match version {
        Version::NONE => String::new(),
        stated => stated.to_string(),
    };
    let life = match state.expires_at {
        Timestamp::NEVER => None,
        end => u64::try_from(end.since(now).as_millis().max(1)).ok(),
    };
    // A life longer than Redis can represent becomes "forever".
    let life = life.filter(|life| *life <= LONGEST_LIFE);
    let held = state.held();
    let value = Value {
        reason: Some("restored".to_owned()),
        ..Value::default()
    };
    [
        text(held.map_or(Version::NONE, |held| held.version)),
        text(state.unrevoked),
        held.and_then(|held| held.effect.cutoff())
            .map_or(String::new(), cutoff_argument),
        life.map_or(String::new(), |life| life.to_string()),
        EXPIRY_SLACK.as_millis().to_string(),
        serde_json::to_string(&value).unwrap_or_else(|_| "{}".to_owned()),
    ]
}

/// Formats the cutoff as a script argument.
pub(super) fn cutoff_argument(cutoff: Cutoff) -> String {
    match cutoff {
        Cutoff::All => String::new(),
        Cutoff::IssuedUpTo(at) => to_seconds(at).to_string(),
    }
}

impl Value {
    /// Reads each member on its own, as the script does: an invalid member is ignored and does not affect the others.
    fn of(members: &Map<String, serde_json::Value>) -> Self {
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

    fn alone(value: &[u8]) -> Option<Cutoff> {
        cutoff(Some(value), None)
    }

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
            r#"{"unrevoked":true}"#,
            r#"{"unrevoked":1764500000123}"#,
            r#"{"unrevoked":"yesterday"}"#,
            r#"{"unrevoked":"5.0","version":"later"}"#,
        ] {
            assert_eq!(alone(value.as_bytes()), Some(Cutoff::All), "{value}");
        }
        assert_eq!(alone(b"\xff"), Some(Cutoff::All));
    }

    #[test]
    fn a_cutoff_is_read_in_seconds_with_fractions() {
        let expected = Cutoff::IssuedUpTo(Timestamp::from_millis(1_700_000_000_250));
        let value = br#"{"not_before":1700000000.25,"x":1}"#;
        assert_eq!(alone(value), Some(expected));
        let spoiled = br#"{"not_before":1700000000.25,"at":"x","reason":7}"#;
        assert_eq!(alone(spoiled), Some(expected));
        assert_eq!(cutoff_argument(expected), "1700000000.25");
    }

    #[test]
    fn the_later_of_what_is_stated_under_both_names_counts() {
        let all = Some(Cutoff::All);
        let (older, newer): (&[u8], &[u8]) = (br#"{"version":"5"}"#, br#"{"version":"9.1"}"#);
        let taken_back: &[u8] = br#"{"not_before":0,"unrevoked":"7"}"#;
        let again: &[u8] = br#"{"version":"9","unrevoked":"7"}"#;
        assert_eq!(cutoff(Some(older), None), all);
        assert_eq!(cutoff(Some(taken_back), None), None);
        assert_eq!(cutoff(Some(again), None), all);
        for (one, other) in [(taken_back, older), (older, taken_back)] {
            assert_eq!(cutoff(Some(one), Some(other)), None);
        }
        assert_eq!(cutoff(Some(taken_back), Some(newer)), all);
        assert_eq!(cutoff(Some(newer), Some(taken_back)), all);
        assert_eq!(cutoff(None, Some(older)), all);
        assert_eq!(cutoff(None, None), None);
    }

    #[test]
    fn what_was_set_by_hand_comes_after_the_un_revocation_beside_it() {
        let taken_back = br#"{"not_before":0,"unrevoked":"7"}"#;
        assert_eq!(cutoff(Some(b""), Some(taken_back)), Some(Cutoff::All));
    }
}
