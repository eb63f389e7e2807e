//! How durable an acknowledged write is known to be, beyond the word of the server that took it.

/// What was reached. Nothing is known where the store was not told to ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durability {
    /// How many replicas of the store have confirmed the write, where that was asked.
    pub replicas: Option<u64>,
    /// Whether the server, and these replicas, have it in their append-only file, flushed to disk.
    pub flushed: bool,
}
