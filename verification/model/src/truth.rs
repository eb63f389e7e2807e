//! What has been stated of a key, seen from outside: what must be refused, and what may be.

use crate::lattice::{Level, NOTHING};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Truth {
    /// What must be refused: acknowledged as revoked, and not un-revoked by a later statement.
    pub must: Level,
    /// The last of that was written by hand.
    pub must_by_hand: bool,
    /// What may be refused by a view that is fresh as of after the last acknowledged un-revocation.
    pub may: Level,
    /// What was ever stated: more may be refused by nobody.
    pub ever: Level,
    /// Whether it was ever written by hand.
    pub ever_by_hand: bool,
}

impl Truth {
    /// A revocation is on its way.
    pub fn revoking(&mut self, level: Level, precise: bool) {
        self.ever = self.ever.max(level);
        self.may = match precise {
            true => self.may.max(level),
            // It may be merged with what was before an un-revocation: that errs towards refusing.
            false => self.ever,
        };
    }

    pub fn revoked(&mut self, level: Level) {
        self.must = self.must.max(level);
        self.must_by_hand = false;
    }

    /// Written by hand and acknowledged at once. It replaces what stood.
    pub fn revoked_by_hand(&mut self, level: Level, precise: bool) {
        self.revoking(level, precise);
        self.must = level;
        self.must_by_hand = true;
        self.ever_by_hand = true;
    }

    /// An un-revocation is on its way: from now on either answer is right.
    pub fn unrevoking(&mut self) {
        self.must = NOTHING;
    }

    /// The key was deleted by hand, perhaps the version of an un-revocation with it: either answer is right.
    pub fn deleted(&mut self) {
        self.must = NOTHING;
        self.may = self.ever;
    }

    /// An un-revocation was acknowledged. `since` is what was stated meanwhile.
    pub fn unrevoked(&mut self, since: Level, precise: bool) {
        self.may = match (since, precise) {
            (NOTHING, _) | (_, true) => since,
            _ => self.ever,
        };
    }
}
