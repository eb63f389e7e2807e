//! Rows and messages: a revocation's columns, as they come from a statement or in a notification.

use sqlx::Row as _;
use sqlx::postgres::PgRow;

use crate::clock::Timestamp;

use super::super::effect::Effect;
use super::super::hash::KeyHash;
use super::super::key::{KeyKind, RevocationKey};
use super::super::registry::{self, is_registration};
use super::super::state::Held;
use super::super::statement::{Cutoff, Revocation};

/// The columns that a view needs, of the table `r`.
pub(super) const VIEW_COLUMNS: &str =
    "r.id, r.kind, revocation_millis(r.not_before), revocation_millis(r.expires_at)";
/// All columns, of the table `r`.
pub(super) const COLUMNS: &str = "r.id, r.key, revocation_millis(r.not_before) AS not_before, \
    revocation_millis(r.expires_at) AS expires_at, r.reason, r.actor, revocation_millis(r.revoked_at) AS revoked_at";

/// The part of a row that a view holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub hash: KeyHash,
    pub effect: Effect,
    pub expires_at: Timestamp,
}

impl Entry {
    pub(super) fn held(&self) -> Held {
        Held::unversioned(self.effect, self.expires_at)
    }
}

/// A message of the trigger.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TriggerMessage {
    /// A row was inserted or updated; with the time at which it was written, according to the row itself.
    Put(Entry, Timestamp),
    /// A row was deleted.
    Gone(KeyHash),
    /// All rows were deleted.
    All,
}

impl TriggerMessage {
    /// Parses the payload of a notification; `None` if it is not a message of ours, or is about a key that is not ours.
    pub(super) fn read(payload: &str) -> Option<Self> {
        let mut words = payload.split(' ');
        match words.next()? {
            "all" => Some(Self::All),
            what @ ("put" | "gone") => {
                let _place = words.next()?;
                let (kind, id) = (words.next()?, hex::decode(words.next()?).ok()?);
                let hash = hash(&id, kind)?;
                if what == "gone" {
                    return Some(Self::Gone(hash));
                }
                let effect = match words.next()? {
                    _ if kind == registry::KIND => Effect::Admits,
                    "all" => Effect::REVOKES_ALL,
                    millis => {
                        Cutoff::IssuedUpTo(Timestamp::from_millis(millis.parse().ok()?)).into()
                    }
                };
                let mut time = || words.next()?.parse().ok().map(Timestamp::from_millis);
                let (expires_at, revoked_at) = (time()?, time()?);
                let entry = Entry {
                    hash,
                    effect,
                    expires_at,
                };
                Some(Self::Put(entry, revoked_at))
            }
            _ => None,
        }
    }
}

/// Reads a row of [`VIEW_COLUMNS`]; `None` if the key is not ours.
pub(super) fn entry(row: &PgRow) -> sqlx::Result<Option<Entry>> {
    let (id, kind): (Vec<u8>, Option<String>) = (row.try_get(0)?, row.try_get(1)?);
    let Some(hash) = kind.and_then(|kind| hash(&id, &kind)) else {
        return Ok(None);
    };
    Ok(Some(Entry {
        hash,
        effect: match is_registration(hash) {
            true => Effect::Admits,
            false => cutoff(row.try_get(2)?).into(),
        },
        expires_at: Timestamp::from_millis(row.try_get(3)?),
    }))
}

/// Reads a row of [`COLUMNS`]; `None` if the key is not ours.
pub(super) fn revocation(row: &PgRow) -> sqlx::Result<Option<Revocation>> {
    let key: Vec<u8> = row.try_get("key")?;
    let Some(key) = str::from_utf8(&key).ok().and_then(RevocationKey::parse) else {
        return Ok(None);
    };
    Ok(Some(Revocation {
        key,
        cutoff: cutoff(row.try_get("not_before")?),
        expires_at: Timestamp::from_millis(row.try_get("expires_at")?),
        reason: row.try_get("reason")?,
        actor: row.try_get("actor")?,
        revoked_at: Timestamp::from_millis(row.try_get("revoked_at")?),
    }))
}

pub(super) fn cutoff(not_before: Option<i64>) -> Cutoff {
    not_before.map_or(Cutoff::All, |millis| {
        Cutoff::IssuedUpTo(Timestamp::from_millis(millis))
    })
}

fn hash(id: &[u8], kind: &str) -> Option<KeyHash> {
    if kind == registry::KIND {
        return registry::hash_of(id);
    }
    let kind = KeyKind::ALL.into_iter().find(|k| k.as_str() == kind)?;
    kind.hash_of(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_the_key_as_the_view_does() {
        let key = RevocationKey::new(KeyKind::TokenId, "shop", "abc");
        let head = "(0,1) jti ab8ec213021c224876c8aa3fd50d9edec55aba64eb338c5bde7f920849506712";
        let entry = Entry {
            hash: key.hash(),
            effect: Effect::REVOKES_ALL,
            expires_at: Timestamp::NEVER,
        };
        assert_eq!(
            TriggerMessage::read(&format!("put {head} all 9223372036854775807 1700000000000")),
            Some(TriggerMessage::Put(
                entry,
                Timestamp::from_secs(1_700_000_000)
            ))
        );
        assert_eq!(
            TriggerMessage::read(&format!("gone {head}")),
            Some(TriggerMessage::Gone(key.hash()))
        );
        assert_eq!(TriggerMessage::read("all"), Some(TriggerMessage::All));
    }

    #[test]
    fn what_is_no_message_of_ours_is_passed_over() {
        for payload in [
            "",
            "put",
            "gone (0,1) jti",
            "gone (0,1) jti zz",
            "gone (0,1) jti é0",
            "gone (0,1) jti ab",
            "gone (0,1) unheard ab8ec213021c224876c8aa3fd50d9edec55aba64eb338c5bde7f920849506712",
            "put (0,1) jti ab8ec213021c224876c8aa3fd50d9edec55aba64eb338c5bde7f920849506712 x 1 1",
        ] {
            assert_eq!(TriggerMessage::read(payload), None, "{payload}");
        }
    }
}
