//! The decision about one request, with what it is based on.

use std::sync::Arc;

use crate::jwt::{ClaimName, VerifiedToken};
use crate::revocation::TokenKeys;

use super::decision::Outcome;
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
    /// The token, if it was verified, and claims are forwarded or the policy does something to it.
    pub token: Option<Arc<VerifiedToken<TokenKeys>>>,
}

impl Verdict<'_> {
    /// A verdict without a policy and without a token.
    pub const fn without_policy(outcome: Outcome) -> Self {
        Self {
            outcome,
            policy: None,
            issuer: None,
            claim: None,
            token: None,
        }
    }
}
