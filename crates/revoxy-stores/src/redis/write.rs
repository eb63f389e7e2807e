//! Writes revocations and un-revocations, and confirms that they have taken effect.
//!
//! A server may accept and acknowledge a write although another server has replaced it, or is about to replace it
//! and this is not known yet. So a write is complete only when a heartbeat that was sent after the acknowledgement
//! proves that the view must contain the write, and the view does contain it. If the view lacks the write, a server
//! that is not authoritative accepted it, and it is written again.

use redis::{FromRedisValue, ScriptInvocation};

use crate::clock::{Moment, Timestamp};

use super::super::hash::KeyHash;
use super::super::key::RevocationKey;
use super::super::state::Held;
use super::super::statement::Revocation;
use super::super::version::Version;
use super::super::view::View;
use super::super::{Durability, StoreError};
use super::error::unconfirmed;
use super::local_replica::LocalReplica;
use super::one_server::OneServer;
use super::restore::is_weaker;
use super::stored_key::StoredKey;
use super::{LONGEST_LIFE, TOMBSTONE_LIFE, format};

/// A stored revocation that expires at most this many ms before the stated one counts as equally long and is
/// not written again: Redis reports lives in whole milliseconds, at an unknown instant of the round trip. Views
/// tolerate a larger difference between two lives.
pub(super) const LIFE_TOLERANCE: &str = "1000";

/// How many times a write is attempted before it is given up.
pub(super) const MOST_WRITES: usize = 4;

/// Formats the life of a key in ms, as the scripts take it. A life longer than Redis can represent becomes "forever".
pub(super) fn life_argument(life: u128) -> String {
    match u64::try_from(life) {
        Ok(ms) if ms <= LONGEST_LIFE => ms.to_string(),
        _ => String::new(),
    }
}

/// How long an un-revocation of a revocation without an expiry is remembered, in ms.
pub(super) fn tombstone_life() -> String {
    TOMBSTONE_LIFE.as_millis().to_string()
}

/// Parses the version in the answer of a script.
pub(super) fn parse_version(text: &str) -> Result<Version, StoreError> {
    let wrong = |_| StoreError::Failed("a script answered without a version".to_owned());
    text.parse().map_err(wrong)
}

/// Returns whether the view refuses everything that a revocation means, by a statement that is not earlier than
/// `stated`: an earlier statement may have been taken back by an un-revocation that only other replicas know.
pub(super) fn refuses(
    view: &View,
    revocation: &Revocation,
    stated: Version,
    now: Timestamp,
) -> bool {
    let meant = Held {
        version: stated,
        ..Held::of(revocation)
    };
    // A revocation that expires in the meantime needs no confirmation.
    !revocation.is_live(now) || !is_weaker(view.entry(revocation.key.hash()), meant)
}

/// Returns whether the view knows of an un-revocation.
pub(super) fn knows_unrevoked(view: &View, hash: KeyHash, version: Version) -> bool {
    view.unrevoked(hash) >= version
}

/// A script's answer about a statement: whether it was made, and its version; or the version of the later
/// statement that prevented it.
pub(super) type StatementAnswer = (bool, String);

impl OneServer {
    pub(super) async fn revoke(
        &self,
        replica: &LocalReplica,
        revocation: &Revocation,
        life: u128,
    ) -> Result<Durability, StoreError> {
        let hash = revocation.key.hash();
        // Only the first attempt may leave a stored revocation as it is: a later attempt is made because the stored
        // revocation has not taken effect. With durable replicas, every attempt must write, because `WAIT` covers
        // only what its own connection has written.
        let mut slack = match self.durable {
            None => LIFE_TOLERANCE,
            Some(_) => "",
        };
        let call = |version: Version| {
            let mut call = self.scripts.revoke.key(revocation.key.rendered());
            call.key(StoredKey::restored(hash))
                .arg(format::cutoff_argument(revocation.cutoff))
                .arg(life_argument(life))
                .arg(format::value(revocation))
                .arg(version.to_string())
                .arg(std::mem::take(&mut slack));
            call
        };
        let stands =
            |view: &View, stated: &Version| refuses(view, revocation, *stated, replica.now());
        self.write_until_it_counts(replica, call, |said: StatementAnswer| said, stands)
            .await
    }

    /// Returns whether a revocation existed.
    pub(super) async fn unrevoke(
        &self,
        replica: &LocalReplica,
        key: &RevocationKey,
    ) -> Result<bool, StoreError> {
        let (hash, mut stood) = (key.hash(), false);
        let call = |version: Version| {
            let mut call = self.scripts.unrevoke.key(key.rendered());
            call.key(StoredKey::restored(hash))
                .arg(version.to_string())
                .arg(tombstone_life());
            call
        };
        let said = |(made, version, had_stood): (bool, String, bool)| {
            // A later attempt finds the un-revocation that an earlier attempt has written.
            stood |= had_stood;
            (made, version)
        };
        let stands = |view: &View, stated: &Version| knows_unrevoked(view, hash, *stated);
        self.write_until_it_counts(replica, call, said, stands)
            .await?;
        Ok(stood)
    }

    /// Makes a statement with the script call that `call` builds for a version, until it is on the server that
    /// counts. `stands` checks whether the view has it.
    async fn write_until_it_counts<'s, T: FromRedisValue>(
        &'s self,
        replica: &LocalReplica,
        mut call: impl FnMut(Version) -> ScriptInvocation<'s>,
        mut said: impl FnMut(T) -> StatementAnswer,
        stands: impl Fn(&View, &Version) -> bool,
    ) -> Result<Durability, StoreError> {
        let mut broken = false;
        let mut version = replica.next_version();
        let durable = self.durable.as_ref();
        let connections = durable.map_or(&self.connection, |durable| &durable.connection);
        for _ in 0..MOST_WRITES {
            let mut connection = connections.current().await?;
            let answer = async {
                let answer = call(version).invoke_async(&mut connection.inner).await?;
                let reached = match durable {
                    Some(durable) => durable.reach(&mut connection.inner).await?,
                    None => Durability::default(),
                };
                Ok((answer, reached))
            };
            let ((made, stated), reached) = match answer.await {
                Ok((answer, reached)) => (said(answer), reached),
                Err(error) => match connection.failed(&error) {
                    // A connection that died while idle is only noticed by the next command. Making the
                    // statement again, with the same version, is idempotent.
                    StoreError::Unavailable(_) if !broken => {
                        broken = true;
                        continue;
                    }
                    error => return Err(error),
                },
            };
            let taken = connection.answered();
            let stated = parse_version(&stated)?;
            replica.observe(stated);
            if !made {
                version = replica.next_version().max(stated.next());
                continue;
            }
            let at = Moment::now();
            let counts = match replica.view_as_of(at).await? {
                Some(view) => stands(view, &stated),
                None => taken.confirmation.confirmed_after(at).await,
            };
            if counts {
                if let Some(durable) = durable {
                    durable.suffices(reached)?;
                }
                return Ok(reached);
            }
            connections.leave(taken.generation);
            tracing::warn!("a write is missing on the current primary; writing it again");
            version = replica.next_version();
        }
        Err(unconfirmed())
    }
}
