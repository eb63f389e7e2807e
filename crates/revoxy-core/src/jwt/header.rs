//! The JOSE header (RFC 7515 §4): what it may contain, and what it may not.

use std::fmt;

use serde_json::{Map, Value};

use super::algorithm::Algorithm;
use super::rejection::Rejection;

/// The header members that are used.
///
/// `jwk`, `jku`, `x5u` and `x5c` are not among them: a token must not supply its own key.
pub(super) struct Header<'t> {
    pub algorithm: Algorithm,
    pub kid: Option<&'t str>,
    /// In lower case, without the `application/` prefix (RFC 7515 §4.1.9).
    pub typ: Option<String>,
}

/// The maximum length of a `kid`. A longer value is not a key identifier, but an attack on the component that
/// stores it.
const MAX_KID_BYTES: usize = 512;

impl<'t> Header<'t> {
    pub fn read(header: &'t Map<String, Value>) -> Result<Self, Rejection> {
        // We support no extensions, so every critical one is unknown (RFC 7515 §4.1.11). `b64` (RFC 7797)
        // changes what is signed; `enc` and `zip` belong to encrypted tokens.
        if ["crit", "b64", "enc", "zip"]
            .iter()
            .any(|m| header.contains_key(*m))
        {
            return Err(Rejection::Unsupported);
        }
        Ok(Self {
            algorithm: algorithm(header)?,
            kid: match text(header, "kid")? {
                Some(kid) if kid.len() > MAX_KID_BYTES => return Err(Rejection::Malformed),
                kid => kid,
            },
            typ: text(header, "typ")?.map(normalise_type),
        })
    }
}

impl fmt::Display for Header<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "alg {}", self.algorithm.as_str())?;
        // The values come from the token, so they are quoted and escaped.
        if let Some(kid) = self.kid {
            write!(f, ", kid {kid:?}")?;
        }
        if let Some(typ) = &self.typ {
            write!(f, ", typ {typ:?}")?;
        }
        Ok(())
    }
}

fn algorithm(header: &Map<String, Value>) -> Result<Algorithm, Rejection> {
    let name = text(header, "alg")?.ok_or(Rejection::Malformed)?;
    if name.eq_ignore_ascii_case("none") {
        return Err(Rejection::Unsupported);
    }
    Algorithm::from_name(name).ok_or(Rejection::AlgorithmNotAllowed)
}

fn text<'t>(header: &'t Map<String, Value>, member: &str) -> Result<Option<&'t str>, Rejection> {
    match header.get(member) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Rejection::Malformed),
    }
}

fn normalise_type(typ: &str) -> String {
    let typ = typ.to_ascii_lowercase();
    match typ.strip_prefix("application/") {
        Some(rest) => rest.to_owned(),
        None => typ,
    }
}
