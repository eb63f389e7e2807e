//! The three outcomes, which are never mixed: allow, deny (because of the request) and error (because of a
//! failure of Revoxy, its dependencies or its configuration).
//!
//! Each reason is one variant of a closed set, which determines the metric label, the log field, the status
//! and the body of the answer. Every match below names all variants, so that the compiler finds each place
//! where a new one has to be added.

use crate::jwt::Rejection;

/// Allow, deny or error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The request may pass.
    Allow(AllowReason),
    /// The request is refused, because of its token, path or method.
    Deny(DenyReason),
    /// No decision was reached, because of a failure of Revoxy, its dependencies or its configuration.
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
    /// The token is valid, and it is unknown whether the token is revoked (`on_unavailable: allow`).
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
    /// The policy accepts no tokens of this issuer.
    IssuerNotAccepted,
    /// The policy accepts no tokens for this audience.
    AudienceNotAccepted,
    /// The token lacks a scope that the policy demands.
    InsufficientScope,
    /// A claim is not as the policy demands.
    InsufficientClaims,
    /// The policy demands a fresh token.
    NotFresh,
    /// The user has not authenticated in a way that the policy demands.
    InsufficientAcr,
    /// The user has authenticated too long ago for the policy.
    AuthenticationTooOld,
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
    /// The memory budget is exhausted by other checks in flight.
    Overloaded,
    /// A bug in Revoxy.
    Internal,
}

impl Outcome {
    const OTHERS: [Self; 26] = [
        Self::Allow(AllowReason::Ok),
        Self::Allow(AllowReason::Anonymous),
        Self::Allow(AllowReason::Public),
        Self::Allow(AllowReason::Stale),
        Self::Allow(AllowReason::FailOpen),
        Self::Deny(DenyReason::NoToken),
        Self::Deny(DenyReason::AmbiguousToken),
        Self::Deny(DenyReason::WrongTokenType),
        Self::Deny(DenyReason::IssuerNotAccepted),
        Self::Deny(DenyReason::AudienceNotAccepted),
        Self::Deny(DenyReason::InsufficientScope),
        Self::Deny(DenyReason::InsufficientClaims),
        Self::Deny(DenyReason::NotFresh),
        Self::Deny(DenyReason::InsufficientAcr),
        Self::Deny(DenyReason::AuthenticationTooOld),
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
            Self::IssuerNotAccepted => "issuer_not_accepted",
            Self::AudienceNotAccepted => "audience_not_accepted",
            Self::InsufficientScope => "insufficient_scope",
            Self::InsufficientClaims => "insufficient_claims",
            Self::NotFresh => "not_fresh",
            Self::InsufficientAcr => "insufficient_acr",
            Self::AuthenticationTooOld => "authentication_too_old",
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
            Self::IssuerNotAccepted => "tokens of this issuer are not accepted here".to_owned(),
            Self::AudienceNotAccepted => "the token is for another audience".to_owned(),
            Self::InsufficientScope => "the token lacks a scope that is needed here".to_owned(),
            Self::InsufficientClaims => "a claim is not as it is needed here".to_owned(),
            Self::NotFresh => "a fresh token is needed here".to_owned(),
            Self::InsufficientAcr => "a stronger authentication is needed here".to_owned(),
            Self::AuthenticationTooOld => "a more recent authentication is needed here".to_owned(),
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
        assert_eq!(counts, [5, 14 + Rejection::ALL.len(), 7]);
        let described = |outcome| match outcome {
            Outcome::Deny(reason) => Some(reason.description()),
            Outcome::Allow(_) | Outcome::Error(_) => None,
        };
        let descriptions: HashSet<_> = Outcome::all().filter_map(described).collect();
        assert_eq!(descriptions.len(), counts[1]);
        assert!(descriptions.contains("the token has been revoked"));
    }
}
