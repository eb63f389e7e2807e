//! Claims that an issuer's tokens must have, and what they must say.

use serde_json::{Map, Value};

use super::error::Rejection;
use super::issuer::ClaimPath;

/// A claim that must be there.
#[derive(Clone, Debug, PartialEq)]
pub struct RequiredClaim {
    /// The claim.
    pub claim: ClaimPath,
    /// It must be one of these, or a list that has one of these; anything but null, where there are none.
    pub values: Vec<Value>,
}

impl RequiredClaim {
    /// A claim that must be there and may say anything.
    pub fn present(claim: ClaimPath) -> Self {
        Self {
            claim,
            values: Vec::new(),
        }
    }

    pub(super) fn check(&self, claims: &Map<String, Value>) -> Result<(), Rejection> {
        let found = self.claim.find(claims).ok_or(Rejection::MissingClaim)?;
        let is_wanted = |found: &Value| self.values.iter().any(|wanted| same(wanted, found));
        let fits = match found {
            _ if self.values.is_empty() => true,
            Value::Array(many) => many.iter().any(is_wanted),
            one => is_wanted(one),
        };
        match fits {
            true => Ok(()),
            false => Err(Rejection::WrongClaim),
        }
    }
}

/// Equality without conversion between types; numbers are the same however they are written.
fn same(wanted: &Value, found: &Value) -> bool {
    match (wanted, found) {
        // Of whole numbers two may be one double.
        (Value::Number(a), Value::Number(b)) if a.is_f64() || b.is_f64() => {
            a.as_f64() == b.as_f64()
        }
        _ => wanted == found,
    }
}
