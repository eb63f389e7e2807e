//! Writing back what the server has forgotten.

use redis::RedisResult;
use redis::aio::MultiplexedConnection;

use crate::clock::{Clock, Timestamp};

use super::super::statement::Cutoff;
use super::super::view::{KeyHash, View};
use super::stored::StoredKey;
use super::{LONGEST_LIFE, connection, format};

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
    connection: &mut MultiplexedConnection,
    missing: &[Missing],
) -> RedisResult<Restored> {
    let mut refused_any = false;
    let mut tombstones = redis::pipe();
    for (hash, ..) in missing {
        tombstones.exists(StoredKey::unrevoked(*hash));
    }
    let taken_back = match tombstones.query_async::<Vec<bool>>(connection).await {
        Ok(taken_back) => taken_back,
        Err(error) => {
            refused(error)?;
            refused_any = true;
            vec![false; missing.len()]
        }
    };
    let mut write = redis::pipe();
    for ((hash, cutoff, expires_at), taken_back) in missing.iter().zip(taken_back) {
        if taken_back {
            view.remove(*hash);
            continue;
        }
        // Seen, in this round: it stands. Strengthened and not put, because it may have been revoked anew meanwhile.
        view.strengthen(*hash, *cutoff, *expires_at);
        let command = write.cmd("SET").arg(StoredKey::restored(*hash));
        command.arg(format::restored_value(*cutoff)).arg("NX");
        if *expires_at != Timestamp::NEVER {
            let life = expires_at.since(clock.now()).as_millis().max(1);
            let life = u64::try_from(life).unwrap_or(LONGEST_LIFE);
            command.arg("PX").arg(life.min(LONGEST_LIFE));
        }
    }
    let mut written = 0;
    if !write.is_empty() {
        match write.query_async::<Vec<Option<String>>>(connection).await {
            Ok(answers) => written = answers.iter().flatten().count() as u64,
            Err(error) => {
                refused(error)?;
                refused_any = true;
            }
        }
    }
    Ok(Restored {
        written,
        refused: refused_any,
    })
}

/// Deletes restored revocations that have been taken back since.
pub(super) async fn delete(
    connection: &mut MultiplexedConnection,
    taken_back: &[KeyHash],
) -> RedisResult<()> {
    if taken_back.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = taken_back.iter().map(|h| StoredKey::restored(*h)).collect();
    match redis::cmd("DEL").arg(names).exec_async(connection).await {
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
