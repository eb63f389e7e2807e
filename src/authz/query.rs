//! Tokens in the query (RFC 6750 §2.3).

use super::decision::DenyReason;
use super::token::{malformed, same};

/// The value of the parameter `name` in the query of `path`.
///
/// No character of a token needs to be escaped, nor one of a sensible name: where one is, the application may find
/// a token that a proxy, which compares names as they stand, does not find and cannot take away.
pub(super) fn find<'r>(path: &'r str, name: &str) -> Result<Option<&'r str>, DenyReason> {
    let path = path.split('#').next().unwrap_or_default();
    let Some((_, query)) = path.split_once('?') else {
        return Ok(None);
    };
    let mut found = None;
    // Some readers take `;` for a separator too.
    for pair in query.split(['&', ';']) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if key != name {
            if unescaped(key) == name.as_bytes() {
                return Err(DenyReason::AmbiguousToken);
            }
            continue;
        }
        if value.contains(['%', '+']) {
            return Err(malformed());
        }
        found = same(found, Some(value).filter(|v| !v.is_empty()))?;
    }
    Ok(found)
}

fn unescaped(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let escape = text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        match escape.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(if bytes[at] == b'+' { b' ' } else { bytes[at] });
                at += 1;
            }
        }
    }
    out
}
