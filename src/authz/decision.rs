//! The three outcomes, never mixed: allow, deny (the token's fault), error (ours).
//!
//! Each reason is one variant of a closed set, which gives the metric label, the log field, the status and the body of
//! the answer. The matches below name every variant, so that a new one cannot be forgotten anywhere.

use std::sync::Arc;

use crate::jwt::Rejection;

use super::policy::Policy;

/// What was decided about a request, and by which policy.
#[derive(Clone, Debug)]
pub struct Verdict<'p> {
    /// Allow, deny or error, and why.
    pub outcome: Outcome,
    /// The policy that applied; `None` where the request named one that does not exist.
    pub policy: Option<&'p Policy>,
    /// The configured name of the issuer, where a token was verified.
    pub issuer: Option<Arc<str>>,
}

/// Allow, deny or error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The request may pass.
    Allow(AllowReason),
    /// The request is refused, through the fault of its token.
    Deny(DenyReason),
    /// No decision could be reached, through our fault.
    Error(ErrorReason),
}

/// Why a request may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllowReason {
    /// The token is good and not revoked.
    Ok,
    /// The policy wants a token only if there is one, and there is none.
    Anonymous,
    /// The policy looks at no token.
    Public,
    /// The token is good, and no revocation was known a while ago; the store gives no newer word (`serve_stale`).
    Stale,
    /// The token is good, and nobody knows whether it is revoked (`on_unavailable: allow`).
    FailOpen,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DenyReason {
    /// There is no token.
    NoToken,
    /// There is more than one, and two readers could choose differently.
    AmbiguousToken,
    /// The token does not verify.
    Rejected(Rejection),
    /// An access token where a refresh token is wanted, or the other way round.
    WrongTokenType,
    /// The token is revoked.
    Revoked,
    /// It cannot be looked up whether the token is revoked: it lacks a claim of which an application's key is made.
    Unidentified,
    /// The path is spelled in a way that routes could be evaded with.
    AmbiguousPath,
    /// The method is spelled in a way that routes could be evaded with.
    AmbiguousMethod,
}

/// Why no decision could be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorReason {
    /// The revocation store gave no answer, and the policy is to refuse then.
    RevocationUnavailable,
    /// The revocation store gave no answer, and the policy is to let the proxy decide.
    RevocationDelegated,
    /// The keys of the token's issuer are not there.
    KeysUnavailable,
    /// The request names a policy that is not configured.
    UnknownPolicy,
    /// The proxy's request cannot be read, or carries no HTTP attributes.
    BadCheckRequest,
    /// More checks at once than there is memory for.
    Overloaded,
    /// A defect of ours.
    Internal,
}

impl Outcome {
    const OTHERS: [Self; 19] = [
        Self::Allow(AllowReason::Ok),
        Self::Allow(AllowReason::Anonymous),
        Self::Allow(AllowReason::Public),
        Self::Allow(AllowReason::Stale),
        Self::Allow(AllowReason::FailOpen),
        Self::Deny(DenyReason::NoToken),
        Self::Deny(DenyReason::AmbiguousToken),
        Self::Deny(DenyReason::WrongTokenType),
        Self::Deny(DenyReason::Revoked),
        Self::Deny(DenyReason::Unidentified),
        Self::Deny(DenyReason::AmbiguousPath),
        Self::Deny(DenyReason::AmbiguousMethod),
        Self::Error(ErrorReason::RevocationUnavailable),
        Self::Error(ErrorReason::RevocationDelegated),
        Self::Error(ErrorReason::KeysUnavailable),
        Self::Error(ErrorReason::UnknownPolicy),
        Self::Error(ErrorReason::BadCheckRequest),
        Self::Error(ErrorReason::Overloaded),
        Self::Error(ErrorReason::Internal),
    ];

    /// Every outcome; its place here is its [`Outcome::index`].
    pub fn all() -> impl Iterator<Item = Self> {
        let rejected = Rejection::ALL
            .into_iter()
            .map(|r| Self::Deny(DenyReason::Rejected(r)));
        Self::OTHERS.into_iter().chain(rejected)
    }

    /// The place in [`Outcome::all`].
    pub fn index(self) -> usize {
        // The common outcome stands first; the list is short.
        Self::all().position(|o| o == self).unwrap_or_default()
    }

    /// `allow`, `deny` or `error`.
    pub const fn decision(self) -> &'static str {
        match self {
            Self::Allow(_) => "allow",
            Self::Deny(_) => "deny",
            Self::Error(_) => "error",
        }
    }

    /// The reason's stable name.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Allow(reason) => reason.as_str(),
            Self::Deny(reason) => reason.as_str(),
            Self::Error(reason) => reason.as_str(),
        }
    }
}

impl AllowReason {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Anonymous => "anonymous",
            Self::Public => "public",
            Self::Stale => "stale",
            Self::FailOpen => "fail_open",
        }
    }
}

impl DenyReason {
    const fn as_str(self) -> &'static str {
        match self {
            Self::NoToken => "no_token",
            Self::AmbiguousToken => "ambiguous_token",
            Self::Rejected(rejection) => rejection.as_str(),
            Self::WrongTokenType => "wrong_token_type",
            Self::Revoked => "revoked",
            Self::Unidentified => "unidentified",
            Self::AmbiguousPath => "ambiguous_path",
            Self::AmbiguousMethod => "ambiguous_method",
        }
    }

    /// What is wrong, for the caller.
    pub fn description(self) -> String {
        match self {
            Self::NoToken => "no bearer token in the request".to_owned(),
            Self::AmbiguousToken => "more than one token in the request".to_owned(),
            Self::Rejected(rejection) => rejection.to_string(),
            Self::WrongTokenType => "a token of another type is needed here".to_owned(),
            Self::Revoked => "the token has been revoked".to_owned(),
            Self::Unidentified => "the token lacks what it could be revoked by".to_owned(),
            Self::AmbiguousPath => "the path is not in normal form".to_owned(),
            Self::AmbiguousMethod => "the method is not in capitals".to_owned(),
        }
    }
}

impl ErrorReason {
    const fn as_str(self) -> &'static str {
        match self {
            Self::RevocationUnavailable => "revocation_unavailable",
            Self::RevocationDelegated => "revocation_delegated",
            Self::KeysUnavailable => "keys_unavailable",
            Self::UnknownPolicy => "unknown_policy",
            Self::BadCheckRequest => "bad_check_request",
            Self::Overloaded => "overloaded",
            Self::Internal => "internal",
        }
    }
}

impl From<DenyReason> for Outcome {
    fn from(reason: DenyReason) -> Self {
        Self::Deny(reason)
    }
}

impl From<ErrorReason> for Outcome {
    fn from(reason: ErrorReason) -> Self {
        Self::Error(reason)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_outcome_has_its_own_place_and_its_own_name() {
        let names: HashSet<_> = Outcome::all().map(|o| (o.decision(), o.reason())).collect();
        assert_eq!(names.len(), Outcome::all().count());
        for (place, outcome) in Outcome::all().enumerate() {
            assert_eq!(outcome.index(), place);
        }
    }
}
