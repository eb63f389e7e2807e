//! A statement about a key: when it was made, and whether it was acknowledged.

use super::{At, LATEST_EFFECT, Token};

/// Who made the statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A client that writes to the store directly.
    Hand,
    /// The API of this replica, which refuses the token itself from the acknowledgement on.
    Api(usize),
}

/// What was stated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// Revoked, at least until then.
    Revoked { until: At },
    /// All tokens that were issued up to a second between `from` and `to` are revoked, at least until
    /// `until`.
    RevokedUpTo { from: u64, to: u64, until: At },
    /// The revocation was taken back.
    NotRevoked,
    /// Registered on the allow-list.
    Registered,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    UnderWay,
    Acknowledged(At),
    Unknown,
}

/// Identifies a statement, to record its outcome later.
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

    /// Until when it certainly revokes this token; `None` if it does not certainly revoke it.
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
