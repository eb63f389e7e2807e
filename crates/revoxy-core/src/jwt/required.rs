//! Claims that an issuer's tokens must have, and their permitted values.

use serde_json::{Map, Value};

use super::claim_path::ClaimPath;
use super::refusal::Refusal;
use super::rejection::Rejection;

/// A required claim.
#[derive(Clone, Debug, PartialEq)]
pub struct RequiredClaim {
    /// The claim.
    pub claim: ClaimPath,
    /// The claim must be one of these, or a list that contains one of these. If empty, any value but null is
    /// accepted.
    pub values: Vec<Value>,
}

impl RequiredClaim {
    /// Requires a claim, with any value.
    pub fn present(claim: ClaimPath) -> Self {
        Self {
            claim,
            values: Vec::new(),
        }
    }

    pub(super) fn check(&self, claims: &Map<String, Value>) -> Result<(), Refusal> {
        let refuse = |reason: Rejection| reason.because_of(self.claim.0.clone());
        let found = self.claim.find(claims);
        let found = found.ok_or_else(|| refuse(Rejection::MissingClaim))?;
        let is_wanted = |found: &Value| self.values.iter().any(|wanted| same_value(wanted, found));
        let fits = match found {
            _ if self.values.is_empty() => true,
            Value::Array(many) => many.iter().any(is_wanted),
            one => is_wanted(one),
        };
        match fits {
            true => Ok(()),
            false => Err(refuse(Rejection::WrongClaim)),
        }
    }
}

/// Returns whether two values are equal, without converting types; equal numbers are equal however they are written.
pub fn same_value(wanted: &Value, found: &Value) -> bool {
    match (wanted, found) {
        // Two different whole numbers may be the same double.
        (Value::Number(a), Value::Number(b)) if a.is_f64() || b.is_f64() => {
            a.as_f64() == b.as_f64()
        }
        _ => wanted == found,
    }
}
