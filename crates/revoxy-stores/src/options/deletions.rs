//! What deletions in a store mean.

use serde::Deserialize;

/// How to interpret that somebody has deleted a key, or has flushed the database of a live server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deletions {
    /// The revocation was taken back.
    #[default]
    Honour,
    /// The deletion means nothing: only the API takes a revocation back, and a deleted key is written again.
    Ignore,
}
