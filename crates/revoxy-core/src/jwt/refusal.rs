//! The refusal of a token: the reason, and the claim at fault.

use std::borrow::Cow;
use std::fmt;

use super::rejection::Rejection;

/// The name of a claim, as spelled by RFC 7519, this project or the configuration; never a text from a token.
pub type ClaimName = Cow<'static, str>;

/// Why a token is refused, and which claim is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reason.
    pub reason: Rejection,
    /// The claim that is missing or wrong, if the reason alone does not say so.
    pub claim: Option<ClaimName>,
}

impl Rejection {
    /// Makes a refusal for this reason, because of this claim.
    pub(super) fn because_of(self, claim: impl Into<ClaimName>) -> Refusal {
        Refusal {
            reason: self,
            claim: Some(claim.into()),
        }
    }
}

impl From<Rejection> for Refusal {
    fn from(reason: Rejection) -> Self {
        Self {
            reason,
            claim: None,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.claim {
            None => self.reason.fmt(f),
            Some(claim) => write!(f, "{}: {claim}", self.reason),
        }
    }
}

impl std::error::Error for Refusal {}
