//! Tokens in the query (RFC 6750 §2.3).

use super::ambiguity::{malformed, same};
use super::decision::DenyReason;
use super::lookalike::SourceName;

/// Returns the value of the parameter `name` in the query of `path`.
///
/// Neither a token nor a sensible name contains a character that has to be escaped. Escaped names and values
/// are refused: the application may find a token that the proxy neither finds nor removes, because the proxy
/// compares names without decoding them.
pub(super) fn find<'r>(path: &'r str, name: &str) -> Result<Option<&'r str>, DenyReason> {
    let (name, mut found) = (SourceName::new(name), None);
    for pair in pairs(path) {
        if name.resembles(pair.name.as_bytes()) {
            return Err(DenyReason::AmbiguousToken);
        }
        if !name.is(pair.name.as_bytes()) {
            continue;
        }
        if pair.goes_on {
            return Err(DenyReason::AmbiguousToken);
        }
        if pair.value.contains(['%', '+']) {
            return Err(malformed());
        }
        found = same(found, Some(pair.value).filter(|v| !v.is_empty()))?;
    }
    Ok(found)
}

/// Returns the names in the query of `path`, other than `name`, that a framework may read as `name`.
pub(super) fn lookalikes<'r>(path: &'r str, name: &'r str) -> impl Iterator<Item = &'r str> {
    let name = SourceName::new(name);
    pairs(path)
        .map(|pair| pair.name)
        .filter(move |other| name.resembles(other.as_bytes()))
}

struct Pair<'r> {
    name: &'r str,
    value: &'r str,
    /// Whether a `;` follows, which ends the value for some readers only.
    goes_on: bool,
}

fn pairs(path: &str) -> impl Iterator<Item = Pair<'_>> {
    let path = path.split('#').next().unwrap_or_default();
    let query = path.split_once('?').map(|(_, query)| query);
    query.into_iter().flat_map(|q| q.split('&')).flat_map(|p| {
        let last = p.bytes().filter(|b| *b == b';').count();
        p.split(';').enumerate().map(move |(index, piece)| {
            let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
            Pair {
                name,
                value,
                goes_on: index < last,
            }
        })
    })
}
