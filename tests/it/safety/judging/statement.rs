//! What was stated about a key, when, and whether it was acknowledged.

use super::{At, LATEST_EFFECT, Token};

/// Who stated it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Somebody who writes to the store by hand.
    Hand,
    /// The API of this replica, which refuses the token itself from the acknowledgement on.
    Api(usize),
}

/// What was stated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// Revoked, at least until then.
    Revoked { until: At },
    /// All tokens that were issued up to a second between these two are revoked, at least until `until`.
    RevokedUpTo { from: u64, to: u64, until: At },
    /// Taken back.
    NotRevoked,
    /// On the list of those that are let through.
    Registered,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    UnderWay,
    Acknowledged(At),
    Unknown,
}

/// By which a statement is found again when its outcome is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatementId(pub(super) usize);

#[derive(Clone, Copy, Debug)]
pub(super) struct Statement {
    pub says: Says,
    pub origin: Origin,
    pub began: At,
    pub outcome: Outcome,
}

impl Statement {
    /// When it has taken effect at the latest, if it ever does.
    pub fn latest(&self) -> At {
        match self.outcome {
            Outcome::UnderWay => At::MAX,
            Outcome::Acknowledged(at) => at,
            Outcome::Unknown => self.began + LATEST_EFFECT,
        }
    }

    /// When it was acknowledged, if it was.
    pub fn acknowledged(&self) -> Option<At> {
        match self.outcome {
            Outcome::Acknowledged(at) => Some(at),
            Outcome::UnderWay | Outcome::Unknown => None,
        }
    }

    /// Whether it revokes this token for certain, as long as it stands: until when it does.
    pub fn revokes(&self, token: Token) -> Option<At> {
        match (self.says, token) {
            (Says::Revoked { until }, _) => Some(until),
            (Says::RevokedUpTo { from, until, .. }, Token::Session { issued, .. }) => {
                (issued <= from).then_some(until)
            }
            _ => None,
        }
    }

    /// Whether it may revoke this token.
    pub fn may_revoke(&self, token: Token) -> bool {
        match (self.says, token) {
            (Says::Revoked { .. }, _) => true,
            (Says::RevokedUpTo { to, .. }, Token::Session { issued, .. }) => issued <= to,
            _ => false,
        }
    }

    pub fn takes_back(&self) -> bool {
        self.says == Says::NotRevoked
    }
}
