//! The three outcomes, which are never mixed: allow, deny (the token's fault), error (ours).
//!
//! Each reason is one variant of a closed set, which determines the metric label, the log field, the status
//! and the body of the answer. Every match below names all variants, so that the compiler finds each place
//! where a new one has to be added.

use std::sync::Arc;

use crate::jwt::{ClaimName, Rejection};

use super::policy::Policy;

/// The decision about a request, and the policy that it is based on.
#[derive(Clone, Debug)]
pub struct Verdict<'p> {
    /// Allow, deny or error, with the reason.
    pub outcome: Outcome,
    /// The policy that applied; `None` if the request named one that does not exist.
    pub policy: Option<&'p Policy>,
    /// The configured name of the issuer, if a token was verified.
    pub issuer: Option<Arc<str>>,
    /// The claim that is missing or wrong, if that is why the token was refused.
    pub claim: Option<ClaimName>,
}

impl Verdict<'_> {
    /// A verdict without a policy and without a token.
    pub const fn without_policy(outcome: Outcome) -> Self {
        Self {
            outcome,
            policy: None,
            issuer: None,
            claim: None,
        }
    }
}

/// Allow, deny or error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The request may pass.
    Allow(AllowReason),
    /// The request is refused, because of its token.
    Deny(DenyReason),
    /// No decision was reached, because of an error of ours.
    Error(ErrorReason),
}

/// Why a request may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllowReason {
    /// The token is valid and not revoked.
    Ok,
    /// There is no token, and the policy does not require one.
    Anonymous,
    /// The policy does not look at tokens.
    Public,
    /// The token is valid, and not revoked according to a stale view; the store does not answer
    /// (`serve_stale`).
    Stale,
    /// The token is valid, and nobody knows whether it is revoked (`on_unavailable: allow`).
    FailOpen,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DenyReason {
    /// There is no token.
    NoToken,
    /// There is more than one token, and two readers could choose different ones.
    AmbiguousToken,
    /// The token does not verify.
    Rejected(Rejection),
    /// An access token where a refresh token is required, or vice versa.
    WrongTokenType,
    /// The token is revoked.
    Revoked,
    /// The token cannot be looked up: it lacks a claim that the key of a lookup needs.
    Unidentified,
    /// The path is spelled in a way that could evade routes.
    AmbiguousPath,
    /// The method is spelled in a way that could evade routes.
    AmbiguousMethod,
}

/// Why no decision was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorReason {
    /// The revocation store did not answer, and the policy refuses such requests.
    RevocationUnavailable,
    /// The revocation store did not answer, and the policy lets the proxy decide.
    RevocationDelegated,
    /// The keys of the token's issuer are not available.
    KeysUnavailable,
    /// The request names a policy that is not configured.
    UnknownPolicy,
    /// The proxy's request cannot be read, or has no HTTP attributes.
    BadCheckRequest,
    /// There is no memory for this check, because of other checks in flight.
    Overloaded,
    /// A bug in Revoxy.
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

    /// All outcomes; the position of an outcome is its [`Outcome::index`].
    pub fn all() -> impl Iterator<Item = Self> {
        let rejected = Rejection::ALL
            .into_iter()
            .map(|r| Self::Deny(DenyReason::Rejected(r)));
        Self::OTHERS.into_iter().chain(rejected)
    }

    /// Returns the position in [`Outcome::all`].
    pub fn index(self) -> usize {
        // The most frequent outcome comes first; the list is short.
        Self::all().position(|o| o == self).unwrap_or_default()
    }

    /// Returns `allow`, `deny` or `error`.
    pub const fn decision(self) -> &'static str {
        match self {
            Self::Allow(_) => "allow",
            Self::Deny(_) => "deny",
            Self::Error(_) => "error",
        }
    }

    /// Returns the stable name of the reason.
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

    /// Returns a description of the problem, for the caller.
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

    #[test]
    fn no_outcome_is_missing_and_each_denial_says_something_of_its_own() {
        let of = |decision: &str| Outcome::all().filter(|o| o.decision() == decision).count();
        let counts = ["allow", "deny", "error"].map(of);
        assert_eq!(counts, [5, 7 + Rejection::ALL.len(), 7]);
        let described = |outcome| match outcome {
            Outcome::Deny(reason) => Some(reason.description()),
            Outcome::Allow(_) | Outcome::Error(_) => None,
        };
        let descriptions: HashSet<_> = Outcome::all().filter_map(described).collect();
        assert_eq!(descriptions.len(), counts[1]);
        assert!(descriptions.contains("the token has been revoked"));
    }
}
