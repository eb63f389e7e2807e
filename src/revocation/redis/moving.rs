//! What a reconciliation remembers because keys of a cluster move between its servers.

use std::collections::{HashMap, HashSet};

use super::super::view::View;
use super::stored::StoredKey;

/// More keys than this are not remembered.
const MOST: usize = 100_000;

/// Of one server: nothing.
#[derive(Default)]
pub(super) struct Moving {
    /// How often slots have changed hands, or may have.
    moves: u64,
    /// How often they had when what was missing was last judged. Since then, what is gone may have been lost on the
    /// way.
    judged: u64,
    /// Keys that nobody could answer for, to be read again.
    unknown: Unknown,
    /// Names of keys that were pushed of late: those since the last heartbeat, and those of the time before.
    names: [HashMap<StoredKey, Vec<u8>>; 2],
}

/// Keys to be read again; all of them, where they were too many.
#[derive(Default)]
pub(super) struct Unknown {
    pub keys: HashSet<Vec<u8>>,
    pub overflowed: bool,
}

impl Moving {
    /// Slots have changed hands, or nobody can be sure that they have not.
    pub(super) fn moved(&mut self) {
        self.moves += 1;
    }

    pub(super) fn moves(&self) -> u64 {
        self.moves
    }

    /// What is missing was judged after a reading that began after so many moves.
    pub(super) fn judged(&mut self, moves: u64) {
        self.judged = moves;
    }

    /// Whether slots have changed hands since what was missing was last judged.
    pub(super) fn has_moved(&self) -> bool {
        self.moves != self.judged
    }

    /// Nobody could say what stands under a key: what is held of it stays, and counts as seen.
    pub(super) fn not_known(&mut self, view: &View, key: &[u8], parsed: StoredKey) {
        if let StoredKey::Native(hash) | StoredKey::Restored(hash) | StoredKey::Application(hash, _) =
            parsed
            && let Some(held) = view.entry(hash)
        {
            view.put(hash, held);
        }
        if self.unknown.keys.len() < MOST {
            self.unknown.keys.insert(key.to_vec());
        } else {
            self.unknown.overflowed = true;
        }
    }

    pub(super) fn knows_all(&self) -> bool {
        self.unknown.keys.is_empty() && !self.unknown.overflowed
    }

    pub(super) fn take_unknown(&mut self) -> Unknown {
        std::mem::take(&mut self.unknown)
    }

    /// A key was pushed, and has been read.
    pub(super) fn pushed(&mut self, key: StoredKey, name: &[u8]) {
        if self.names[0].len() < MOST {
            self.names[0].insert(key, name.to_vec());
        }
    }

    /// What was pushed of late: to be read again when slots have another owner than was known. One who owns a slot no more
    /// and has yet to hear of it may have answered, of a key that the other one pushed, that there is nothing.
    pub(super) fn pushed_of_late(&self) -> Unknown {
        Unknown {
            keys: self
                .names
                .iter()
                .flat_map(|n| n.values())
                .cloned()
                .collect(),
            overflowed: false,
        }
    }

    /// All servers have told everything from before the last heartbeat but one.
    pub(super) fn heartbeat(&mut self) {
        self.names[1] = std::mem::take(&mut self.names[0]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::key::{KeyKind, RevocationKey};
    use super::*;

    #[test]
    fn what_was_pushed_is_known_until_the_second_heartbeat() {
        let key = RevocationKey::new(KeyKind::TokenId, "shop", "a");
        let restored = StoredKey::restored(key.hash()).into_bytes();
        let mut moving = Moving::default();
        moving.pushed(StoredKey::Native(key.hash()), key.rendered().as_bytes());
        moving.pushed(StoredKey::Restored(key.hash()), &restored);
        for _ in 0..2 {
            let late = moving.pushed_of_late().keys;
            assert!(late.contains(&restored) && late.len() == 2);
            moving.heartbeat();
        }
        assert!(moving.pushed_of_late().keys.is_empty());
    }
}
