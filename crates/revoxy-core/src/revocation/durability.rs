//! How durable an acknowledged write is known to be, beyond the acknowledgement of the server that took it.

/// The durability that was reached. Empty if the store was not configured to find out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durability {
    /// The number of the store's own replicas that have confirmed the write, if the store was asked.
    pub replicas: Option<u64>,
    /// Whether the server, and these replicas, have flushed the write to disk in their append-only files.
    pub flushed: bool,
}
