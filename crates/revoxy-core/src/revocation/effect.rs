//! The effect of an entry on the tokens of its key.

use crate::clock::Timestamp;

use super::statement::Cutoff;

/// What an existing key, or an entry of a view, means for its tokens. The greater of two effects refuses more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// The entry refuses no token: an entry of an allow-list, or an application's revocation that has not come
    /// into effect yet.
    Admits,
    /// The entry is a revocation.
    Revokes(Cutoff),
}

impl Effect {
    /// The revocation of all tokens.
    pub const REVOKES_ALL: Self = Self::Revokes(Cutoff::All);

    /// Returns whether the entry refuses a token with this `iat`: see [`Cutoff::matches`].
    pub fn refuses(self, issued_at: Option<Timestamp>) -> bool {
        self.cutoff()
            .is_some_and(|cutoff| cutoff.matches(issued_at))
    }

    /// Returns the cutoff, if the entry is a revocation.
    pub fn cutoff(self) -> Option<Cutoff> {
        match self {
            Self::Admits => None,
            Self::Revokes(cutoff) => Some(cutoff),
        }
    }
}

impl From<Cutoff> for Effect {
    fn from(cutoff: Cutoff) -> Self {
        Self::Revokes(cutoff)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_that_admits_refuses_no_token() {
        for issued_at in [None, Some(Timestamp::from_secs(1))] {
            assert!(!Effect::Admits.refuses(issued_at));
            assert!(Effect::REVOKES_ALL.refuses(issued_at));
        }
    }

    #[test]
    fn a_revocation_outweighs_an_entry_that_admits() {
        let earliest = Cutoff::IssuedUpTo(Timestamp::from_millis(i64::MIN));
        assert_eq!(
            Effect::Admits.max(earliest.into()),
            Effect::Revokes(earliest)
        );
    }
}
