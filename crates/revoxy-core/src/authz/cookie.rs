//! Tokens in cookies (RFC 6265).

use super::ambiguity::{malformed, same};
use super::decision::DenyReason;
use super::lookalike::{SourceName, hidden_names};
use super::request::RequestHeaders;

/// Returns the value of the cookie `name`. A browser may send two cookies with the same name (for two paths),
/// and applications differ in which one they read, so the values must be equal.
pub(super) fn find<'r>(
    headers: &'r dyn RequestHeaders,
    name: &str,
) -> Result<Option<&'r str>, DenyReason> {
    let (name, mut found) = (SourceName::new(name), Ok(None));
    headers.visit("cookie", &mut |line| {
        for cookie in cookies(line) {
            let Ok(before) = found else { return };
            if cookie.holds_lookalike(&name) {
                found = Err(DenyReason::AmbiguousToken);
            } else if name.is(cookie.name) {
                found = cookie.value().and_then(|value| same(before, value));
            }
        }
    });
    found
}

/// Returns the `Cookie` header without the cookies that have one of these names, or a name that a framework
/// may read as one of them. `None` if nothing is removed.
pub(super) fn without(headers: &dyn RequestHeaders, names: &[&str]) -> Option<String> {
    let names: Vec<_> = names.iter().map(|n| SourceName::new(n)).collect();
    let (mut kept, mut taken) = (Vec::new(), false);
    headers.visit("cookie", &mut |line| {
        for cookie in cookies(line) {
            let named = |n: &SourceName<'_>| n.is(cookie.name) || cookie.holds_lookalike(n);
            if names.iter().any(named) {
                taken = true;
            } else if !cookie.whole.is_empty() {
                kept.push(String::from_utf8_lossy(cookie.whole));
            }
        }
    });
    taken.then(|| kept.join("; "))
}

/// One cookie of a `Cookie` header.
struct Cookie<'r> {
    whole: &'r [u8],
    name: &'r [u8],
    value: &'r [u8],
}

fn cookies(line: &[u8]) -> impl Iterator<Item = Cookie<'_>> {
    line.split(|b| *b == b';').map(|piece| {
        let whole = piece.trim_ascii();
        let at = whole.iter().position(|b| *b == b'=').unwrap_or(whole.len());
        let (name, value) = whole.split_at(at);
        Cookie {
            whole,
            name: name.trim_ascii(),
            value: value.get(1..).unwrap_or_default().trim_ascii(),
        }
    })
}

impl<'r> Cookie<'r> {
    /// An empty value counts as no value. Quotes around a value are not part of it (RFC 6265 §4.1.1).
    fn value(&self) -> Result<Option<&'r str>, DenyReason> {
        let unquoted = self
            .value
            .strip_prefix(b"\"")
            .and_then(|v| v.strip_suffix(b"\""))
            .unwrap_or(self.value);
        let value = str::from_utf8(unquoted).map_err(|_| malformed())?;
        Ok(Some(value).filter(|v| !v.is_empty()))
    }

    /// Returns whether a framework may find a cookie of this name in here, other than this cookie itself.
    fn holds_lookalike(&self, name: &SourceName<'_>) -> bool {
        name.resembles(self.name)
            || hidden_names(self.whole).any(|h| name.is(h) || name.resembles(h))
    }
}
