//! Tokens in cookies (RFC 6265).

use super::decision::DenyReason;
use super::request::RequestHeaders;
use super::token::{malformed, same};

/// The value of the cookie `name`. A browser may send two of one name (for two paths), and readers differ in which
/// they take: they must be the same.
pub(super) fn find<'r>(
    headers: &'r dyn RequestHeaders,
    name: &str,
) -> Result<Option<&'r str>, DenyReason> {
    let mut found = Ok(None);
    headers.visit("cookie", &mut |line| {
        for (cookie, value) in pairs(line) {
            if cookie == name.as_bytes()
                && let Ok(before) = found
            {
                found = value.and_then(|value| same(before, value));
            }
        }
    });
    found
}

/// The `Cookie` header without the cookies called so; `None` where nothing is taken away.
pub(super) fn without(headers: &dyn RequestHeaders, names: &[&str]) -> Option<String> {
    let (mut kept, mut taken) = (Vec::new(), false);
    headers.visit("cookie", &mut |line| {
        for piece in line.split(|b| *b == b';') {
            let piece = piece.trim_ascii();
            let name = piece.split(|b| *b == b'=').next().unwrap_or_default();
            if names.iter().any(|n| n.as_bytes() == name.trim_ascii()) {
                taken = true;
            } else if !piece.is_empty() {
                kept.push(String::from_utf8_lossy(piece));
            }
        }
    });
    taken.then(|| kept.join("; "))
}

type Pair<'r> = (&'r [u8], Result<Option<&'r str>, DenyReason>);

/// Names and values; an empty value is none. Quotes around a value belong to neither (RFC 6265 §4.1.1).
fn pairs(line: &[u8]) -> impl Iterator<Item = Pair<'_>> {
    line.split(|b| *b == b';').map(|piece| {
        let piece = piece.trim_ascii();
        let at = piece.iter().position(|b| *b == b'=').unwrap_or(piece.len());
        let (name, value) = piece.split_at(at);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        let unquoted = value
            .strip_prefix(b"\"")
            .and_then(|v| v.strip_suffix(b"\""))
            .unwrap_or(value);
        let value = str::from_utf8(unquoted)
            .map(|v| Some(v).filter(|v| !v.is_empty()))
            .map_err(|_| malformed());
        (name.trim_ascii(), value)
    })
}
