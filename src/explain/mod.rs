//! Explains every step of the verdict on a token. Offline, unless the store is [queried](Explanation::ask).
//!
//! The output identifies the token (the keys under which it could be revoked), but contains no part of the
//! token that could be used: neither the signature nor the whole token.

mod revocation;

use std::fmt;
use std::sync::Arc;

use crate::authz::{
    Authorizer, AuthzRequest, DEFAULT_POLICY, Demands, DenyReason, ErrorReason, Outcome, Policies,
    RequestHeaders, Step, Unmet,
};
use crate::clock::{ManualClock, Timestamp};
use crate::jwt::{CachingVerifier, Steps, VerifiedClaims, Verifier, VerifyError};
use crate::revocation::{Findings, KeyRules, RevocationStore, TokenKeys};

/// What a verdict depends on, apart from the token.
#[derive(Debug)]
pub struct Terms<'c> {
    /// The policies.
    pub policies: Policies,
    /// The policy to judge under; `None` means `default`.
    pub policy: Option<&'c str>,
    /// Which keys are looked up.
    pub keys: KeyRules,
}

/// The explanation of a verdict on a token.
#[derive(Debug)]
pub struct Explanation {
    rows: Vec<Row>,
    outcome: Outcome,
    /// What the store has to decide, if the token verifies.
    question: Option<Question>,
    /// Whether the store was queried.
    asked: bool,
}

/// A line of the explanation.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    step: &'static str,
    mark: Mark,
    what: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Ok,
    No,
    NotAsked,
}

/// The keys that can revoke a verified token.
#[derive(Debug)]
struct Question {
    keys: TokenKeys,
    issued_at: Option<Timestamp>,
    /// Whether tokens of this type are looked up.
    looked_up: bool,
}

impl Explanation {
    /// Explains the verdict on `token` at `now`, as far as it does not depend on the store.
    pub fn of(token: &str, verifier: Verifier, terms: Terms<'_>, now: Timestamp) -> Self {
        let (verified, steps) = verifier.explain(token, now);
        let mut rows = verification(&verifier, token, &verified, &steps, now);
        let question = verified.ok().map(|claims| {
            rows.extend(policy(&terms, &claims, now));
            Question::of(&claims, token, &terms)
        });
        let outcome = outcome_of(format!("Bearer {token}"), verifier, &terms, now);
        let unidentified = question.as_ref().is_some_and(Question::is_unidentified);
        let outcome = match outcome {
            Outcome::Allow(_) if unidentified => DenyReason::Unidentified.into(),
            outcome => outcome,
        };
        Self {
            rows,
            outcome,
            question,
            asked: false,
        }
    }

    /// Explains the verdict on a request whose `Authorization` header has no token.
    pub fn without_token(
        header: String,
        verifier: Verifier,
        terms: &Terms<'_>,
        now: Timestamp,
    ) -> Self {
        let why = "the Authorization header has no `Bearer` before a token";
        Self {
            rows: vec![Row::new("form", Mark::No, why)],
            outcome: outcome_of(header, verifier, terms, now),
            question: None,
            asked: false,
        }
    }

    /// Queries the store about the token. The caller sets the deadline.
    pub async fn ask(&mut self, store: &dyn RevocationStore) {
        let Some(question) = &self.question else {
            return;
        };
        match Findings::of(store, &question.keys).await {
            Ok(found) => {
                if self.allows() && question.looked_up && found.revoked_by.is_some() {
                    self.outcome = DenyReason::Revoked.into();
                }
                self.rows.extend(revocation::found(&found, question));
                self.asked = true;
            }
            Err(error) => self.unanswered(&error.to_string()),
        }
    }

    /// Records that the store did not answer, and why. The policy's `on_unavailable` is not applied here: in
    /// the service, a check may be answered from the view.
    pub fn unanswered(&mut self, why: &str) {
        self.rows.push(Row::new("revocation", Mark::No, why));
        if self.allows() && self.question.as_ref().is_some_and(|q| q.looked_up) {
            self.outcome = ErrorReason::RevocationUnavailable.into();
        }
    }

    /// Returns the verdict. If the store was not queried, this is the verdict if the token is not revoked.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    fn allows(&self) -> bool {
        matches!(self.outcome, Outcome::Allow(_))
    }
}

impl Row {
    fn new(step: &'static str, mark: Mark, what: impl Into<String>) -> Self {
        let what = what.into();
        Self { step, mark, what }
    }
}

impl Question {
    fn of(claims: &VerifiedClaims, token: &str, terms: &Terms<'_>) -> Self {
        Self {
            keys: terms.keys.keys_of(claims, Some(token)),
            issued_at: claims.issued_at(),
            looked_up: terms.keys.looks_up(claims),
        }
    }

    fn is_unidentified(&self) -> bool {
        self.looked_up && !self.keys.is_identified()
    }

    /// Returns whether the token has to be on an allow-list.
    fn is_listed(&self) -> bool {
        let mut foreign = self.keys.foreign().iter();
        self.keys.registration().is_some() || foreign.any(|k| k.is_required())
    }
}

/// Lists the steps of verification. If the token is refused, the last step compares it with the
/// configuration.
fn verification(
    verifier: &Verifier,
    token: &str,
    verified: &Result<VerifiedClaims, VerifyError>,
    steps: &Steps,
    now: Timestamp,
) -> Vec<Row> {
    let passed = steps.passed();
    let mut rows: Vec<_> = passed
        .map(|(stage, what)| Row::new(stage.as_str(), Mark::Ok, what))
        .collect();
    if let Err(error) = verified {
        let stage = steps.failed().map_or("", |stage| stage.as_str());
        // Nothing is being fetched here: the outcome is the same as without a fetch.
        let error = match error {
            VerifyError::KeysPending(pending) => pending.otherwise(),
            error => error.clone(),
        };
        let compared = verifier.compare(token, &error, now);
        let compared = compared.map_or(String::new(), |compared| format!(": {compared}"));
        rows.push(Row::new(stage, Mark::No, format!("{error}{compared}")));
    }
    rows
}

/// Explains what the policy says about a token with these claims.
fn policy(terms: &Terms<'_>, claims: &VerifiedClaims, now: Timestamp) -> Vec<Row> {
    let name = terms.policy.unwrap_or(DEFAULT_POLICY);
    let Some(policy) = terms.policies.named(name) else {
        let names = terms.policies.names().join(", ");
        let what = format!("there is no policy {name:?}; configured: {names}");
        return vec![Row::new("policy", Mark::No, what)];
    };
    let token_type = claims.token_type();
    let (is, wants) = (token_type.as_str(), policy.token_type.as_str());
    let what = format!("{name:?} wants tokens of type {wants}; this one is of type {is}");
    let mark = match policy.token_type.accepts(token_type) {
        true => Mark::Ok,
        false => Mark::No,
    };
    let mut rows = vec![Row::new("policy", mark, what)];
    if policy.demands != Demands::default() {
        let (mark, what) = match policy.demands.unmet(claims, now) {
            None => (Mark::Ok, format!("the claims are as {name:?} demands")),
            Some(Unmet { reason, claim }) => {
                let claim = claim.map_or(String::new(), |claim| format!(": {claim}"));
                (Mark::No, format!("{}{claim}", reason.description()))
            }
        };
        rows.push(Row::new("demands", mark, what));
    }
    rows
}

/// Computes the verdict itself, with the same code as checks.
fn outcome_of(
    authorization: String,
    verifier: Verifier,
    terms: &Terms<'_>,
    now: Timestamp,
) -> Outcome {
    let authorizer = Authorizer::new(
        terms.policies.clone(),
        CachingVerifier::new(Arc::new(verifier), 0, |claims, _| TokenKeys::of(claims)),
        None,
        Arc::new(ManualClock::at(now)),
    );
    let headers = Authorization(authorization);
    let request = AuthzRequest {
        policy: Some(terms.policy.unwrap_or(DEFAULT_POLICY)),
        method: "GET",
        host: "",
        path: "/",
        headers: &headers,
        proxy: None,
    };
    match authorizer.decide(&request, now) {
        Step::Done(verdict) => verdict.outcome,
        Step::AwaitKeys { otherwise, .. } => otherwise.outcome,
        Step::AskStore { unless_revoked, .. } => unless_revoked.outcome,
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let asked = self.asked;
        let open = self.question.iter().filter(|_| !asked);
        let open: Vec<_> = open.flat_map(revocation::not_asked).collect();
        for row in self.rows.iter().chain(&open) {
            writeln!(f, "{:<11}{:<4}{}", row.step, row.mark.as_str(), row.what)?;
        }
        // If the token is allowed so far, the rest of the verdict depends on the store.
        let undecided = self.question.iter().find(|q| q.looked_up && !asked);
        let unless = match undecided.filter(|_| self.allows()) {
            Some(question) if question.is_listed() => {
                ", if it is on the allow-list and not revoked"
            }
            Some(_) => ", unless revoked",
            None => "",
        };
        let (decision, reason) = (self.outcome.decision(), self.outcome.reason());
        write!(f, "{:<15}{decision}: {reason}{unless}", "verdict")
    }
}

impl Mark {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::No => "no",
            Self::NotAsked => "--",
        }
    }
}

struct Authorization(String);

impl RequestHeaders for Authorization {
    fn visit<'h>(&'h self, name: &str, visit: &mut dyn FnMut(&'h [u8])) {
        if name == "authorization" {
            visit(self.0.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests;
