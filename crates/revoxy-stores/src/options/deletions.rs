//! What deletions in a store mean.

use serde::Deserialize;

/// What it means that somebody deleted a key, or flushed the database of a live server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deletions {
    /// The revocation was taken back.
    #[default]
    Honour,
    /// Nothing: only the API takes a revocation back, and what was deleted is written again.
    Ignore,
}
