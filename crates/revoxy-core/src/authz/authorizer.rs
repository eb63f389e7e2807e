//! The [`Authorizer`]: a check from beginning to end.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::clock::{Clock, Timestamp};
use crate::jwt::{
    CacheSize, CachingVerifier, ClaimPath, KeyWait, PendingKeys, Proxied, Refusal, VerifiedClaims,
    VerifiedToken, VerifyError,
};
use crate::revocation::{Checker, Lookup, Revocation, TokenKeys};

use super::claim_headers::{ClaimHeader, ClaimHeaders, Forwarded};
use super::decision::{AllowReason, DenyReason, ErrorReason, Outcome};
use super::demands::Unmet;
use super::policies::Policies;
use super::policy::{OnAllow, OnUnavailable, Policy, TokenDemand};
use super::request::AuthzRequest;
use super::token::{self, Stripped, TokenSource};
use super::verdict::Verdict;

/// Who revokes where `on_allow` says so.
const ACTOR: &str = "on_allow";

/// Decides whether requests may pass.
pub struct Authorizer {
    policies: Policies,
    verifier: CachingVerifier<TokenKeys>,
    revocation: Option<Checker>,
    clock: Arc<dyn Clock>,
    sources: Vec<TokenSource>,
    claim_headers: ClaimHeaders,
    /// Names of metadata, and the claims that they hold.
    claim_metadata: Vec<(String, ClaimPath)>,
}

/// A decision, or what is needed to reach one.
#[derive(Debug)]
pub enum Step<'p> {
    /// The decision.
    Done(Verdict<'p>),
    /// The token's key is missing, and the issuer's keys are being fetched. Decide again afterwards.
    AwaitKeys {
        /// The keys to wait for.
        keys: PendingKeys,
        /// The verdict if the wait fails.
        otherwise: Verdict<'p>,
    },
    /// The token is valid, but only the store can determine whether it is revoked.
    AskStore {
        /// The token, with the keys to look up.
        token: Arc<VerifiedToken<TokenKeys>>,
        /// The verdict if the token is not revoked.
        unless_revoked: Verdict<'p>,
    },
}

impl Authorizer {
    /// Creates an authorizer. Without a `revocation` checker, no revocations are looked up.
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
            claim_headers: ClaimHeaders::default(),
            claim_metadata: Vec::new(),
        }
    }

    /// Replaces the places in which tokens are looked for.
    pub fn with_token_sources(self, sources: Vec<TokenSource>) -> Self {
        Self { sources, ..self }
    }

    /// Forwards claims to the application in these headers.
    pub fn with_claim_headers(self, headers: Vec<ClaimHeader>) -> Self {
        let claim_headers = ClaimHeaders::new(headers);
        Self {
            claim_headers,
            ..self
        }
    }

    /// Tells the proxy these claims, each under a name.
    pub fn with_claim_metadata(self, claim_metadata: Vec<(String, ClaimPath)>) -> Self {
        Self {
            claim_metadata,
            ..self
        }
    }

    /// Returns how many verified tokens are cached, and their size.
    pub fn cached_tokens(&self) -> CacheSize {
        self.verifier.size()
    }

    /// Returns what to remove from a request that may pass.
    pub fn strip(&self, request: &AuthzRequest<'_>) -> Stripped {
        Stripped::from(&self.sources, request)
    }

    /// Returns the claims to tell the proxy: of every verified token, whether the request may pass or not.
    pub fn metadata<'v>(&'v self, verdict: &'v Verdict<'_>) -> Vec<(&'v str, &'v Value)> {
        let Some(token) = &verdict.token else {
            return Vec::new();
        };
        let claim = |(name, path): &'v (String, ClaimPath)| {
            let value = token.claims().value(&path.0)?;
            Some((name.as_str(), value))
        };
        self.claim_metadata.iter().filter_map(claim).collect()
    }

    /// Returns the headers to set and to remove in a request that may pass.
    pub fn forwarded(&self, verdict: &Verdict<'_>) -> Forwarded {
        let token = verdict.token.as_ref();
        self.claim_headers
            .changes(token.map(|token| token.claims()))
    }

    /// Decides about `request`, and does to its token what the policy says. Queries the store or waits for keys only if
    /// necessary.
    pub async fn authorize(&self, request: &AuthzRequest<'_>) -> Verdict<'_> {
        let verdict = self.reach_verdict(request).await;
        match (
            verdict.outcome,
            verdict.policy.map(|p| p.on_allow),
            &verdict.token,
        ) {
            (Outcome::Allow(_), Some(OnAllow::Revoke), Some(token)) => {
                let outcome = match self.revoke(token.claims()).await {
                    Ok(()) => verdict.outcome,
                    Err(reason) => reason.into(),
                };
                Verdict { outcome, ..verdict }
            }
            _ => verdict,
        }
    }

    /// Revokes the token with which a request may pass.
    async fn revoke(&self, claims: &VerifiedClaims) -> Result<(), ErrorReason> {
        let Some(checker) = &self.revocation else {
            return Err(ErrorReason::Internal);
        };
        let revocation = Revocation::of_token(claims, ACTOR, self.clock.now());
        let (kind, issuer) = (revocation.key.kind().as_str(), &**claims.issuer());
        match checker.revoke(&revocation).await {
            Ok(()) => {
                tracing::info!(kind, issuer, "revoked by a request that passes");
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "a revocation could not be recorded; the request is refused");
                Err(ErrorReason::RevocationUnavailable)
            }
        }
    }

    async fn reach_verdict(&self, request: &AuthzRequest<'_>) -> Verdict<'_> {
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
                    Some(checker) => checker.ask(token.derived(), self.clock.now()).await,
                    None => Ok(None),
                };
                let outcome = match answer {
                    Ok(None) => unless_revoked.outcome,
                    Ok(Some(_)) => DenyReason::Revoked.into(),
                    Err(error) => {
                        tracing::debug!(%error, "the revocation store did not answer");
                        self.when_store_is_silent(token.derived(), unless_revoked.policy)
                    }
                };
                Verdict {
                    outcome,
                    ..unless_revoked
                }
            }
        }
    }

    /// Decides what happens if the store does not answer. No other code decides this.
    fn when_store_is_silent(&self, keys: &TokenKeys, policy: Option<&Policy>) -> Outcome {
        let Some(checker) = &self.revocation else {
            return ErrorReason::Internal.into();
        };
        let choice = policy.map(|p| p.on_unavailable).unwrap_or_default();
        // As in `Checker::check`, the age is read first. Then the view is searched again, because it may have
        // recovered in the meantime.
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

    /// Decides as far as possible without waiting for anything.
    pub fn decide(&self, request: &AuthzRequest<'_>, now: Timestamp) -> Step<'_> {
        match self.policies.select(request) {
            Ok(policy) => self.judge(request, policy, now),
            Err(outcome) => Step::Done(Verdict::without_policy(outcome)),
        }
    }

    /// Finds the claims that the proxy has verified, for an issuer that is configured so. More than one set
    /// of claims is ambiguous.
    fn proxied(
        &self,
        request: &AuthzRequest<'_>,
    ) -> Result<Option<Map<String, Value>>, DenyReason> {
        let Some(proxy) = request.proxy else {
            return Ok(None);
        };
        let verifier = self.verifier.verifier();
        let payload = |key| proxy.payload(key).filter(|p| verifier.is_proxied(p, key));
        let mut found = verifier.proxy_keys().filter_map(payload);
        match (found.next(), found.next()) {
            (_, Some(_)) => Err(DenyReason::AmbiguousToken),
            (found, None) => Ok(found),
        }
    }

    fn judge<'p>(
        &'p self,
        request: &AuthzRequest<'_>,
        policy: &'p Policy,
        now: Timestamp,
    ) -> Step<'p> {
        let verdict = |outcome| Verdict {
            policy: Some(policy),
            ..Verdict::without_policy(outcome)
        };
        let done = |outcome: Outcome| Step::Done(verdict(outcome));
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
                    otherwise: unverified(keys.otherwise(), policy),
                    keys,
                };
            }
            Err(error) => return Step::Done(unverified(error, policy)),
        };
        let claims = token.claims();
        let forwards = !(self.claim_headers.is_empty() && self.claim_metadata.is_empty());
        let is_needed = forwards || policy.on_allow != OnAllow::None;
        let needed = || is_needed.then(|| Arc::clone(&token));
        let verdict = |outcome| Verdict {
            issuer: Some(Arc::clone(claims.issuer())),
            token: needed(),
            ..verdict(outcome)
        };
        let done = |outcome| Step::Done(verdict(outcome));
        if !policy.token_type.accepts(claims.token_type()) {
            return done(DenyReason::WrongTokenType.into());
        }
        let lookup = match &self.revocation {
            Some(checker) if policy.check_revocation => {
                checker.check(claims.token_type(), token.derived(), now)
            }
            Some(_) | None => Lookup::Clear,
        };
        if let Lookup::Revoked(_) = lookup {
            return done(DenyReason::Revoked.into());
        }
        if let Some(Unmet { reason, claim }) = policy.demands.unmet(claims, now) {
            return Step::Done(Verdict {
                claim,
                ..verdict(reason.into())
            });
        }
        match lookup {
            Lookup::Clear => done(Outcome::Allow(AllowReason::Ok)),
            Lookup::Revoked(_) => done(DenyReason::Revoked.into()),
            Lookup::Unidentified => done(DenyReason::Unidentified.into()),
            Lookup::Ask => Step::AskStore {
                unless_revoked: verdict(Outcome::Allow(AllowReason::Ok)),
                token,
            },
        }
    }
}

fn unverified(error: VerifyError, policy: &Policy) -> Verdict<'_> {
    let (outcome, claim) = match error {
        VerifyError::Rejected(Refusal { reason, claim }) => {
            (DenyReason::Rejected(reason).into(), claim)
        }
        VerifyError::KeysUnavailable | VerifyError::KeysPending(_) => {
            (ErrorReason::KeysUnavailable.into(), None)
        }
    };
    Verdict {
        policy: Some(policy),
        claim,
        ..Verdict::without_policy(outcome)
    }
}
