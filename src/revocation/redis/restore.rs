//! Writing back what the server has forgotten.

use redis::RedisResult;

use crate::clock::{Clock, Timestamp};

use super::super::state::{Held, KeyState};
use super::super::view::{KeyHash, View};
use super::connection;
use super::link::Link;
use super::stored::StoredKey;

/// An entry of the view that the server does not have, or has with less.
pub(super) struct Missing {
    pub hash: KeyHash,
    /// What the view holds.
    pub held: Held,
    /// What else is known of it.
    pub known: KeyState,
    /// What stands on the server, if something does.
    pub stands: Option<Held>,
}

impl Missing {
    /// What is held, of which the server has nothing as far as is known.
    pub(super) fn of(hash: KeyHash, held: Held) -> Self {
        Self {
            hash,
            held,
            known: KeyState::NOTHING,
            stands: None,
        }
    }

    /// Under what it may have been restored.
    pub(super) fn restored_name(&self) -> Vec<u8> {
        StoredKey::restored(self.hash).into_bytes()
    }

    /// Lets the view hold what the server has, unless it holds something new by now: it may have been revoked meanwhile.
    pub(super) fn accept(&self, view: &View) {
        view.settle(self.hash, self.held, self.stands);
    }
}

/// What came of writing back.
pub(super) struct Restored {
    /// How many were written.
    pub written: u64,
    /// Whether the server refused (no permission, no memory): the view keeps them, and they are still to be written.
    pub refused: bool,
}

/// Writes back what is missing, with all that the view knows of it. An un-revocation that stands on the server and is later
/// counts all the same.
pub(super) async fn restore(
    view: &View,
    clock: &dyn Clock,
    link: &mut Link,
    missing: &[Missing],
) -> RedisResult<Restored> {
    let known = missing.iter().map(|entry| {
        // Seen, in this round: it stands. Strengthened and not put, because it may have been revoked anew meanwhile.
        view.strengthen(entry.hash, entry.held);
        (entry.hash, view.state(entry.hash).merge(entry.known))
    });
    let known: Vec<_> = known.collect();
    write(link, &known, clock.now()).await
}

/// Writes states back.
pub(super) async fn write(
    link: &mut Link,
    states: &[(KeyHash, KeyState)],
    now: Timestamp,
) -> RedisResult<Restored> {
    match link.write_back(states, now).await {
        Ok(written) => Ok(Restored {
            written,
            refused: false,
        }),
        Err(error) => {
            refused(error)?;
            Ok(Restored {
                written: 0,
                refused: true,
            })
        }
    }
}

/// An error that the server answered is said and got over; any other is one of the connection's.
fn refused(error: redis::RedisError) -> RedisResult<()> {
    if connection::server_code(&error).is_none() {
        return Err(error);
    }
    let why = connection::describe(&error);
    tracing::error!(why, "cannot write revocations back to Redis");
    Ok(())
}
