//! The data of a view in addition to its table, which no check reads: the versions of cutoffs, and the
//! un-revocations.
//!
//! The version of a revocation of every token is in the table, where a cutoff would be. Revocations with a
//! cutoff are few in comparison (of subjects and sessions, not of tokens), and so are un-revocations.

use std::collections::HashMap;

use crate::clock::Timestamp;

use super::super::effect::Effect;
use super::super::state::Held;
use super::super::statement::Cutoff;
use super::super::version::Version;
use super::KeyHash;
use super::table::Entry;

/// The ledger of one shard.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    versions: HashMap<KeyHash, Version>,
    unrevoked: HashMap<KeyHash, Unrevoked>,
}

/// An un-revocation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unrevoked {
    pub version: Version,
    pub expires_at: Timestamp,
    /// The round of comparison in which it was last seen.
    round: u16,
}

impl Ledger {
    /// Returns the entry together with its version.
    pub(super) fn complete(&self, key: KeyHash, entry: Entry) -> Held {
        let version = match entry.effect {
            Effect::Revokes(Cutoff::IssuedUpTo(_)) => {
                self.versions.get(&key).copied().unwrap_or_default()
            }
            Effect::Revokes(Cutoff::All) | Effect::Admits => entry.version,
        };
        Held {
            effect: entry.effect,
            version,
            expires_at: entry.expires_at,
        }
    }

    /// Stores the version of an entry that was put into the table, if there was no room for it in the table.
    pub(super) fn note_version(&mut self, key: KeyHash, held: Held) {
        if matches!(held.effect, Effect::Revokes(Cutoff::IssuedUpTo(_)))
            && held.version != Version::NONE
        {
            self.versions.insert(key, held.version);
        } else {
            self.forget_version(key);
        }
    }

    pub(super) fn forget_version(&mut self, key: KeyHash) {
        if !self.versions.is_empty() {
            self.versions.remove(&key);
        }
    }

    /// Returns the latest un-revocation of a key.
    pub(super) fn unrevoked(&self, key: KeyHash) -> Unrevoked {
        self.unrevoked.get(&key).copied().unwrap_or(Unrevoked {
            version: Version::NONE,
            expires_at: Timestamp::from_millis(i64::MIN),
            round: 0,
        })
    }

    /// Records an un-revocation that was seen in a round of comparison.
    pub(super) fn unrevoke(
        &mut self,
        key: KeyHash,
        version: Version,
        until: Timestamp,
        round: u16,
    ) {
        let known = self.unrevoked(key);
        // That an older un-revocation was seen does not prove that the latest one is still in the store.
        if version >= known.version && version != Version::NONE {
            let latest = Unrevoked {
                version,
                expires_at: known.expires_at.max(until),
                round,
            };
            self.unrevoked.insert(key, latest);
        }
    }

    /// Returns the un-revocations that are live at `now` and have not been seen in this round.
    pub(super) fn unseen(
        &self,
        now: Timestamp,
        round: u16,
    ) -> impl Iterator<Item = (KeyHash, Unrevoked)> {
        let unseen = move |u: &Unrevoked| u.round != round && now < u.expires_at;
        let all = self.unrevoked.iter().map(|(key, u)| (*key, *u));
        all.filter(move |(_, u)| unseen(u))
    }

    /// Removes expired un-revocations.
    pub(super) fn prune(&mut self, now: Timestamp) {
        self.unrevoked.retain(|_, u| now < u.expires_at);
    }

    /// Returns the memory in use, in bytes: a hash table has one extra byte for each slot.
    pub(super) fn bytes(&self) -> usize {
        let place = |size: usize, capacity: usize| (size + 1) * capacity * 8 / 7;
        place(size_of::<(KeyHash, Version)>(), self.versions.capacity())
            + place(size_of::<(KeyHash, Unrevoked)>(), self.unrevoked.capacity())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_a_cutoff_goes_with_it() {
        let (mut ledger, key) = (Ledger::default(), KeyHash::new(1, 1));
        let cutoff = Cutoff::IssuedUpTo(Timestamp::from_secs(1000));
        let versioned = Held {
            version: Version::FIRST,
            ..Held::unversioned(cutoff, Timestamp::NEVER)
        };
        let every_token = Held {
            effect: Effect::REVOKES_ALL,
            ..versioned
        };
        for next in [
            Held::unversioned(cutoff, Timestamp::NEVER),
            every_token,
            Held::admitting(Timestamp::NEVER),
        ] {
            ledger.note_version(key, versioned);
            assert_eq!(ledger.versions.get(&key), Some(&Version::FIRST));
            ledger.note_version(key, next);
            assert!(ledger.versions.is_empty(), "{next:?}");
        }
    }

    #[test]
    fn an_un_revocation_is_kept_until_its_time_is_over() {
        let (mut ledger, now) = (Ledger::default(), Timestamp::from_secs(1000));
        let (over, stands) = (KeyHash::new(1, 1), KeyHash::new(2, 1));
        ledger.unrevoke(over, Version::FIRST, now, 0);
        ledger.unrevoke(stands, Version::FIRST, Timestamp::NEVER, 0);
        ledger.prune(now);
        assert_eq!(ledger.unrevoked(over).version, Version::NONE);
        assert_eq!(ledger.unrevoked(stands).version, Version::FIRST);
    }

    #[test]
    fn memory_is_counted_by_the_places_of_both_tables() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.bytes(), 0);
        for n in 1..=1000 {
            let key = KeyHash::new(n, 1);
            ledger.versions.insert(key, Version::FIRST);
            ledger.unrevoke(key, Version::FIRST, Timestamp::NEVER, 0);
        }
        // 2048 slots are the smallest power of two of which seven eighths hold a thousand entries.
        let (version, unrevoked) = (16 + 8 + 1, 16 + 24 + 1);
        assert_eq!(ledger.bytes(), 2048 * (version + unrevoked));
    }
}
