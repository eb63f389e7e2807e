//! Writes revocations and un-revocations in a cluster, and confirms that they have taken effect: see
//! `redis/write.rs`, which does the same for one server.
//!
//! The native and the restored key of a revocation are in different slots. The state is written atomically, to the
//! native key. The restored key is read first, so that the new statement gets a later version than the statement in
//! the restored key.

use redis::Value;

use crate::clock::{Moment, Timestamp};

use super::super::super::StoreError;
use super::super::super::key::RevocationKey;
use super::super::super::state::KeyState;
use super::super::super::statement::Revocation;
use super::super::super::version::Version;
use super::super::super::view::View;
use super::super::error::{parsed, unconfirmed};
use super::super::local_replica::LocalReplica;
use super::super::script;
use super::super::stored_key::StoredKey;
use super::super::write::{
    LIFE_TOLERANCE, MOST_WRITES, StatementAnswer, knows_unrevoked, life_argument, parse_version,
    refuses, tombstone_life,
};
use super::super::{format, format::Stated};
use super::queries::Question;
use super::router::Router;

impl Router {
    pub(in super::super) async fn revoke(
        &self,
        replica: &LocalReplica,
        revocation: &Revocation,
        life: u128,
    ) -> Result<(), StoreError> {
        let key = &revocation.key;
        let (mut least, mut slack) = (Version::NONE, LIFE_TOLERANCE);
        for _ in 0..MOST_WRITES {
            let (restored, _) = self.restored(key).await?;
            let version = later_than(replica, &restored).max(least);
            // Sends the whole script and not its hash, because another node may not have the script cached.
            let mut eval = redis::cmd("EVAL");
            eval.arg(script::REVOKE)
                .arg(1)
                .arg(key.rendered())
                .arg(format::cutoff_argument(revocation.cutoff))
                .arg(life_argument(life))
                .arg(format::value(revocation))
                .arg(version.to_string())
                // If there is a restored key, always write: the stored revocation counts together with the restored
                // key, which the script cannot see.
                .arg(match restored == KeyState::NOTHING {
                    true => std::mem::take(&mut slack),
                    false => "",
                });
            let (made, stated): StatementAnswer = self
                .write_one(Question::about(key.rendered(), eval))
                .await?;
            let stated = parse_version(&stated)?;
            replica.observe(stated);
            if !made {
                least = stated.next();
                continue;
            }
            let stands = |view: &View| refuses(view, revocation, stated, replica.now());
            let stands_alone = |state: KeyState| {
                let held = state.held();
                held.is_some_and(|held| {
                    held.version >= stated && held.effect >= revocation.cutoff.into()
                })
            };
            if self.counts(replica, key, stands, stands_alone).await? {
                return Ok(());
            }
        }
        Err(unconfirmed())
    }

    /// Returns whether a revocation existed.
    pub(in super::super) async fn unrevoke(
        &self,
        replica: &LocalReplica,
        key: &RevocationKey,
    ) -> Result<bool, StoreError> {
        let (mut stood, mut least) = (false, Version::NONE);
        for _ in 0..MOST_WRITES {
            let (restored, left) = self.restored(key).await?;
            let version = later_than(replica, &restored).max(least);
            let mut eval = redis::cmd("EVAL");
            eval.arg(script::UNREVOKE)
                .arg(1)
                .arg(key.rendered())
                .arg(version.to_string())
                .arg(tombstone_life())
                .arg(left);
            let (made, text, native): (bool, String, bool) = self
                .write_one(Question::about(key.rendered(), eval))
                .await?;
            let stated = parse_version(&text)?;
            replica.observe(stated);
            if !made {
                least = stated.next();
                continue;
            }
            stood |= native || restored.held().is_some();
            // The restored key no longer counts: delete it.
            let name = StoredKey::restored(key.hash());
            let mut drop = redis::cmd("EVAL");
            drop.arg(script::DROP).arg(1).arg(&name).arg(&text);
            let _: i64 = self.write_one(Question::about(&name, drop)).await?;
            let knows = |view: &View| knows_unrevoked(view, key.hash(), stated);
            let knows_alone = |state: KeyState| state.unrevoked >= stated;
            if self.counts(replica, key, knows, knows_alone).await? {
                return Ok(stood);
            }
        }
        Err(unconfirmed())
    }

    /// Returns the state in the restored key, and its remaining life in ms.
    async fn restored(&self, key: &RevocationKey) -> Result<(KeyState, i64), StoreError> {
        let question = Question::reading(&StoredKey::restored(key.hash()));
        let (left, value, _): (i64, Option<Vec<u8>>, u64) = self.write_one(question).await?;
        let state = match left {
            -2 => KeyState::NOTHING,
            _ => format::restored_state(Stated::read(value.as_deref()), Timestamp::NEVER),
        };
        Ok((state, left))
    }

    async fn write_one<T: redis::FromRedisValue>(
        &self,
        question: Question,
    ) -> Result<T, StoreError> {
        // Sent to the slot owner, whether it is trusted or not.
        let mut answers = self.ask(&[question], None).await?;
        let answer = answers.pop().and_then(|mut answer| answer.pop());
        parsed(answer.unwrap_or(Value::Nil))
    }

    /// Returns whether the last write has taken effect: it is in the view, once the view must contain it; without a
    /// view, it is on the slot owner that a majority of primaries has confirmed after the write.
    async fn counts(
        &self,
        replica: &LocalReplica,
        key: &RevocationKey,
        in_view: impl Fn(&View) -> bool,
        alone: impl Fn(KeyState) -> bool,
    ) -> Result<bool, StoreError> {
        let at = Moment::now();
        if let Some(view) = replica.view_as_of(at).await? {
            return Ok(in_view(view));
        }
        self.confirmed_after(at).await?;
        let (left, value, _): (i64, Option<Vec<u8>>, u64) =
            self.write_one(Question::reading(key.rendered())).await?;
        let stated = Stated::read(value.as_deref());
        Ok(left != -2 && alone(stated.state(Version::NONE, Timestamp::NEVER)))
    }
}

/// Returns a version for a statement made now, later than all that is known to be stored elsewhere.
fn later_than(replica: &LocalReplica, state: &KeyState) -> Version {
    let stated = state.held().map_or(Version::NONE, |held| held.version);
    let least = stated.max(state.unrevoked).next();
    replica.next_version().max(least)
}
