//! Finds the token in a request.
//!
//! A request that two readers could interpret differently is refused, never resolved by a precedence rule:
//! the token that Revoxy checks must be the token that the application reads.

use super::ambiguity::{malformed, same};
use super::decision::DenyReason;
use super::request::{AuthzRequest, RequestHeaders};
use super::{cookie, query};

/// A place in a request that may contain a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSource {
    /// The place.
    pub place: TokenPlace,
    /// Whether to remove the token before the request is forwarded.
    pub strip: bool,
}

/// The kind of place that may contain a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenPlace {
    /// A header, after a scheme if there is one (RFC 9110 §11.4).
    Header {
        /// The name, in lower case.
        name: String,
        /// The scheme, compared without case (RFC 9110 §11.1).
        scheme: Option<String>,
    },
    /// A cookie (RFC 6265).
    Cookie(String),
    /// A parameter of the query (RFC 6750 §2.3).
    Query(String),
}

impl TokenSource {
    /// The `Authorization` header with the scheme `Bearer` (RFC 6750 §2.1).
    pub fn bearer() -> Self {
        Self {
            place: TokenPlace::Header {
                name: "authorization".to_owned(),
                scheme: Some("Bearer".to_owned()),
            },
            strip: false,
        }
    }

    fn find<'r>(&self, request: &AuthzRequest<'r>) -> Result<Option<&'r str>, DenyReason> {
        match &self.place {
            TokenPlace::Header { name, scheme } => header(request.headers, name, scheme.as_deref()),
            TokenPlace::Cookie(name) => cookie::find(request.headers, name),
            TokenPlace::Query(name) => query::find(request.path, name),
        }
    }
}

/// Returns the token of a request, if there is one in any of the places. Two different tokens are ambiguous.
pub(super) fn extract<'r>(
    sources: &[TokenSource],
    request: &AuthzRequest<'r>,
) -> Result<Option<&'r str>, DenyReason> {
    let mut token = None;
    for source in sources {
        token = same(token, source.find(request)?)?;
    }
    Ok(token)
}

/// What to remove before the request is forwarded, so that the token is not passed on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stripped {
    /// The headers to remove.
    pub headers: Vec<String>,
    /// The parameters to remove from the query.
    pub query: Vec<String>,
    /// The `Cookie` header that remains; empty if no cookie remains.
    pub cookie: Option<String>,
}

impl Stripped {
    pub(super) fn from(sources: &[TokenSource], request: &AuthzRequest<'_>) -> Self {
        let mut stripped = Self::default();
        let mut cookies = Vec::new();
        for source in sources.iter().filter(|s| s.strip) {
            match &source.place {
                // Credentials of another scheme are not removed.
                TokenPlace::Header { name, scheme } => {
                    let ours = header(request.headers, name, scheme.as_deref());
                    if !matches!(ours, Ok(None)) {
                        stripped.headers.push(name.clone());
                    }
                }
                TokenPlace::Cookie(name) => cookies.push(name.as_str()),
                TokenPlace::Query(name) => {
                    stripped.query.push(name.clone());
                    let others = query::lookalikes(request.path, name);
                    stripped.query.extend(others.map(str::to_owned));
                }
            }
        }
        if !cookies.is_empty() {
            stripped.cookie = cookie::without(request.headers, &cookies);
        }
        stripped
    }
}

/// Returns the token in a header. Envoy joins repeated headers with a comma, and no token contains one (RFC
/// 7515 §7.1).
fn header<'r>(
    headers: &'r dyn RequestHeaders,
    name: &str,
    scheme: Option<&str>,
) -> Result<Option<&'r str>, DenyReason> {
    let (mut value, mut count) = (None, 0);
    headers.visit(name, &mut |v| {
        count += 1;
        value = Some(v);
    });
    let Some(value) = value else { return Ok(None) };
    if count > 1 || value.contains(&b',') {
        return Err(DenyReason::AmbiguousToken);
    }
    // A value that is not ASCII is neither a scheme nor a token; `from_utf8` suffices because the token
    // itself is parsed strictly later.
    let value = str::from_utf8(value).map_err(|_| malformed())?;
    let mut words = value.split([' ', '\t']).filter(|w| !w.is_empty());
    if let Some(scheme) = scheme {
        match words.next() {
            Some(first) if first.eq_ignore_ascii_case(scheme) => {}
            Some(first) if may_be_read_as(first, scheme) => return Err(malformed()),
            _ => return Ok(None),
        }
    }
    match (words.next(), words.next(), scheme) {
        (Some(token), None, _) => Ok(Some(token)),
        (None, None, None) => Ok(None),
        _ => Err(malformed()),
    }
}

/// Returns whether some reader finds `scheme` in the first word of a header although it is not the whole
/// word: readers that split at Unicode white space (U+00A0, U+0085), or at any character that cannot be part
/// of a scheme (RFC 9110 §5.6.2).
fn may_be_read_as(first: &str, scheme: &str) -> bool {
    let goes_on = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let name = first.split(|c| !goes_on(c)).next().unwrap_or_default();
    let strange = first.chars().any(|c| !c.is_ascii_graphic());
    strange || name.eq_ignore_ascii_case(scheme)
}
