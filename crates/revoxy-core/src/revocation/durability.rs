//! The confirmed durability of a write, beyond the acknowledgement of the server that received the write.

/// The durability that was reached. Empty if the store is not configured to request confirmation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durability {
    /// The number of the store's own replicas that have confirmed the write, if the store was asked.
    pub replicas: Option<u64>,
    /// Whether the server, and these replicas, have flushed the write to disk in their append-only files.
    pub flushed: bool,
}
