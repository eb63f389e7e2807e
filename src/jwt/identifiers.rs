//! By what a token, its user, session and client are known: in which claims that stands, and how it may be written.

use serde_json::{Map, Number, Value};

use super::error::Rejection;
use super::issuer::ClaimPath;

/// Which claims of an issuer's tokens identify something.
#[derive(Clone, Debug)]
pub struct IdentifierRules {
    /// Whether `jti`, subject, session and client may be whole numbers; they count as their decimal text then. RFC 7519
    /// §4.1.2 and §4.1.7 want texts.
    pub numeric: bool,
    /// The subject: of these claims the first that is there.
    pub subject: Vec<ClaimPath>,
    /// The session: of these claims the first that is there.
    pub session: Vec<ClaimPath>,
    /// The OAuth client: of these claims the first that is there.
    pub client: Vec<ClaimPath>,
}

impl Default for IdentifierRules {
    /// As RFC 7519, OpenID Connect and RFC 9068 have it.
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

/// What identifies a token, and what it belongs to.
pub(super) struct Identifiers {
    pub token_id: Option<String>,
    pub subject: Option<String>,
    pub session: Option<String>,
    pub client: Option<String>,
}

/// The first whole number whose neighbours are not told apart any more by those who read numbers as doubles, JavaScript
/// first among them (RFC 7493 §2.2): they would write another key for such a token than is looked up here.
const FIRST_INEXACT: u64 = 1 << 53;

impl IdentifierRules {
    /// Reads the identifiers. `doubles` says that every number has gone through a double on its way.
    pub(super) fn read(
        &self,
        claims: &Map<String, Value>,
        doubles: bool,
    ) -> Result<Identifiers, Rejection> {
        let text = |value: &Value| match value {
            Value::String(text) => Ok(text.clone()),
            Value::Number(number) if self.numeric => {
                decimal(number, doubles).ok_or(Rejection::InvalidClaim)
            }
            _ => Err(Rejection::InvalidClaim),
        };
        let first = |paths: &[ClaimPath]| {
            let mut found = None;
            // All of them, so that none is of a wrong type.
            for path in paths {
                let value = path.value(claims).map(text).transpose()?;
                found = found.or(value);
            }
            Ok(found)
        };
        Ok(Identifiers {
            token_id: not_empty(claims.get("jti").map(text).transpose()?)?,
            subject: first(&self.subject)?,
            session: not_empty(first(&self.session)?)?,
            client: first(&self.client)?,
        })
    }
}

/// An empty one would be everybody's.
fn not_empty(text: Option<String>) -> Result<Option<String>, Rejection> {
    match text.as_deref() {
        Some("") => Err(Rejection::InvalidClaim),
        _ => Ok(text),
    }
}

/// The decimal text of a whole number that everybody reads alike.
fn decimal(number: &Number, doubles: bool) -> Option<String> {
    let magnitude = number
        .as_u64()
        .or_else(|| Some(number.as_i64()?.unsigned_abs()));
    if let Some(magnitude) = magnitude {
        return (magnitude < FIRST_INEXACT).then(|| number.to_string());
    }
    #[expect(
        clippy::cast_precision_loss,
        reason = "a power of two is a double of its own"
    )]
    let is_whole = |n: &f64| n.fract() == 0.0 && n.abs() < FIRST_INEXACT as f64;
    // A double is a whole number's only way through the proxy; elsewhere it was written as 1.0, or 1e0.
    let double = number.as_f64().filter(|_| doubles).filter(is_whole)?;
    // Zero may have a sign.
    Some(format!("{:.0}", double + 0.0))
}
