//! Writing back what the server has forgotten.

use redis::RedisResult;

use crate::clock::{Clock, Timestamp};

use super::super::statement::Cutoff;
use super::super::view::{KeyHash, View};
use super::connection;
use super::link::Link;

/// An entry of the view that the server does not have.
pub(super) type Missing = (KeyHash, Cutoff, Timestamp);

/// What came of writing back.
pub(super) struct Restored {
    /// How many were written.
    pub written: u64,
    /// Whether the server refused (no permission, no memory): the view keeps them, and they are still to be written.
    pub refused: bool,
}

/// Writes `missing` back, unless it was taken back through the API, which also takes it out of the view.
pub(super) async fn restore(
    view: &View,
    clock: &dyn Clock,
    link: &mut Link,
    missing: &[Missing],
) -> RedisResult<Restored> {
    let mut refused_any = false;
    let taken_back = match link.are_taken_back(missing.iter().map(|m| m.0)).await {
        Ok(taken_back) => taken_back,
        Err(error) => {
            refused(error)?;
            refused_any = true;
            vec![false; missing.len()]
        }
    };
    let mut lost = Vec::with_capacity(missing.len());
    for (entry, taken_back) in missing.iter().zip(taken_back) {
        let (hash, cutoff, expires_at) = *entry;
        if taken_back {
            view.remove(hash);
            continue;
        }
        // Seen, in this round: it stands. Strengthened and not put, because it may have been revoked anew meanwhile.
        view.strengthen(hash, cutoff, expires_at);
        lost.push(*entry);
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
