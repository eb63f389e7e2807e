//! The evidence that a server may have lost acknowledged writes, and what it implies for a key that is missing, or
//! whose value is weaker than the view's entry.
//!
//! | evidence | a missing key | a weaker value |
//! |---|---|---|
//! | another history | was lost: it is written back | is joined with the view's entry |
//! | evictions, without another history | was evicted (see below); was lost, if a read did not find it | is joined |
//! | another server, refused restores, or moved slots | was lost | is joined |
//! | none, and deletions are ignored | was lost, unless it has expired | is joined |
//! | none, and deletions are honoured | was deleted: the view forgets it | is the latest statement |
//!
//! With evictions, a key counts as evicted if the server pushed its disappearance. The view keeps an evicted key,
//! and the slow comparison writes it back.

use super::super::options::Deletions;

/// The evidence for losses of the followed servers since all keys were last read and missing entries were judged.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LossEvidence {
    /// The server is a different one than before, and has not been read completely yet.
    pub another_server: bool,
    /// The server has become a replica, or its data have been replaced by another server's data.
    pub another_history: bool,
    /// The server has refused the write-back of entries that it lacks.
    pub refused_restores: bool,
    /// The server has evicted keys.
    pub evicted: bool,
    /// Slots have moved between nodes, perhaps without their keys.
    pub slots_moved: bool,
}

/// Why a key is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absence {
    /// Somebody deleted it, or it expired.
    Deleted,
    /// The server has lost it.
    Lost,
    /// The server has evicted it.
    Evicted,
}

impl LossEvidence {
    /// Returns whether the server may have lost acknowledged writes.
    pub(super) fn is_any(self) -> bool {
        self.another_server
            || self.another_history
            || self.refused_restores
            || self.evicted
            || self.slots_moved
    }

    /// Returns why a key is missing whose disappearance the server has pushed. An evicted key is not written back
    /// at once: the server would evict other keys for it, endlessly.
    pub(super) fn of_pushed(self, deletions: Deletions, has_expired: bool) -> Absence {
        if self.evicted && !self.another_history {
            return Absence::Evicted;
        }
        match self.is_any() || (deletions == Deletions::Ignore && !has_expired) {
            true => Absence::Lost,
            false => Absence::Deleted,
        }
    }

    /// Returns why a key is missing that was not found when everything was read.
    pub(super) fn of_unseen(self, deletions: Deletions) -> Absence {
        match self.is_any() || deletions == Deletions::Ignore {
            true => Absence::Lost,
            false => Absence::Deleted,
        }
    }

    /// Returns whether a stored value that is weaker than the view's entry is joined with the entry, and does not
    /// replace it as the latest statement.
    pub(super) fn keeps_the_stronger(self, deletions: Deletions) -> bool {
        self.is_any() || deletions == Deletions::Ignore
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Absence::{Deleted, Evicted, Lost};

    #[test]
    fn evidence_decides_what_a_missing_key_and_a_weaker_value_mean() {
        let none = LossEvidence::default();
        let of = |change: fn(&mut LossEvidence)| {
            let mut evidence = none;
            change(&mut evidence);
            evidence
        };
        let another_server = of(|e| e.another_server = true);
        let another_history = of(|e| e.another_history = true);
        let refused = of(|e| e.refused_restores = true);
        let evicted = of(|e| e.evicted = true);
        let moved = of(|e| e.slots_moved = true);
        let (mut both, mut moved_and_evicted) = (another_history, moved);
        (both.evicted, moved_and_evicted.evicted) = (true, true);
        // The results for a key that was pushed as gone, that was pushed as gone after it had expired, and that was
        // not found; and whether a weaker value is joined.
        for (evidence, honoured, ignored) in [
            (
                none,
                (Deleted, Deleted, Deleted, false),
                (Lost, Deleted, Lost, true),
            ),
            (
                another_server,
                (Lost, Lost, Lost, true),
                (Lost, Lost, Lost, true),
            ),
            (
                another_history,
                (Lost, Lost, Lost, true),
                (Lost, Lost, Lost, true),
            ),
            (refused, (Lost, Lost, Lost, true), (Lost, Lost, Lost, true)),
            (
                evicted,
                (Evicted, Evicted, Lost, true),
                (Evicted, Evicted, Lost, true),
            ),
            (moved, (Lost, Lost, Lost, true), (Lost, Lost, Lost, true)),
            // With another history, a missing key is lost, whether or not this server has evicted keys.
            (both, (Lost, Lost, Lost, true), (Lost, Lost, Lost, true)),
            (
                LossEvidence {
                    evicted: true,
                    ..another_server
                },
                (Evicted, Evicted, Lost, true),
                (Evicted, Evicted, Lost, true),
            ),
            (
                moved_and_evicted,
                (Evicted, Evicted, Lost, true),
                (Evicted, Evicted, Lost, true),
            ),
        ] {
            let expected = [(Deletions::Honour, honoured), (Deletions::Ignore, ignored)];
            for (deletions, expected) in expected {
                let is = (
                    evidence.of_pushed(deletions, false),
                    evidence.of_pushed(deletions, true),
                    evidence.of_unseen(deletions),
                    evidence.keeps_the_stronger(deletions),
                );
                assert_eq!(is, expected, "{evidence:?} {deletions:?}");
            }
        }
    }
}
