//! The [`Authorizer`]: one check, top to bottom.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::clock::{Clock, Timestamp};
use crate::jwt::{
    CacheSize, CachingVerifier, KeyWait, PendingKeys, Proxied, VerifiedToken, VerifyError,
};
use crate::revocation::{Checker, Lookup, TokenKeys};

use super::decision::{AllowReason, DenyReason, ErrorReason, Outcome, Verdict};
use super::policy::{OnUnavailable, Policies, Policy, TokenDemand};
use super::request::AuthzRequest;
use super::token::{self, Stripped, TokenSource};

/// Decides about requests.
pub struct Authorizer {
    policies: Policies,
    verifier: CachingVerifier<TokenKeys>,
    revocation: Option<Checker>,
    clock: Arc<dyn Clock>,
    sources: Vec<TokenSource>,
}

/// A decision, or what it still needs.
#[derive(Debug)]
pub enum Step<'p> {
    /// Decided.
    Done(Verdict<'p>),
    /// The token's key is not there, and the issuer's keys are being fetched. Then decide again.
    AwaitKeys {
        /// What to wait for.
        keys: PendingKeys,
        /// The verdict if that is in vain.
        otherwise: Verdict<'p>,
    },
    /// Everything is in order, except that only the store can tell whether the token is revoked.
    AskStore {
        /// The token, with the keys under which to ask.
        token: Arc<VerifiedToken<TokenKeys>>,
        /// The verdict if nothing stands against the token.
        unless_revoked: Verdict<'p>,
    },
}

impl Authorizer {
    /// An authorizer; without a `revocation` checker no revocation is looked up.
    pub fn new(
        policies: Policies,
        verifier: CachingVerifier<TokenKeys>,
        revocation: Option<Checker>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            policies,
            verifier,
            revocation,
            clock,
            sources: vec![TokenSource::bearer()],
        }
    }

    /// The same, but looks for tokens in these places.
    pub fn with_token_sources(self, sources: Vec<TokenSource>) -> Self {
        Self { sources, ..self }
    }

    /// How many verified tokens are remembered.
    pub fn cached_tokens(&self) -> CacheSize {
        self.verifier.size()
    }

    /// What to take away from a request that may pass.
    pub fn strip(&self, request: &AuthzRequest<'_>) -> Stripped {
        Stripped::from(&self.sources, request)
    }

    /// Decides about `request`, asking the store or waiting for keys only if it must.
    pub async fn authorize(&self, request: &AuthzRequest<'_>) -> Verdict<'_> {
        let mut step = self.decide(request, self.clock.now());
        let mut wait = KeyWait::default();
        while let Step::AwaitKeys { keys, .. } = &step {
            if !wait.on(keys).await {
                break;
            }
            step = self.decide(request, self.clock.now());
        }
        match step {
            Step::Done(verdict) => verdict,
            Step::AwaitKeys { otherwise, .. } => otherwise,
            Step::AskStore {
                token,
                unless_revoked,
            } => {
                let answer = match &self.revocation {
                    Some(checker) => checker.ask(token.derived()).await,
                    None => Ok(None),
                };
                let outcome = match answer {
                    Ok(None) => unless_revoked.outcome,
                    Ok(Some(_)) => DenyReason::Revoked.into(),
                    Err(error) => {
                        tracing::debug!(%error, "no word from the revocation store");
                        self.without_word(token.derived(), unless_revoked.policy)
                    }
                };
                Verdict {
                    outcome,
                    ..unless_revoked
                }
            }
        }
    }

    /// The only place where it is decided what the silence of the store means.
    fn without_word(&self, keys: &TokenKeys, policy: Option<&Policy>) -> Outcome {
        let Some(checker) = &self.revocation else {
            return ErrorReason::Internal.into();
        };
        let choice = policy.map(|p| p.on_unavailable).unwrap_or_default();
        // The age first, then another look, as in `Checker::check`: the view may have come back meanwhile.
        let young = match choice {
            OnUnavailable::ServeStale(age) => checker.is_younger_than(age),
            OnUnavailable::Deny | OnUnavailable::Allow | OnUnavailable::Delegate => false,
        };
        let looked = checker.look(keys, self.clock.now());
        if matches!(looked, Lookup::Revoked(_)) {
            return DenyReason::Revoked.into();
        }
        match choice {
            OnUnavailable::ServeStale(_) if young && looked == Lookup::Clear => {
                Outcome::Allow(AllowReason::Stale)
            }
            OnUnavailable::Deny | OnUnavailable::ServeStale(_) => {
                ErrorReason::RevocationUnavailable.into()
            }
            OnUnavailable::Allow => Outcome::Allow(AllowReason::FailOpen),
            OnUnavailable::Delegate => ErrorReason::RevocationDelegated.into(),
        }
    }

    /// Decides as far as can be done without waiting for anything.
    pub fn decide(&self, request: &AuthzRequest<'_>, now: Timestamp) -> Step<'_> {
        match self.policies.select(request) {
            Ok(policy) => self.judge(request, policy, now),
            Err(outcome) => Step::Done(Verdict {
                outcome,
                policy: None,
                issuer: None,
            }),
        }
    }

    /// The claims that the proxy has verified, of an issuer that is configured so. Two are one too many.
    fn proxied(
        &self,
        request: &AuthzRequest<'_>,
    ) -> Result<Option<Map<String, Value>>, DenyReason> {
        let Some(proxy) = request.proxy else {
            return Ok(None);
        };
        let verifier = self.verifier.verifier();
        let mut found: Option<Map<String, Value>> = None;
        for key in verifier.proxy_keys() {
            let payload = proxy.payload(key).filter(|p| verifier.is_proxied(p, key));
            match (&found, payload) {
                (_, None) => {}
                (None, payload) => found = payload,
                // Issuers may share a key.
                (Some(before), Some(payload)) if *before == payload => {}
                (Some(_), Some(_)) => return Err(DenyReason::AmbiguousToken),
            }
        }
        Ok(found)
    }

    fn judge<'p>(
        &'p self,
        request: &AuthzRequest<'_>,
        policy: &'p Policy,
        now: Timestamp,
    ) -> Step<'p> {
        let verdict = |outcome, issuer| Verdict {
            outcome,
            policy: Some(policy),
            issuer,
        };
        let done = |outcome: Outcome| Step::Done(verdict(outcome, None));
        if policy.token == TokenDemand::None {
            return done(Outcome::Allow(AllowReason::Public));
        }
        let payload = self.proxied(request);
        let token = match (token::extract(&self.sources, request), &payload) {
            (Ok(token), Ok(Some(payload))) => self.verifier.accept(Proxied { payload, token }, now),
            (Ok(Some(token)), Ok(None)) => self.verifier.verify(token, now),
            (Ok(None), Ok(None)) if policy.token == TokenDemand::Optional => {
                return done(Outcome::Allow(AllowReason::Anonymous));
            }
            (Ok(None), Ok(None)) => return done(DenyReason::NoToken.into()),
            (Err(reason), _) => return done(reason.into()),
            (_, Err(reason)) => return done((*reason).into()),
        };
        let token = match token {
            Ok(token) => token,
            Err(VerifyError::KeysPending(keys)) => {
                return Step::AwaitKeys {
                    otherwise: verdict(unverified(keys.otherwise()), None),
                    keys,
                };
            }
            Err(error) => return done(unverified(error)),
        };
        let claims = token.claims();
        let done = |outcome| Step::Done(verdict(outcome, Some(Arc::clone(claims.issuer()))));
        if !policy.token_type.accepts(claims.token_type()) {
            return done(DenyReason::WrongTokenType.into());
        }
        let lookup = match &self.revocation {
            Some(checker) => checker.check(claims.token_type(), token.derived(), now),
            None => Lookup::Clear,
        };
        match lookup {
            Lookup::Clear => done(Outcome::Allow(AllowReason::Ok)),
            Lookup::Revoked(_) => done(DenyReason::Revoked.into()),
            Lookup::Unidentified => done(DenyReason::Unidentified.into()),
            Lookup::Ask => Step::AskStore {
                unless_revoked: verdict(
                    Outcome::Allow(AllowReason::Ok),
                    Some(Arc::clone(claims.issuer())),
                ),
                token,
            },
        }
    }
}

fn unverified(error: VerifyError) -> Outcome {
    match error {
        VerifyError::Rejected(rejection) => DenyReason::Rejected(rejection).into(),
        VerifyError::KeysUnavailable | VerifyError::KeysPending(_) => {
            ErrorReason::KeysUnavailable.into()
        }
    }
}
