//! The section `token_sources`.

use crate::authz::{TokenPlace, TokenSource};

use super::document::Document;
use super::problem::Problems;
use super::raw::RawTokenSource;

pub(super) fn read(
    raw: Option<Vec<Option<RawTokenSource>>>,
    document: &Document,
    problems: &mut Problems,
) -> Vec<TokenSource> {
    let Some(raw) = raw else {
        return vec![TokenSource::bearer()];
    };
    if raw.is_empty() {
        let message = "empty: leave the key out for `Authorization: Bearer`";
        problems.push(document.problem("token_sources", message));
    }
    let mut sources: Vec<TokenSource> = Vec::new();
    for (index, raw) in raw.into_iter().enumerate() {
        let raw = raw.unwrap_or_default();
        let strip = raw.strip;
        let path = format!("token_sources.{index}");
        match place(raw) {
            Ok(place) if sources.iter().any(|s| collide(&s.place, &place)) => {
                problems.push(document.problem(&path, "this place is named already"));
            }
            Ok(place) => sources.push(TokenSource { place, strip }),
            Err(message) => problems.push(document.problem(&path, message)),
        }
    }
    sources
}

fn place(raw: RawTokenSource) -> Result<TokenPlace, &'static str> {
    let token = |text: &str| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        !text.is_empty() && text.bytes().all(plain)
    };
    match (raw.header, raw.cookie, raw.query) {
        (Some(header), None, None) if !token(&header) => Err("`header` is not the name of one"),
        (Some(_), None, None) if raw.scheme.as_deref().is_some_and(|s| !token(s)) => {
            Err("`scheme` must be one word, such as `Bearer`")
        }
        (Some(header), None, None) => {
            let name = header.to_ascii_lowercase();
            let bearer = (name == "authorization").then(|| "Bearer".to_owned());
            let scheme = raw.scheme.or(bearer);
            Ok(TokenPlace::Header { name, scheme })
        }
        _ if raw.scheme.is_some() => Err("`scheme` goes with `header`"),
        (None, Some(cookie), None) if token(&cookie) => Ok(TokenPlace::Cookie(cookie)),
        (None, None, Some(query)) if token(&query) && !query.contains(['%', '+', '&', '#']) => {
            Ok(TokenPlace::Query(query))
        }
        (None, Some(_), None) | (None, None, Some(_)) => Err("not a name that needs no escapes"),
        _ => Err("needs exactly one of `header`, `cookie`, `query`"),
    }
}

/// Returns whether two places conflict: a header that is read twice, with two schemes, could be two tokens to
/// Revoxy and one to the application.
fn collide(one: &TokenPlace, other: &TokenPlace) -> bool {
    match (one, other) {
        (TokenPlace::Header { name: a, .. }, TokenPlace::Header { name: b, .. }) => a == b,
        _ => one == other,
    }
}
