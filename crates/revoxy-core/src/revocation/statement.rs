//! The statement "tokens matching this key are refused".

use crate::clock::Timestamp;

use super::key::RevocationKey;

/// Which of the tokens under a key a revocation applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cutoff {
    /// Tokens issued in the second of this instant or before: a new login works from the next second on. Most
    /// issuers write whole seconds, and then the order of events within a second is unknown.
    IssuedUpTo(Timestamp),
    /// All tokens. The last variant, because it is the strongest.
    All,
}

impl Cutoff {
    /// Returns whether the revocation applies to a token with this `iat`. It applies to a token without
    /// `iat`, which cannot prove that it was issued after the cutoff.
    pub fn matches(self, issued_at: Option<Timestamp>) -> bool {
        match (self, issued_at) {
            (Self::All, _) | (_, None) => true,
            (Self::IssuedUpTo(cutoff), Some(issued_at)) => issued_at.secs() <= cutoff.secs(),
        }
    }
}

/// A revocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// What is revoked.
    pub key: RevocationKey,
    /// Which of the tokens under the key are revoked.
    pub cutoff: Cutoff,
    /// When the revocation expires: no token that it applies to lives longer.
    pub expires_at: Timestamp,
    /// The reason, as given by the caller that revoked.
    pub reason: Option<String>,
    /// Who revoked.
    pub actor: Option<String>,
    /// When the revocation was made.
    pub revoked_at: Timestamp,
}

impl Revocation {
    /// Returns what is in effect when `newer` is stated after this revocation: the later of the cutoffs and
    /// of the expiries, so that a revocation never weakens another, with the newer revocation's reason, actor
    /// and time.
    pub fn strengthened_by(&self, newer: &Self) -> Self {
        Self {
            cutoff: self.cutoff.max(newer.cutoff),
            expires_at: self.expires_at.max(newer.expires_at),
            ..newer.clone()
        }
    }

    /// Returns whether this revocation adds anything to `current`: it applies to more tokens, expires later,
    /// or has another reason or actor. If it does not, nothing has to be written.
    pub fn adds_to(&self, current: &Self) -> bool {
        let current_as_of_now = Self {
            revoked_at: self.revoked_at,
            ..current.clone()
        };
        current.strengthened_by(self) != current_as_of_now
    }

    /// Returns whether the revocation is live at `now`.
    pub fn is_live(&self, now: Timestamp) -> bool {
        now < self.expires_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_issued_in_the_second_of_the_cutoff_is_revoked_whatever_the_fractions() {
        for cutoff in [100_000, 100_001, 100_500, 100_999] {
            let cutoff = Cutoff::IssuedUpTo(Timestamp::from_millis(cutoff));
            for issued_at in [99_999, 100_000, 100_001, 100_999] {
                let issued_at = Timestamp::from_millis(issued_at);
                assert!(cutoff.matches(Some(issued_at)), "{cutoff:?} {issued_at:?}");
            }
            assert!(!cutoff.matches(Some(Timestamp::from_secs(101))));
        }
    }

    #[test]
    fn a_token_without_iat_is_revoked_by_any_cutoff() {
        assert!(Cutoff::IssuedUpTo(Timestamp::from_secs(1)).matches(None));
    }

    #[test]
    fn an_older_cutoff_never_weakens_a_newer_one() {
        let older = Cutoff::IssuedUpTo(Timestamp::from_secs(1));
        let newer = Cutoff::IssuedUpTo(Timestamp::from_secs(2));
        assert_eq!(older.max(newer), newer);
        assert_eq!(newer.max(Cutoff::All), Cutoff::All);
    }

    fn revocation(cutoff: i64, expires_at: i64, reason: &str) -> Revocation {
        Revocation {
            key: RevocationKey::new(crate::revocation::KeyKind::Subject, "shop", "alice"),
            cutoff: Cutoff::IssuedUpTo(Timestamp::from_secs(cutoff)),
            expires_at: Timestamp::from_secs(expires_at),
            reason: Some(reason.to_owned()),
            actor: None,
            revoked_at: Timestamp::from_secs(0),
        }
    }

    #[test]
    fn of_two_revocations_the_later_cutoff_and_expiry_stand_with_the_reason_of_the_newer() {
        let (one, other) = (revocation(1, 20, "old"), revocation(2, 10, "new"));
        assert_eq!(one.strengthened_by(&other), revocation(2, 20, "new"));
        assert_eq!(other.strengthened_by(&one), revocation(2, 20, "old"));
    }

    #[test]
    fn what_is_said_again_adds_nothing_unless_it_says_more() {
        let current = revocation(5, 20, "lost phone");
        let later = Revocation {
            revoked_at: Timestamp::from_secs(9),
            ..current.clone()
        };
        assert!(!later.adds_to(&current));
        assert!(!revocation(4, 19, "lost phone").adds_to(&current));
        for more in [
            revocation(6, 20, "lost phone"),
            revocation(5, 21, "lost phone"),
            revocation(5, 20, "stolen phone"),
            Revocation {
                actor: Some("alice".to_owned()),
                ..current.clone()
            },
        ] {
            assert!(more.adds_to(&current), "{more:?}");
        }
    }

    #[test]
    fn a_revocation_stands_until_the_very_instant_of_its_expiry() {
        let revocation = revocation(1, 20, "");
        assert!(revocation.is_live(Timestamp::from_millis(19_999)));
        assert!(!revocation.is_live(Timestamp::from_secs(20)));
        assert!(!revocation.is_live(Timestamp::from_secs(21)));
    }
}
