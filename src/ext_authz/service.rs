//! The gRPC service: decode, decide, encode, count.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;
use tonic::Status;

use crate::authz::{Authorizer, DenyReason, ErrorReason, Outcome, Stripped, Verdict};
use crate::clock::OncePerMinute;
use crate::metrics::CheckMetrics;

use super::message::Unreadable;
use super::request::EnvoyRequest;
use super::response::Answers;
use super::wire::{CheckRequest, CheckResponse};

/// The gRPC service `envoy.service.auth.v3.Authorization`.
pub struct ExtAuthz {
    authorizer: Arc<Authorizer>,
    answers: Answers,
    metrics: CheckMetrics,
    overloaded: OncePerMinute,
}

impl ExtAuthz {
    /// Creates the service over an authorizer.
    pub fn new(authorizer: Arc<Authorizer>, answers: Answers, metrics: CheckMetrics) -> Self {
        Self {
            authorizer,
            answers,
            metrics,
            overloaded: OncePerMinute::new(),
        }
    }

    async fn decide(&self, request: Option<&EnvoyRequest<'_>>) -> Verdict<'_> {
        let Some(request) = request else {
            return ours(ErrorReason::BadCheckRequest);
        };
        let authz = request.as_authz();
        let decision = AssertUnwindSafe(self.authorizer.authorize(&authz)).catch_unwind();
        decision
            .await
            .unwrap_or_else(|_| ours(ErrorReason::Internal))
    }

    /// Answers one check. A panic must not allow, and must not take down the connection that hundreds of other
    /// checks share.
    pub(super) async fn check(&self, request: &CheckRequest) -> Result<CheckResponse, Status> {
        let answer = AssertUnwindSafe(self.answer(request)).catch_unwind();
        answer.await.unwrap_or_else(|_| {
            let verdict = self.failed(ErrorReason::Internal);
            Ok(self.answers.encode(&verdict, &[], Default::default))
        })
    }

    async fn answer(&self, request: &CheckRequest) -> Result<CheckResponse, Status> {
        let timer = self.metrics.start();
        let request = EnvoyRequest::read(request);
        let verdict = self.decide(request.as_ref()).await;
        timer.finish(verdict.outcome.index(), verdict.policy.map(|p| p.index));
        log(&verdict, || request.as_ref().map_or("", EnvoyRequest::id));
        if verdict.outcome == ErrorReason::RevocationDelegated.into() {
            // `failure_mode_allow` of Envoy applies to an error of the call itself.
            return Err(Status::unavailable("the revocation store is unavailable"));
        }
        let changes = || {
            let request = request.as_ref().map(EnvoyRequest::as_authz);
            let strip = request.map_or_else(Stripped::default, |r| self.authorizer.strip(&r));
            (strip, self.authorizer.forwarded(&verdict))
        };
        let claims = self.authorizer.metadata(&verdict);
        Ok(self.answers.encode(&verdict, &claims, changes))
    }

    /// Answers a check that cannot be read: the outcome is an error, but it is sent as a `CheckResponse`.
    /// With a gRPC error, a proxy with `failure_mode_allow` would let the request pass, and a client might be
    /// able to cause that.
    pub(super) fn unreadable(&self, why: &Unreadable) -> CheckResponse {
        let verdict = self.failed(ErrorReason::BadCheckRequest);
        tracing::warn!(reason = verdict.outcome.reason(), %why, "a check request cannot be read");
        self.answers.encode(&verdict, &[], Default::default)
    }

    /// Refuses a check for which there is no memory. Unlike [`Self::unreadable`], this is deliberately a gRPC
    /// error: it consists of headers only, whereas the caller's flow-control window could hold back a
    /// `CheckResponse`, together with the memory that it takes.
    pub(super) fn overloaded(&self) -> Status {
        let verdict = self.failed(ErrorReason::Overloaded);
        if self.overloaded.is_due() {
            tracing::warn!(
                reason = verdict.outcome.reason(),
                "there is no memory for more requests; checks are refused with UNAVAILABLE"
            );
        }
        Status::unavailable("too many checks at once")
    }

    /// Refuses a request whose path could be read in two ways.
    pub(super) fn ambiguous_path(&self) -> CheckResponse {
        let verdict = Verdict::without_policy(DenyReason::AmbiguousPath.into());
        self.metrics.start().finish(verdict.outcome.index(), None);
        self.answers.encode(&verdict, &[], Default::default)
    }

    fn failed(&self, reason: ErrorReason) -> Verdict<'static> {
        let verdict = ours(reason);
        self.metrics.start().finish(verdict.outcome.index(), None);
        verdict
    }
}

fn ours(reason: ErrorReason) -> Verdict<'static> {
    Verdict::without_policy(reason.into())
}

/// Writes the access log: denials and errors; allows only at debug level. Of the token, it contains only
/// values that were verified and that are part of the configuration; the request id comes from Envoy.
fn log<'r>(verdict: &Verdict<'_>, request_id: impl Fn() -> &'r str) {
    let reason = verdict.outcome.reason();
    let policy = verdict.policy.map(|p| p.name.as_str());
    let issuer = verdict.issuer.as_deref();
    let claim = verdict.claim.as_deref();
    match verdict.outcome {
        Outcome::Allow(_) => {
            tracing::debug!(reason, policy, issuer, request_id = request_id(), "allow")
        }
        Outcome::Deny(_) => {
            tracing::info!(
                reason,
                claim,
                policy,
                issuer,
                request_id = request_id(),
                "deny"
            )
        }
        Outcome::Error(_) => {
            tracing::warn!(reason, policy, issuer, request_id = request_id(), "error")
        }
    }
}
