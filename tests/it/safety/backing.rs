//! What a scene needs from a store: a path to it for each replica, clients that write to it directly, and the
//! faults that can happen to it.
//!
//! To test another store, implement [`Backing`] in a file of its own, and add a test in `mod.rs`.

use std::sync::Arc;
use std::time::Duration;

use revoxy::revocation::RevocationStore;

use super::faults::{Fault, Kind};
use crate::support::{Mood, Scratch};

/// A real, running store that the replicas reach through proxies.
pub trait Backing: Sized {
    type Writer: Writer;

    /// Starts the store, with proxies for this many replicas.
    async fn start(scratch: &Scratch, replicas: usize) -> Self;

    /// The kinds of faults that can happen to it.
    fn kinds(&self) -> Vec<Kind>;

    /// The value of `store` in the configuration of this replica.
    fn store(&self, replica: usize) -> String;

    /// Additional lines of the section `revocation`.
    fn lines(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whether only registered tokens are accepted.
    fn allow_list(&self) -> bool {
        false
    }

    /// Registers tokens with these ids, if only registered ones are accepted.
    async fn register(&self, _jtis: &[String]) {}

    /// Sets how the proxies of this replica behave.
    fn set_mood(&self, replica: usize, mood: Mood);

    fn writer(&self) -> Self::Writer;

    /// How long a writer pauses after each revocation, so that tokens are left for the last fault.
    fn pace(&self) -> Duration {
        Duration::from_millis(15)
    }

    /// A store of the library that bypasses the proxies and has no view.
    async fn direct(&self) -> Arc<dyn RevocationStore>;

    /// Revokes many tokens at once, which nobody checks, and waits for the acknowledgements, if there are
    /// any.
    async fn flood(&self, count: usize);

    /// Whether the fault destroys acknowledged data, so that every replica must have seen the data before.
    fn loses(&self, _fault: Fault) -> bool {
        false
    }

    /// Whether what was lost must be restored before any replica may restart: a replica that starts without
    /// it does not know that it is missing.
    fn must_stand_again(&self, _fault: Fault) -> bool {
        false
    }

    /// Prepares a fault that destroys data, while everybody keeps writing.
    async fn prepare(&mut self, _fault: Fault, _scratch: &Scratch) {}

    /// Executes a fault of the store itself, until it is over.
    async fn suffer(&mut self, fault: Fault, scratch: &Scratch);
}

/// A client that revokes by writing to the store directly.
pub trait Writer: Send + 'static {
    /// Returns whether it has a connection, after one attempt to establish one if there is none.
    fn is_connected(&mut self) -> impl Future<Output = bool> + Send;

    /// Revokes the token of the issuer `shop` with this `jti`. Returns whether the store has acknowledged
    /// that.
    fn revoke(&mut self, jti: &str) -> impl Future<Output = bool> + Send;
}
