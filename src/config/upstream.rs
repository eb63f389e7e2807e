//! The section `upstream`: what the application gets to know about the token.

use std::collections::BTreeMap;

use crate::authz::{ClaimHeader, MAX_SEPARATORS};
use crate::jwt::ClaimPath;

use super::document::Document;
use super::problem::Problems;
use super::raw::{RawClaimHeader, RawUpstream};

/// Headers that mean something to the connection or to a proxy.
const RESERVED: [&str; 15] = [
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-request-id",
];

const RESERVED_PREFIXES: [&str; 2] = ["x-envoy-", "x-forwarded-"];

/// What the application, and later filters of the proxy, get to know about the token.
#[derive(Clone, Debug, Default)]
pub struct UpstreamConfig {
    /// The headers in which claims are forwarded.
    pub headers: Vec<ClaimHeader>,
    /// Names of dynamic metadata, and the claims that they hold.
    pub metadata: Vec<(String, ClaimPath)>,
}

impl UpstreamConfig {
    /// Returns the claims that have to be kept of verified tokens.
    pub(super) fn claims(&self) -> impl Iterator<Item = &ClaimPath> {
        let headers = self.headers.iter().map(ClaimHeader::claim);
        headers.chain(self.metadata.iter().map(|(_, claim)| claim))
    }
}

pub(super) fn read(
    raw: RawUpstream,
    document: &Document,
    problems: &mut Problems,
) -> UpstreamConfig {
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
    UpstreamConfig {
        headers,
        metadata: raw.metadata.into_iter().collect(),
    }
}

fn header(name: String, raw: RawClaimHeader) -> Result<ClaimHeader, String> {
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
    if name.is_empty() || !name.bytes().all(is_plain) {
        return Err("the name of a header has small letters, digits, `-` and `_`".to_owned());
    }
    if RESERVED.contains(&name.as_str()) || RESERVED_PREFIXES.iter().any(|p| name.starts_with(p)) {
        return Err(
            "this header has another meaning; choose another, such as `x-auth-user`".to_owned(),
        );
    }
    if raw.claim.is_empty() {
        return Err("needs a `claim`".to_owned());
    }
    ClaimHeader::new(name, ClaimPath(raw.claim), raw.format).ok_or_else(|| {
        format!("more than {MAX_SEPARATORS} `-` and `_`: every spelling has to be removed from each request")
    })
}
