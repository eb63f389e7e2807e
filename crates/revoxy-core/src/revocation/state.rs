//! The state of a key: all revocations and un-revocations of the key (its statements), merged into one value.
//! Two copies of the state can be joined.
//!
//! Each of two copies (on two servers, or on a server and in a view) may contain statements that the other
//! copy has lost. [`KeyState::join`] combines the statements of both: every component is the later, or the
//! greater, of the two. So neither the order nor the number of joins matters (`join` is commutative,
//! associative and idempotent). An un-revocation takes back every revocation with the same version or an
//! earlier one.
//!
//! [`KeyState::merge`] joins two copies after it has removed what an un-revocation in either copy takes back:
//! otherwise, a cutoff that was taken back would return with the version of a later revocation.
//!
//! Two components are approximations that err towards refusing. The latest cutoff is kept, and the latest
//! version of any cutoff, but not which cutoff came with which version: a cutoff that was set back to an
//! earlier time stays at the later time. And of two expiries, the later one is kept.

use crate::clock::Timestamp;

use super::effect::Effect;
use super::statement::{Cutoff, Revocation};
use super::version::Version;

/// All statements about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyState {
    /// The version of the latest un-revocation.
    pub unrevoked: Version,
    /// The version of the latest revocation of every token.
    all: Version,
    /// The version of the latest revocation with a cutoff.
    up_to: Version,
    /// The latest cutoff. Meaningless while `up_to` is [`Version::NONE`].
    cutoff: Timestamp,
    /// Until when this state has to be kept.
    pub expires_at: Timestamp,
}

/// An entry as a view stores it: a revocation, or an entry that refuses no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// What it means for the tokens of its key.
    pub effect: Effect,
    /// When it was stated; if that is unknown, when it was last seen. [`Version::NONE`] in stores that need
    /// no versions.
    pub version: Version,
    /// When it expires.
    pub expires_at: Timestamp,
}

impl Held {
    /// Makes an entry without a version.
    pub fn unversioned(effect: impl Into<Effect>, expires_at: Timestamp) -> Self {
        Self {
            effect: effect.into(),
            version: Version::NONE,
            expires_at,
        }
    }

    /// Makes a revocation for a store that needs no versions: it has a single history, in which every
    /// statement replaces the previous one.
    pub fn of(revocation: &Revocation) -> Self {
        Self::unversioned(revocation.cutoff, revocation.expires_at)
    }

    /// Makes an entry of an allow-list.
    pub fn admitting(expires_at: Timestamp) -> Self {
        Self::unversioned(Effect::Admits, expires_at)
    }

    /// Returns the stronger of both in every component.
    #[must_use]
    pub fn strengthened_by(self, other: Self) -> Self {
        Self {
            effect: self.effect.max(other.effect),
            version: self.version.max(other.version),
            expires_at: self.expires_at.max(other.expires_at),
        }
    }

    /// Returns whether the un-revocation with this version takes it back.
    pub fn is_taken_back_by(self, unrevoked: Version) -> bool {
        self.effect != Effect::Admits && self.version != Version::NONE && self.version <= unrevoked
    }
}

impl KeyState {
    /// The state of a key without any statement.
    pub const NOTHING: Self = Self {
        unrevoked: Version::NONE,
        all: Version::NONE,
        up_to: Version::NONE,
        cutoff: Timestamp::from_millis(i64::MIN),
        expires_at: Timestamp::from_millis(i64::MIN),
    };

    /// The state after an un-revocation.
    pub fn unrevoked(version: Version, expires_at: Timestamp) -> Self {
        Self {
            unrevoked: version,
            expires_at,
            ..Self::NOTHING
        }
    }

    /// The state after a revocation that follows this un-revocation. A revocation without a version counts as
    /// stated right after the un-revocation.
    pub fn revoked(held: Held, unrevoked: Version) -> Self {
        let version = match held.version {
            Version::NONE => unrevoked.next(),
            stated => stated,
        };
        let state = Self {
            unrevoked,
            expires_at: held.expires_at,
            ..Self::NOTHING
        };
        match held.effect {
            Effect::Admits => state,
            Effect::Revokes(Cutoff::IssuedUpTo(cutoff)) => Self {
                up_to: version,
                cutoff,
                ..state
            },
            Effect::Revokes(Cutoff::All) => Self {
                all: version,
                ..state
            },
        }
    }

    /// Returns the combined statements of both copies.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        Self {
            unrevoked: self.unrevoked.max(other.unrevoked),
            all: self.all.max(other.all),
            up_to: self.up_to.max(other.up_to),
            cutoff: self.cutoff.max(other.cutoff),
            expires_at: self.expires_at.max(other.expires_at),
        }
    }

    /// Returns what is left of the state after this un-revocation: what the un-revocation takes back is
    /// removed.
    fn after(self, unrevoked: Version) -> Self {
        let mut left = self;
        left.unrevoked = self.unrevoked.max(unrevoked);
        if left.all <= left.unrevoked {
            left.all = Version::NONE;
        }
        if left.up_to <= left.unrevoked {
            (left.up_to, left.cutoff) = (Version::NONE, Self::NOTHING.cutoff);
        }
        left
    }

    /// Returns the combined statements of both copies, without what an un-revocation in either copy takes
    /// back. The result never refuses fewer tokens than the statements that are in effect, and never more
    /// than the result of [`KeyState::join`], which keeps a cutoff that was taken back, and gives it the
    /// version of a later revocation.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        let unrevoked = self.unrevoked.max(other.unrevoked);
        let (one, other) = (self.after(unrevoked), other.after(unrevoked));
        let mut both = one.join(other);
        // The expiry of an un-revocation must not extend the expiry of a revocation.
        match (one.held(), other.held()) {
            (Some(_), None) => both.expires_at = one.expires_at,
            (None, Some(_)) => both.expires_at = other.expires_at,
            _ => {}
        }
        both
    }

    /// Returns the revocation that is in effect after all statements, if there is one, with a single version:
    /// if all tokens are revoked and a revocation with a cutoff is later, this is the later version.
    pub fn held(&self) -> Option<Held> {
        let cutoff = if self.all > self.unrevoked {
            Cutoff::All
        } else if self.up_to > self.unrevoked {
            Cutoff::IssuedUpTo(self.cutoff)
        } else {
            return None;
        };
        Some(Held {
            effect: cutoff.into(),
            version: self.all.max(self.up_to),
            expires_at: self.expires_at,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn states() -> impl Strategy<Value = KeyState> {
        // Few values, so that ties and all orders occur.
        (0..5_u64, 0..5_u64, 0..5_u64, 0..4_i64, 0..4_i64).prop_map(
            |(unrevoked, all, up_to, cutoff, expires_at)| KeyState {
                unrevoked: Version::from_bits(unrevoked),
                all: Version::from_bits(all),
                up_to: Version::from_bits(up_to),
                cutoff: Timestamp::from_millis(cutoff),
                expires_at: Timestamp::from_millis(expires_at),
            },
        )
    }

    #[derive(Clone, Copy, Debug)]
    enum Said {
        Revoked(Cutoff, u64),
        Unrevoked(u64),
    }

    fn statements() -> impl Strategy<Value = Said> {
        let cutoffs = prop_oneof![
            Just(Cutoff::All),
            (0..4_i64).prop_map(|c| Cutoff::IssuedUpTo(at(c)))
        ];
        prop_oneof![
            (cutoffs, 1..7_u64).prop_map(|(cutoff, version)| Said::Revoked(cutoff, version)),
            (1..7_u64).prop_map(Said::Unrevoked),
        ]
    }

    /// The exact meaning of these statements: the strongest of the revocations that came after the last
    /// un-revocation.
    fn exactly<'s>(said: impl Iterator<Item = &'s Said> + Clone) -> Option<Cutoff> {
        let taken_back = said.clone().filter_map(|s| match s {
            Said::Unrevoked(version) => Some(*version),
            Said::Revoked(..) => None,
        });
        let last = taken_back.max().unwrap_or_default();
        let standing = said.filter_map(|s| match s {
            Said::Revoked(cutoff, version) if *version > last => Some(*cutoff),
            _ => None,
        });
        standing.max()
    }

    /// The state in a view that has received these statements one by one.
    fn as_kept(said: &[Said]) -> KeyState {
        said.iter().fold(KeyState::NOTHING, |kept, said| {
            let joined = kept.join(match *said {
                Said::Revoked(cutoff, version) => revoked(cutoff, version, 0),
                Said::Unrevoked(version) => unrevoked(version),
            });
            match joined.held() {
                Some(held) => KeyState::revoked(held, joined.unrevoked),
                None => KeyState::unrevoked(joined.unrevoked, joined.expires_at),
            }
        })
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn revoked(cutoff: Cutoff, version: u64, unrevoked: u64) -> KeyState {
        let held = Held {
            version: Version::from_bits(version),
            ..Held::unversioned(cutoff, at(9))
        };
        KeyState::revoked(held, Version::from_bits(unrevoked))
    }

    fn unrevoked(version: u64) -> KeyState {
        KeyState::unrevoked(Version::from_bits(version), at(9))
    }

    fn cutoff(state: KeyState) -> Option<Cutoff> {
        state.held()?.effect.cutoff()
    }

    proptest! {
        #[test]
        fn joining_is_commutative_associative_and_idempotent(a in states(), b in states(), c in states()) {
            prop_assert_eq!(a.join(b), b.join(a));
            prop_assert_eq!(a.join(b).join(c), a.join(b.join(c)));
            prop_assert_eq!(a.join(a), a);
            prop_assert_eq!(a.join(KeyState::NOTHING), a);
        }

        #[test]
        fn two_accounts_together_refuse_no_less_than_all_that_was_stated(
            one in prop::collection::vec(statements(), 0..4),
            other in prop::collection::vec(statements(), 0..4),
        ) {
            let exact = exactly(one.iter().chain(&other));
            let joined = as_kept(&one).join(as_kept(&other));
            prop_assert!(cutoff(joined) >= exact, "{:?} {:?}", joined, exact);
            // Without cutoffs nothing is approximated: the result is exact.
            if !one.iter().chain(&other).any(|s| matches!(s, Said::Revoked(Cutoff::IssuedUpTo(_), _))) {
                prop_assert_eq!(cutoff(joined), exact);
            }
        }

        #[test]
        fn merging_refuses_no_less_than_what_was_stated_and_no_more_than_joining(
            one in prop::collection::vec(statements(), 0..4),
            other in prop::collection::vec(statements(), 0..4),
        ) {
            let exact = exactly(one.iter().chain(&other));
            let (one, other) = (as_kept(&one), as_kept(&other));
            let merged = one.merge(other);
            prop_assert!(cutoff(merged) >= exact, "{:?} {:?}", merged, exact);
            prop_assert!(cutoff(merged) <= cutoff(one.join(other)));
            prop_assert_eq!(merged, other.merge(one));
            prop_assert_eq!(merged.merge(one), merged);
        }

        #[test]
        fn a_later_statement_wins_whatever_it_is_joined_with(a in states()) {
            let last = 9;
            prop_assert_eq!(cutoff(a.join(unrevoked(last))), None);
            prop_assert_eq!(cutoff(a.join(revoked(Cutoff::All, last, 0))), Some(Cutoff::All));
        }
    }

    #[test]
    fn a_revocation_after_an_un_revocation_stands_beside_every_older_account() {
        let (first, taken_back) = (revoked(Cutoff::All, 1, 0), unrevoked(2));
        let again = revoked(Cutoff::All, 3, 2);
        assert_eq!(cutoff(first.join(taken_back)), None);
        assert_eq!(
            cutoff(again.join(taken_back).join(first)),
            Some(Cutoff::All)
        );
        assert_eq!(cutoff(first.join(again)), Some(Cutoff::All));
    }

    #[test]
    fn a_tie_takes_back() {
        assert_eq!(cutoff(revoked(Cutoff::All, 2, 0).join(unrevoked(2))), None);
    }

    #[test]
    fn every_token_that_was_revoked_before_an_un_revocation_is_not_revoked_by_a_later_cutoff() {
        let (lockout, taken_back) = (revoked(Cutoff::All, 1, 0), unrevoked(2));
        let logout = revoked(Cutoff::IssuedUpTo(at(5)), 3, 0);
        let expected = Some(Cutoff::IssuedUpTo(at(5)));
        assert_eq!(cutoff(logout.join(lockout).join(taken_back)), expected);
    }

    #[test]
    fn a_cutoff_that_was_taken_back_does_not_return_with_a_later_one() {
        let (latest, earlier) = (Cutoff::IssuedUpTo(at(8)), Cutoff::IssuedUpTo(at(5)));
        let before = revoked(latest, 1, 0);
        let since = revoked(earlier, 3, 2);
        assert_eq!(cutoff(before.merge(since)), Some(earlier));
        assert_eq!(cutoff(since.merge(before)), Some(earlier));
    }

    #[test]
    fn a_revocation_without_a_version_comes_right_after_the_un_revocation_beside_it() {
        let by_hand = revoked(Cutoff::All, 0, 7);
        assert_eq!(
            by_hand.held().map(|h| h.version),
            Some(Version::from_bits(8))
        );
        assert_eq!(cutoff(by_hand.join(unrevoked(8))), None);
    }

    #[test]
    fn of_both_kinds_the_version_is_the_later_one() {
        let both = revoked(Cutoff::All, 1, 0).join(revoked(Cutoff::IssuedUpTo(at(5)), 4, 0));
        let expected = Held {
            effect: Effect::REVOKES_ALL,
            version: Version::from_bits(4),
            expires_at: at(9),
        };
        assert_eq!(both.held(), Some(expected));
    }

    #[test]
    fn an_account_keeps_the_un_revocation_before_a_revocation_and_until_when_it_is_worth_knowing() {
        assert_eq!(revoked(Cutoff::All, 3, 2).unrevoked, Version::from_bits(2));
        assert_eq!(unrevoked(2).expires_at, at(9));
    }

    #[test]
    fn the_life_of_an_un_revocation_is_not_that_of_what_was_revoked_after_it() {
        let remembered = KeyState::unrevoked(Version::from_bits(2), at(99));
        let revoked = revoked(Cutoff::All, 3, 2);
        for both in [remembered.merge(revoked), revoked.merge(remembered)] {
            assert_eq!(both.held().map(|held| held.expires_at), Some(at(9)));
        }
        let later = KeyState::unrevoked(Version::from_bits(4), at(7));
        assert_eq!(remembered.merge(later).expires_at, at(99));
    }
}
