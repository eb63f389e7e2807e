//! The identifiers of a token, its user, session and client: which claims contain them, and in which form.

use serde_json::{Map, Number, Value};

use super::claim_path::ClaimPath;
use super::refusal::Refusal;
use super::rejection::Rejection;

/// The claims of an issuer's tokens that contain identifiers.
#[derive(Clone, Debug)]
pub struct IdentifierRules {
    /// Whether `jti`, subject, session and client may be whole numbers, which are converted to decimal text.
    /// RFC 7519 §4.1.2 and §4.1.7 require strings.
    pub numeric: bool,
    /// The claims for the subject; the first that is present counts.
    pub subject: Vec<ClaimPath>,
    /// The claims for the session; the first that is present counts.
    pub session: Vec<ClaimPath>,
    /// The claims for the OAuth client; the first that is present counts.
    pub client: Vec<ClaimPath>,
}

impl Default for IdentifierRules {
    /// The claims of RFC 7519, OpenID Connect and RFC 9068.
    fn default() -> Self {
        let claims = |names: &[&str]| names.iter().map(|n| ClaimPath((*n).to_owned())).collect();
        Self {
            numeric: false,
            subject: claims(&["sub"]),
            session: claims(&["sid"]),
            client: claims(&["azp", "client_id"]),
        }
    }
}

/// The identifiers of one token.
pub(super) struct Identifiers {
    pub token_id: Option<String>,
    pub subject: Option<String>,
    pub session: Option<String>,
    pub client: Option<String>,
}

/// The first whole number that readers with double precision, such as JavaScript, cannot distinguish from its
/// neighbours (RFC 7493 §2.2). For a token with such a number, they would write a different key than the key
/// that Revoxy looks up.
const FIRST_INEXACT: u64 = 1 << 53;

impl IdentifierRules {
    /// Reads the identifiers. `doubles` is whether the proxy has converted every number to a double.
    pub(super) fn read(
        &self,
        claims: &Map<String, Value>,
        doubles: bool,
    ) -> Result<Identifiers, Refusal> {
        let text = |name: &str, value: &Value| match value {
            Value::String(text) => Ok(text.clone()),
            Value::Number(number) if self.numeric => {
                decimal(number, doubles).ok_or_else(|| invalid(name))
            }
            _ => Err(invalid(name)),
        };
        let first = |paths: &[ClaimPath], may_be_empty: bool| -> Result<_, Refusal> {
            let mut found = None;
            // All claims are read, so that a wrong type is found in each of them.
            for path in paths {
                let value = path.value(claims).map(|value| text(&path.0, value));
                found = match (found, value.transpose()?) {
                    (None, Some(text)) => Some(usable(&path.0, text, may_be_empty)?),
                    (found, _) => found,
                };
            }
            Ok(found)
        };
        let jti = claims.get("jti").map(|value| text("jti", value));
        let jti = jti.transpose()?.map(|jti| usable("jti", jti, false));
        Ok(Identifiers {
            token_id: jti.transpose()?,
            subject: first(&self.subject, true)?,
            session: first(&self.session, false)?,
            client: first(&self.client, true)?,
        })
    }
}

/// Refuses an empty text, unless `may_be_empty`: all tokens with an empty identifier would share it.
fn usable(claim: &str, text: String, may_be_empty: bool) -> Result<String, Refusal> {
    match text.is_empty() && !may_be_empty {
        true => Err(invalid(claim)),
        false => Ok(text),
    }
}

fn invalid(claim: &str) -> Refusal {
    Rejection::InvalidClaim.because_of(claim.to_owned())
}

/// Returns the decimal text of a whole number, if all readers decode it to the same value.
fn decimal(number: &Number, doubles: bool) -> Option<String> {
    let magnitude = number
        .as_u64()
        .or_else(|| Some(number.as_i64()?.unsigned_abs()));
    if let Some(magnitude) = magnitude {
        return (magnitude < FIRST_INEXACT).then(|| number.to_string());
    }
    // The proxy passes every whole number as a double. In a token, a double was written as 1.0 or 1e0.
    number.as_f64().filter(|_| doubles).and_then(whole)
}

/// Returns the decimal text of a double, if it is a whole number and no other whole number rounds to it.
#[expect(
    clippy::cast_precision_loss,
    reason = "a power of two is a double of its own"
)]
pub(super) fn whole(double: f64) -> Option<String> {
    let is_whole = double.fract() == 0.0 && double.abs() < FIRST_INEXACT as f64;
    // Zero may be negative.
    is_whole.then(|| format!("{:.0}", double + 0.0))
}
