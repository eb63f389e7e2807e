//! The path of a claim in a token.

use serde_json::{Map, Value};

/// The name of a claim, or a JSON pointer (RFC 6901) to a nested one: `email`, `/realm_access/roles`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(transparent)]
pub struct ClaimPath(pub String);

impl ClaimPath {
    /// Returns the value at the path, unless it is null.
    pub(super) fn find<'c>(&self, claims: &'c Map<String, Value>) -> Option<&'c Value> {
        self.value(claims).filter(|value| !value.is_null())
    }

    /// Returns the value at the path, even if it is null.
    pub(super) fn value<'c>(&self, claims: &'c Map<String, Value>) -> Option<&'c Value> {
        Some(match self.0.strip_prefix('/') {
            None => claims.get(&self.0)?,
            Some(path) => {
                let (first, rest) = path.split_once('/').unwrap_or((path, ""));
                let top = claims.get(&first.replace("~1", "/").replace("~0", "~"))?;
                if rest.is_empty() && !path.ends_with('/') {
                    top
                } else {
                    top.pointer(&format!("/{rest}"))?
                }
            }
        })
    }
}
