//! The servers whose direct reads are believed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::clock::Moment;

use super::server::Identity;

/// The server, or the primaries of a cluster, that the view was last complete with. Direct reads from any other
/// server are not believed: it may lack what this view, or that of another Revoxy replica, holds.
#[derive(Clone, Default)]
pub(super) struct TrustedServers(Arc<Shared>);

#[derive(Default)]
struct Shared {
    complete: Mutex<Complete>,
    /// Whether a direct read has met an untrusted server since [`TrustedServers::take_met_untrusted`] was last called.
    met_untrusted: AtomicBool,
}

/// What the view was last complete with.
#[derive(Default)]
struct Complete {
    identities: Vec<Identity>,
    /// As of when.
    as_of: Option<Moment>,
}

/// Whether direct reads over a connection are believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// It leads to a server that the view was last complete with.
    Trusted,
    /// Nobody can tell yet which server it leads to.
    NotYet,
    /// It leads to another server.
    Untrusted,
}

impl TrustedServers {
    /// Records that the view is complete with these servers as of `as_of`.
    pub(super) fn set(&self, identities: Vec<Identity>, as_of: Moment) {
        self.replace(Complete {
            identities,
            as_of: Some(as_of),
        });
    }

    /// Trusts no server until the view is complete again.
    pub(super) fn clear(&self) {
        self.replace(Complete::default());
    }

    fn replace(&self, complete: Complete) {
        let shared = self.0.complete.lock();
        *shared.unwrap_or_else(PoisonError::into_inner) = complete;
    }

    /// Returns whether a direct read has met an untrusted server since the last call.
    pub(super) fn take_met_untrusted(&self) -> bool {
        self.0.met_untrusted.swap(false, Ordering::Relaxed)
    }

    /// Returns whether direct reads are believed over a connection that was opened at `opened` and leads to the
    /// server with this `identity`.
    ///
    /// A server that does not identify itself, because `INFO` is not allowed, is told from its successor at the
    /// same address by time: it has answered the feed since the connection was opened, so no other process has
    /// accepted the connection.
    pub(super) fn trust(&self, identity: &Identity, opened: Moment) -> Trust {
        let complete = self.0.complete.lock();
        let complete = complete.unwrap_or_else(PoisonError::into_inner);
        if !complete.identities.contains(identity) {
            self.0.met_untrusted.store(true, Ordering::Relaxed);
            return Trust::Untrusted;
        }
        match identity.is_known() || complete.as_of.is_some_and(|as_of| opened <= as_of) {
            true => Trust::Trusted,
            false => Trust::NotYet,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_server_that_does_not_identify_itself_is_trusted_once_it_has_answered_the_feed_since() {
        let (trusted, unknown) = (TrustedServers::default(), Identity::default());
        let before = Moment::now();
        let opened = before + Duration::from_millis(1);
        assert_eq!(trusted.trust(&unknown, opened), Trust::Untrusted);
        trusted.set(vec![unknown.clone()], before);
        assert_eq!(trusted.trust(&unknown, opened), Trust::NotYet);
        trusted.set(vec![unknown.clone()], opened);
        assert_eq!(trusted.trust(&unknown, opened), Trust::Trusted);
        trusted.clear();
        assert_eq!(trusted.trust(&unknown, opened), Trust::Untrusted);
    }
}
