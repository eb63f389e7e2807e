//! What has been stated about a key, by whomever, as a value in which two accounts of it can be joined.
//!
//! Each of two servers, or a server and a view, may know statements that the other has lost. [`KeyState::join`] is what
//! both know together: every component is the later, or the greater, of the two. So it does not matter who joins what first, nor how
//! often (commutative, associative, idempotent). An un-revocation takes back what has its version or an earlier one.
//!
//! What one account knows to have been taken back is left out before the accounts are put together ([`KeyState::merge`]): otherwise a cutoff
//! that was taken back would return with the version of a later revocation.
//!
//! Two things are not exact and err towards refusing. The latest cutoff is kept, and the latest version of any cutoff, but not
//! which cutoff came with which version: a cutoff that was set back stays. And of a longer and a shorter life the longer is kept.

use crate::clock::Timestamp;

use super::statement::{Cutoff, Revocation};
use super::version::Version;

/// What has been stated about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeyState {
    /// The latest un-revocation.
    pub unrevoked: Version,
    /// The latest revocation of every token.
    all: Version,
    /// The latest revocation with a cutoff.
    up_to: Version,
    /// The latest cutoff. Of no meaning while there is no such revocation.
    cutoff: Timestamp,
    /// Until when any of this is worth knowing.
    pub expires_at: Timestamp,
}

/// A revocation as a view holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    /// Which tokens it means.
    pub cutoff: Cutoff,
    /// When it was stated, or last seen to stand without saying when. [`Version::NONE`] in stores that need none.
    pub version: Version,
    /// Until when it stands.
    pub expires_at: Timestamp,
}

impl Held {
    /// A revocation that nobody has given a version.
    pub(super) fn unversioned(cutoff: Cutoff, expires_at: Timestamp) -> Self {
        Self {
            cutoff,
            version: Version::NONE,
            expires_at,
        }
    }

    /// A revocation in a store that needs no versions: one history, in which every statement takes the place of the last.
    pub(super) fn of(revocation: &Revocation) -> Self {
        Self::unversioned(revocation.cutoff, revocation.expires_at)
    }

    /// An entry of an allow-list, which refuses nobody.
    pub(super) fn allowing(expires_at: Timestamp) -> Self {
        Self::unversioned(Cutoff::NoToken, expires_at)
    }

    /// The stronger of both in everything.
    #[must_use]
    pub(super) fn strengthened_by(self, other: Self) -> Self {
        Self {
            cutoff: self.cutoff.max(other.cutoff),
            version: self.version.max(other.version),
            expires_at: self.expires_at.max(other.expires_at),
        }
    }

    /// Whether an un-revocation was stated after it.
    pub(super) fn is_taken_back_by(self, unrevoked: Version) -> bool {
        self.cutoff != Cutoff::NoToken && self.version != Version::NONE && self.version <= unrevoked
    }
}

impl KeyState {
    /// Nothing was ever stated.
    pub(super) const NOTHING: Self = Self {
        unrevoked: Version::NONE,
        all: Version::NONE,
        up_to: Version::NONE,
        cutoff: Timestamp::from_millis(i64::MIN),
        expires_at: Timestamp::from_millis(i64::MIN),
    };

    /// An un-revocation.
    pub(super) fn unrevoked(version: Version, expires_at: Timestamp) -> Self {
        Self {
            unrevoked: version,
            expires_at,
            ..Self::NOTHING
        }
    }

    /// A revocation after this un-revocation. One without a version is right after it.
    pub(super) fn revoked(held: Held, unrevoked: Version) -> Self {
        let version = match held.version {
            Version::NONE => unrevoked.next(),
            stated => stated,
        };
        let state = Self {
            unrevoked,
            expires_at: held.expires_at,
            ..Self::NOTHING
        };
        match held.cutoff {
            Cutoff::NoToken => state,
            Cutoff::IssuedUpTo(cutoff) => Self {
                up_to: version,
                cutoff,
                ..state
            },
            Cutoff::All => Self {
                all: version,
                ..state
            },
        }
    }

    /// What both know together.
    #[must_use]
    pub(super) fn join(self, other: Self) -> Self {
        Self {
            unrevoked: self.unrevoked.max(other.unrevoked),
            all: self.all.max(other.all),
            up_to: self.up_to.max(other.up_to),
            cutoff: self.cutoff.max(other.cutoff),
            expires_at: self.expires_at.max(other.expires_at),
        }
    }

    /// What is left of it for those who know of this un-revocation: without what that takes back.
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

    /// What both know together, without what either knows to have been taken back. Never less than what stands, and never more than
    /// [`KeyState::join`] says: that keeps a cutoff that was taken back, and gives it the version of a later revocation.
    #[must_use]
    pub(super) fn merge(self, other: Self) -> Self {
        let unrevoked = self.unrevoked.max(other.unrevoked);
        let (one, other) = (self.after(unrevoked), other.after(unrevoked));
        let mut both = one.join(other);
        // How long an un-revocation is remembered says nothing about how long a revocation stands.
        match (one.held(), other.held()) {
            (Some(_), None) => both.expires_at = one.expires_at,
            (None, Some(_)) => both.expires_at = other.expires_at,
            _ => {}
        }
        both
    }

    /// The revocation that stands after all this, if one does, with one version for all of it. Where every token is revoked, and
    /// some later up to a cutoff, that is the later one.
    pub(super) fn held(&self) -> Option<Held> {
        let cutoff = if self.all > self.unrevoked {
            Cutoff::All
        } else if self.up_to > self.unrevoked {
            Cutoff::IssuedUpTo(self.cutoff)
        } else {
            return None;
        };
        Some(Held {
            cutoff,
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
        // Few values, so that ties and all orders come up.
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

    /// What these statements mean: the strongest of the revocations that came after the last un-revocation.
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

    /// What a view keeps that has heard of these statements one by one.
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
            cutoff,
            version: Version::from_bits(version),
            expires_at: at(9),
        };
        KeyState::revoked(held, Version::from_bits(unrevoked))
    }

    fn unrevoked(version: u64) -> KeyState {
        KeyState::unrevoked(Version::from_bits(version), at(9))
    }

    fn cutoff(state: KeyState) -> Option<Cutoff> {
        state.held().map(|held| held.cutoff)
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
            // Without cutoffs nothing is lost: it is exact.
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
            cutoff: Cutoff::All,
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
