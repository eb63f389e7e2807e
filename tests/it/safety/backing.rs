//! What a scene needs of a store: a way for each replica to reach it, those who write to it by hand, and what can happen to
//! it.
//!
//! To try another: implement [`Backing`] in a file of its own, and add a test in `mod.rs`.

use std::sync::Arc;
use std::time::Duration;

use revoxy::revocation::RevocationStore;

use super::faults::{Fault, Kind};
use crate::support::{Mood, Scratch};

/// A store, real and running, that the replicas reach through proxies.
pub trait Backing: Sized {
    type Writer: Writer;

    /// Starts it, with a way to it for so many replicas.
    async fn start(scratch: &Scratch, replicas: usize) -> Self;

    /// What can happen to it.
    fn kinds(&self) -> Vec<Kind>;

    /// What the configuration of this replica says under `store`.
    fn store(&self, replica: usize) -> String;

    /// More lines of the section `revocation`.
    fn lines(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whether only registered tokens are let through.
    fn allow_list(&self) -> bool {
        false
    }

    /// Registers tokens with these ids, where only registered ones are let through.
    async fn register(&self, _jtis: &[String]) {}

    /// From now on the way of this replica is so.
    fn set_mood(&self, replica: usize, mood: Mood);

    fn writer(&self) -> Self::Writer;

    /// How long a writer waits after each revocation, so that there are some left for the last fault.
    fn pace(&self) -> Duration {
        Duration::from_millis(15)
    }

    /// The store as a library's user reaches it, past the proxies and without a view.
    async fn direct(&self) -> Arc<dyn RevocationStore>;

    /// Revokes many at once, which nobody checks, and waits for the acknowledgements, if there are any.
    async fn flood(&self, count: usize);

    /// Whether this destroys what was acknowledged, so that everybody must have seen it before.
    fn loses(&self, _fault: Fault) -> bool {
        false
    }

    /// Whether what was lost must stand again before anybody may start anew: a replica that starts without it knows
    /// nothing of it.
    fn must_stand_again(&self, _fault: Fault) -> bool {
        false
    }

    /// What goes before a fault that destroys data, while everybody writes.
    async fn prepare(&mut self, _fault: Fault, _scratch: &Scratch) {}

    /// A fault of the store itself, to its end.
    async fn suffer(&mut self, fault: Fault, scratch: &Scratch);
}

/// Somebody who revokes by hand.
pub trait Writer: Send + 'static {
    /// Whether it has a connection, after one attempt to make one if there is none.
    fn is_connected(&mut self) -> impl Future<Output = bool> + Send;

    /// Revokes the token of the issuer `shop` with this `jti`. Tells whether the store has acknowledged that.
    fn revoke(&mut self, jti: &str) -> impl Future<Output = bool> + Send;
}
