//! Where the token stands in a request.
//!
//! Anything that two readers could understand differently is refused, never resolved by a rule of ours: what we
//! checked must be what the application will read.

use super::decision::DenyReason;
use super::request::{AuthzRequest, RequestHeaders};
use super::{cookie, query};

/// A place in a request where a token may stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSource {
    /// Where.
    pub place: TokenPlace,
    /// Whether what stands there is taken away before the request goes on.
    pub strip: bool,
}

/// Where a token may stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenPlace {
    /// In a header, after a scheme if there is one (RFC 9110 §11.4).
    Header {
        /// In lower case.
        name: String,
        /// Compared without case (RFC 9110 §11.1).
        scheme: Option<String>,
    },
    /// In a cookie (RFC 6265).
    Cookie(String),
    /// In a parameter of the query (RFC 6750 §2.3).
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

/// The one token of a request, if there is one, wherever it stands. Two that differ are one too many.
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

/// Either of two, if they do not differ.
pub(super) fn same<'r>(
    one: Option<&'r str>,
    other: Option<&'r str>,
) -> Result<Option<&'r str>, DenyReason> {
    match (one, other) {
        (Some(one), Some(other)) if one != other => Err(DenyReason::AmbiguousToken),
        _ => Ok(one.or(other)),
    }
}

/// What must be taken away before the request goes on, so that its token goes no further.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stripped {
    /// Headers.
    pub headers: Vec<String>,
    /// Parameters of the query.
    pub query: Vec<String>,
    /// The `Cookie` header that remains; empty where none does.
    pub cookie: Option<String>,
}

impl Stripped {
    pub(super) fn from(sources: &[TokenSource], request: &AuthzRequest<'_>) -> Self {
        let mut stripped = Self::default();
        let mut cookies = Vec::new();
        for source in sources.iter().filter(|s| s.strip) {
            match &source.place {
                // Another scheme's credentials are none of ours.
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
        stripped.cookie = cookie::without(request.headers, &cookies);
        stripped
    }
}

/// Envoy joins repeated headers with a comma, and no token contains one (RFC 7515 §7.1).
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
    // What is not ASCII is neither a scheme nor a token; `from_utf8` suffices because a token is read strictly later.
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

/// Whether some reader finds `scheme` in the first word of a header, although it is not all of it: those that split at
/// Unicode's blanks (U+00A0, U+0085), or wherever a scheme cannot go on (RFC 9110 §5.6.2).
fn may_be_read_as(first: &str, scheme: &str) -> bool {
    let goes_on = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let name = first.split(|c| !goes_on(c)).next().unwrap_or_default();
    let strange = first.chars().any(|c| !c.is_ascii_graphic());
    strange || name.eq_ignore_ascii_case(scheme)
}

pub(super) fn malformed() -> DenyReason {
    DenyReason::Rejected(crate::jwt::Rejection::Malformed)
}
