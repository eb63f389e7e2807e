//! The section `upstream`: what the application gets to know about the token.

use std::collections::BTreeMap;

use crate::authz::{ClaimHeader, MAX_SEPARATORS};
use crate::jwt::ClaimPath;

use super::document::Document;
use super::problem::Problems;
use super::raw::{RawClaimHeader, RawUpstream};

/// Headers that mean something to the connection or to a proxy.
const RESERVED: [&str; 12] = [
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-request-id",
];

pub(super) fn read(
    raw: RawUpstream,
    document: &Document,
    problems: &mut Problems,
) -> Vec<ClaimHeader> {
    let mut headers: Vec<ClaimHeader> = Vec::new();
    let entries: BTreeMap<String, RawClaimHeader> = raw.headers;
    for (name, raw) in entries {
        let path = format!("upstream.headers.{name}");
        match header(name, raw) {
            Ok(header) if headers.iter().any(|other| other.is_twin_of(&header)) => {
                let message = "some frameworks take this name for another one in this list";
                problems.push(document.problem(&path, message));
            }
            Ok(header) => headers.push(header),
            Err(message) => problems.push(document.problem(&path, message)),
        }
    }
    headers
}

fn header(name: String, raw: RawClaimHeader) -> Result<ClaimHeader, String> {
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
    if name.is_empty() || !name.bytes().all(is_plain) {
        return Err("the name of a header has small letters, digits, `-` and `_`".to_owned());
    }
    if RESERVED.contains(&name.as_str()) || name.starts_with("x-envoy-") {
        return Err("this header is for proxies; choose another, such as `x-user`".to_owned());
    }
    if raw.claim.is_empty() {
        return Err("needs a `claim`".to_owned());
    }
    ClaimHeader::new(name, ClaimPath(raw.claim), raw.format).ok_or_else(|| {
        format!("more than {MAX_SEPARATORS} `-` and `_`: every spelling has to be removed from each request")
    })
}
