//! Writes back what the server has lost.

use redis::RedisResult;

use crate::clock::{Clock, Timestamp};

use super::super::hash::KeyHash;
use super::super::state::{Held, KeyState};
use super::super::view::View;
use super::error;
use super::format::EXPIRY_SLACK;
use super::link::Link;
use super::stored_key::StoredKey;

/// An entry of the view that the server lacks, or has in a weaker form.
pub(super) struct Missing {
    pub hash: KeyHash,
    /// What the view holds.
    pub held: Held,
    /// Whatever else is known of the key.
    pub known: KeyState,
    /// What is stored on the server, if anything.
    pub stands: Option<Held>,
}

impl Missing {
    /// An entry that the server lacks entirely, as far as is known.
    pub(super) fn of(hash: KeyHash, held: Held) -> Self {
        Self {
            hash,
            held,
            known: KeyState::NOTHING,
            stands: None,
        }
    }

    /// Returns the name of the restored key that may exist for this entry.
    pub(super) fn restored_name(&self) -> Vec<u8> {
        StoredKey::restored(self.hash).into_bytes()
    }

    /// Sets the view's entry to what the server has, unless the entry has changed in the meantime: the key may
    /// have been revoked again.
    pub(super) fn accept(&self, view: &View) {
        view.settle(self.hash, self.held, self.stands);
    }
}

/// The result of a write-back.
pub(super) struct Restored {
    /// How many entries were written.
    pub written: u64,
    /// Whether the server refused (no permission, out of memory). The view keeps the entries, and they are
    /// still to be written.
    pub refused: bool,
}

/// Writes back the missing entries, with all that the view knows of each. A later un-revocation on the server still
/// takes precedence.
pub(super) async fn restore(
    view: &View,
    clock: &dyn Clock,
    link: &mut Link,
    missing: &[Missing],
) -> RedisResult<Restored> {
    let known = missing.iter().map(|entry| {
        // Marks the entry as seen in this round. Strengthened rather than put, because the key may have been
        // revoked again in the meantime.
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

/// Logs an error that the server answered with, and continues. Returns any other error, because it is an error of
/// the connection.
fn refused(error: redis::RedisError) -> RedisResult<()> {
    if error::server_code(&error).is_none() {
        return Err(error);
    }
    let why = error::describe(&error);
    tracing::error!(why, "cannot write revocations back to Redis");
    Ok(())
}

/// Returns whether `one` is weaker than `other` in any respect.
pub(super) fn is_weaker(one: Option<Held>, other: Held) -> bool {
    one.is_none_or(|one| {
        other.effect > one.effect
            || other.expires_at > one.expires_at.plus(EXPIRY_SLACK)
            || other.version > one.version
    })
}
