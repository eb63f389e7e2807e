//! What a policy demands of the claims of a verified token.

use std::time::Duration;

use serde_json::Value;

use crate::clock::Timestamp;
use crate::jwt::{ClaimName, ClaimPath, VerifiedClaims, same_value};

use super::decision::DenyReason;

/// The claims with scopes: `scope` (RFC 8693 §4.2) and, as some issuers call it, `scp`. Each is a text with spaces
/// between the scopes, or a list.
const SCOPE_CLAIMS: [&str; 2] = ["scope", "scp"];
const AUDIENCE: &str = "aud";
const FRESH: &str = "fresh";
const ACR: &str = "acr";
const AUTH_TIME: &str = "auth_time";

/// What a policy demands of the claims of a verified token. The default demands nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demands {
    /// The configured names of the issuers; empty accepts any.
    pub issuers: Vec<String>,
    /// One of these must be in `aud`; empty accepts any.
    pub audiences: Vec<String>,
    /// All of these scopes must have been granted.
    pub scopes: Vec<String>,
    /// One of these scopes must have been granted; empty accepts any.
    pub any_scope: Vec<String>,
    /// Conditions on other claims, all of which must be met.
    pub claims: Vec<ClaimDemand>,
    /// Whether the token must be fresh, in the sense of flask-jwt-extended: obtained by a login, not by a refresh.
    pub fresh: bool,
    /// `acr` must be one of these (OpenID Connect Core §2); empty accepts any.
    pub acr: Vec<String>,
    /// How long ago the user may have authenticated: the claim `auth_time` (OpenID Connect Core §2).
    pub max_age: Option<Duration>,
}

/// A condition on a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimDemand {
    /// The claim.
    pub claim: ClaimPath,
    /// What its value must be.
    pub condition: Condition,
}

/// What the value of a claim must be. Values are compared without converting types. A claim that is missing or null
/// meets no condition.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Anything but null.
    Exists,
    /// This value.
    Equals(Value),
    /// One of these values.
    AnyOf(Vec<Value>),
    /// A list that contains this value.
    Contains(Value),
}

/// A demand that a token does not meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmet {
    /// Why the request is refused.
    pub reason: DenyReason,
    /// The claim that is missing or wrong, if it is not clear from the reason.
    pub claim: Option<ClaimName>,
}

impl Demands {
    /// Returns the claims that have to be kept of a verified token, so that the demands can be judged.
    pub fn claims(&self) -> Vec<ClaimPath> {
        let asks_scopes = !(self.scopes.is_empty() && self.any_scope.is_empty());
        let named = [
            (!self.audiences.is_empty(), AUDIENCE),
            (asks_scopes, SCOPE_CLAIMS[0]),
            (asks_scopes, SCOPE_CLAIMS[1]),
            (self.fresh, FRESH),
            (!self.acr.is_empty(), ACR),
            (self.max_age.is_some(), AUTH_TIME),
        ];
        let named = named.into_iter().filter(|(is_needed, _)| *is_needed);
        let others = self.claims.iter().map(|demand| demand.claim.clone());
        named
            .map(|(_, name)| ClaimPath(name.to_owned()))
            .chain(others)
            .collect()
    }

    /// Returns the first demand that the token does not meet at `now`.
    pub fn unmet(&self, claims: &VerifiedClaims, now: Timestamp) -> Option<Unmet> {
        let checks = [
            (self.issuer(claims), DenyReason::IssuerNotAccepted),
            (self.audience(claims), DenyReason::AudienceNotAccepted),
            (self.scope(claims), DenyReason::InsufficientScope),
        ];
        let unmet = |reason, claim| Unmet { reason, claim };
        if let Some((_, reason)) = checks.into_iter().find(|(is_met, _)| !is_met) {
            return Some(unmet(reason, None));
        }
        if let Some(demand) = self.claims.iter().find(|demand| !demand.is_met(claims)) {
            let claim = ClaimName::from(demand.claim.0.clone());
            return Some(unmet(DenyReason::InsufficientClaims, Some(claim)));
        }
        let checks = [
            (self.freshness(claims, now), DenyReason::NotFresh),
            (self.acr(claims), DenyReason::InsufficientAcr),
            (self.age(claims, now), DenyReason::AuthenticationTooOld),
        ];
        let failed = checks.into_iter().find(|(is_met, _)| !is_met);
        failed.map(|(_, reason)| unmet(reason, None))
    }

    /// Returns whether whoever meets these demands meets the `others`, too, as far as is easily told: they are the same,
    /// or the others are none.
    pub fn imply(&self, others: &Self) -> bool {
        self == others || *others == Self::default()
    }

    /// Returns the scopes that suffice, for the challenge to a token that lacks some.
    pub fn sufficient_scopes(&self) -> impl Iterator<Item = &str> {
        let one = self.any_scope.first().into_iter();
        self.scopes.iter().chain(one).map(String::as_str)
    }

    fn issuer(&self, claims: &VerifiedClaims) -> bool {
        let name: &str = claims.issuer();
        self.issuers.is_empty() || self.issuers.iter().any(|accepted| accepted == name)
    }

    fn audience(&self, claims: &VerifiedClaims) -> bool {
        let is_accepted = |audience: &str| self.audiences.iter().any(|a| a == audience);
        self.audiences.is_empty()
            || match claims.value(AUDIENCE) {
                Some(Value::String(one)) => is_accepted(one),
                Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).any(is_accepted),
                _ => false,
            }
    }

    fn scope(&self, claims: &VerifiedClaims) -> bool {
        let has = |scope: &String| {
            SCOPE_CLAIMS
                .iter()
                .any(|name| grants(claims.value(name), scope))
        };
        self.scopes.iter().all(has) && (self.any_scope.is_empty() || self.any_scope.iter().any(has))
    }

    /// flask-jwt-extended writes a boolean, or the time until which the token is fresh.
    fn freshness(&self, claims: &VerifiedClaims, now: Timestamp) -> bool {
        !self.fresh
            || match claims.value(FRESH) {
                Some(Value::Bool(fresh)) => *fresh,
                _ => claims.date(FRESH).is_some_and(|until| now <= until),
            }
    }

    fn acr(&self, claims: &VerifiedClaims) -> bool {
        let acr = claims.value(ACR).and_then(Value::as_str);
        self.acr.is_empty()
            || acr.is_some_and(|acr| self.acr.iter().any(|accepted| accepted == acr))
    }

    fn age(&self, claims: &VerifiedClaims, now: Timestamp) -> bool {
        let Some(max_age) = self.max_age else {
            return true;
        };
        claims
            .date(AUTH_TIME)
            .is_some_and(|at| now <= at.plus(max_age))
    }
}

impl ClaimDemand {
    fn is_met(&self, claims: &VerifiedClaims) -> bool {
        let Some(found) = claims.value(&self.claim.0) else {
            return false;
        };
        match &self.condition {
            Condition::Exists => true,
            Condition::Equals(wanted) => same_value(wanted, found),
            Condition::AnyOf(wanted) => wanted.iter().any(|wanted| same_value(wanted, found)),
            Condition::Contains(wanted) => found
                .as_array()
                .is_some_and(|list| list.iter().any(|found| same_value(wanted, found))),
        }
    }
}

/// Returns whether the value of a claim with scopes contains this one.
fn grants(claim: Option<&Value>, scope: &str) -> bool {
    match claim {
        Some(Value::String(text)) => text.split(' ').any(|granted| granted == scope),
        Some(Value::Array(list)) => list.iter().any(|granted| granted == scope),
        _ => false,
    }
}
