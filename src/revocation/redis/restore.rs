//! Writing back what the server has forgotten.

use redis::RedisResult;

use crate::clock::{Clock, Timestamp};

use super::super::statement::Cutoff;
use super::super::view::{KeyHash, View};
use super::connection;
use super::link::Link;
use super::stored::StoredKey;

/// An entry of the view that the server does not have, or has with less.
pub(super) struct Missing {
    pub hash: KeyHash,
    /// What is held.
    pub cutoff: Cutoff,
    pub expires_at: Timestamp,
    /// What stands on the server, if something does.
    pub stands: Option<(Cutoff, Timestamp)>,
}

impl Missing {
    /// What is held, of which the server has nothing as far as is known.
    pub(super) fn of(hash: KeyHash, (cutoff, expires_at): (Cutoff, Timestamp)) -> Self {
        Self {
            hash,
            cutoff,
            expires_at,
            stands: None,
        }
    }

    /// Under what it may have been restored.
    pub(super) fn restored_name(&self) -> Vec<u8> {
        StoredKey::restored(self.hash).into_bytes()
    }

    /// Lets the view say what the server says, unless it says something new by now: it may have been revoked meanwhile.
    pub(super) fn accept(&self, view: &View) {
        view.settle(self.hash, (self.cutoff, self.expires_at), self.stands);
    }
}

/// What came of writing back.
pub(super) struct Restored {
    /// How many were written.
    pub written: u64,
    /// Whether the server refused (no permission, no memory): the view keeps them, and they are still to be written.
    pub refused: bool,
}

/// Writes `missing` back, unless it was taken back through the API, which counts for the view too.
pub(super) async fn restore(
    view: &View,
    clock: &dyn Clock,
    link: &mut Link,
    missing: &[Missing],
) -> RedisResult<Restored> {
    let mut refused_any = false;
    let hashes = missing.iter().map(|m| m.hash);
    let taken_back = match link.are_taken_back(hashes).await {
        Ok(taken_back) => taken_back,
        Err(error) => {
            refused(error)?;
            refused_any = true;
            vec![false; missing.len()]
        }
    };
    let mut lost = Vec::with_capacity(missing.len());
    for (entry, taken_back) in missing.iter().zip(taken_back) {
        if taken_back {
            entry.accept(view);
            continue;
        }
        // Seen, in this round: it stands. Strengthened and not put, because it may have been revoked anew meanwhile.
        view.strengthen(entry.hash, entry.cutoff, entry.expires_at);
        lost.push(entry);
    }
    let mut written = 0;
    match link.write_back(&lost, clock.now()).await {
        Ok(count) => written = count,
        Err(error) => {
            refused(error)?;
            refused_any = true;
        }
    }
    Ok(Restored {
        written,
        refused: refused_any,
    })
}

/// Deletes restored revocations that have been taken back since.
pub(super) async fn delete(link: &mut Link, taken_back: &[KeyHash]) -> RedisResult<()> {
    match link.delete_restored(taken_back).await {
        Ok(()) => Ok(()),
        Err(error) => refused(error),
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
