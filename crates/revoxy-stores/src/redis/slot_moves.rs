//! Bookkeeping of a reconciliation for keys that move between the nodes of a cluster.

use std::collections::{HashMap, HashSet};

use super::super::view::View;
use super::stored_key::StoredKey;

/// The maximum number of keys that are remembered.
const MOST: usize = 100_000;

/// The bookkeeping. Unused for a single server.
#[derive(Default)]
pub(super) struct SlotMoves {
    /// How often slots have moved, or may have.
    moves: u64,
    /// The value of `moves` as of the scan after which missing entries were last judged. Keys that disappear after
    /// later moves may have been lost in the move.
    judged: u64,
    /// Keys that no node could answer for, to be read again.
    unknown: Unknown,
    /// The names of recently pushed keys: those pushed since the last heartbeat, and those pushed in the
    /// interval before it.
    names: [HashMap<StoredKey, Vec<u8>>; 2],
}

/// Keys to be read again; all keys, if there were too many.
#[derive(Default)]
pub(super) struct Unknown {
    pub keys: HashSet<Vec<u8>>,
    pub overflowed: bool,
}

impl SlotMoves {
    /// Records that slots have moved, or may have moved.
    pub(super) fn moved(&mut self) {
        self.moves += 1;
    }

    pub(super) fn moves(&self) -> u64 {
        self.moves
    }

    /// Records that missing entries were judged after a scan that began when `moves` slot moves had been counted.
    pub(super) fn judged(&mut self, moves: u64) {
        self.judged = moves;
    }

    /// Returns whether slots have moved since missing entries were last judged.
    pub(super) fn has_moved(&self) -> bool {
        self.moves != self.judged
    }

    /// Records that no node could answer for a key: the view's entry stays and counts as seen, and the key is
    /// queued to be read again.
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

    pub(super) fn has_no_unknown(&self) -> bool {
        self.unknown.keys.is_empty() && !self.unknown.overflowed
    }

    pub(super) fn take_unknown(&mut self) -> Unknown {
        std::mem::take(&mut self.unknown)
    }

    /// Records that a key was pushed and has been read.
    pub(super) fn pushed(&mut self, key: StoredKey, name: &[u8]) {
        if self.names[0].len() < MOST {
            self.names[0].insert(key, name.to_vec());
        }
    }

    /// Returns the recently pushed keys, which must be read again when a slot turns out to have a new owner: a
    /// stale owner, which does not know yet that it lost the slot, may have answered with a false miss for a key
    /// that the new owner pushed.
    pub(super) fn recently_pushed(&self) -> Unknown {
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

    /// Forgets the keys that were pushed before the previous heartbeat: all nodes have delivered everything
    /// from before that heartbeat.
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
        let mut moving = SlotMoves::default();
        moving.pushed(StoredKey::Native(key.hash()), key.rendered().as_bytes());
        moving.pushed(StoredKey::Restored(key.hash()), &restored);
        for _ in 0..2 {
            let late = moving.recently_pushed().keys;
            assert!(late.contains(&restored) && late.len() == 2);
            moving.heartbeat();
        }
        assert!(moving.recently_pushed().keys.is_empty());
    }
}
