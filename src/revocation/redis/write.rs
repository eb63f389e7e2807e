//! Writing revocations and un-revocations, and knowing that they count.
//!
//! A server may take a write and answer, though another has taken its place, or will before anybody has heard of it. So a write is
//! done when the view must have it, by a heartbeat that was begun after the answer, and has it. Where the view lacks it, another
//! server took it, and it is written again.

use redis::{FromRedisValue, ScriptInvocation};

use crate::clock::{Moment, Timestamp};

use super::super::key::RevocationKey;
use super::super::state::Held;
use super::super::statement::Revocation;
use super::super::version::Version;
use super::super::view::{KeyHash, View};
use super::super::{Durability, StoreError};
use super::merge::says_less;
use super::stored::StoredKey;
use super::{LONGEST_LIFE, RedisStore, TOMBSTONE_LIFE, format};

/// By how many ms what stands may end before what is stated, and need not be written again: lives are told in whole milliseconds, at an
/// unknown instant of the round trip. Less than by how much views let two lives differ.
pub(super) const LIFE_TOLERANCE: &str = "1000";

/// How often a write is written before it is given up.
pub(super) const MOST_WRITES: usize = 4;

/// What is said of a write that another server took each time.
pub(super) fn unconfirmed() -> StoreError {
    StoreError::Unavailable(
        "the server that took the write is not the one that counts, or something was stated since that takes it back"
            .to_owned(),
    )
}

/// The life of a key in ms, as the scripts take it; beyond what Redis can count there is only "for ever".
pub(super) fn life_argument(life: u128) -> String {
    match u64::try_from(life) {
        Ok(ms) if ms <= LONGEST_LIFE => ms.to_string(),
        _ => String::new(),
    }
}

/// How long it is remembered, in ms, that a revocation without an end was taken back.
pub(super) fn tombstone_life() -> String {
    TOMBSTONE_LIFE.as_millis().to_string()
}

/// The version in an answer of a script.
pub(super) fn parse_version(text: &str) -> Result<Version, StoreError> {
    let wrong = |_| StoreError::Failed("a script answered without a version".to_owned());
    text.parse().map_err(wrong)
}

/// Whether the view refuses all that a revocation means, by a statement that is no earlier: an earlier one may have been taken back,
/// and only others know it.
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
    // What ends meanwhile needs no more.
    !revocation.is_live(now) || !says_less(view.entry(revocation.key.hash()), meant)
}

/// Whether the view knows of an un-revocation.
pub(super) fn knows_unrevoked(view: &View, hash: KeyHash, version: Version) -> bool {
    view.unrevoked(hash) >= version
}

/// What a script says of a statement: whether it was made, and its version, or else that of the later one in its way.
pub(super) type Said = (bool, String);

impl RedisStore {
    pub(super) async fn write_revocation(
        &self,
        revocation: &Revocation,
        life: u128,
    ) -> Result<Durability, StoreError> {
        let hash = revocation.key.hash();
        // `WAIT` tells of what the same connection has written. And what stands, but by the first try does not count, has to be
        // stated anew.
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
            |view: &View, stated: &Version| refuses(view, revocation, *stated, self.clock.now());
        self.state(call, |said: Said| said, stands).await
    }

    /// Tells whether a revocation stood.
    pub(super) async fn write_unrevocation(&self, key: &RevocationKey) -> Result<bool, StoreError> {
        let (hash, mut stood) = (key.hash(), false);
        let call = |version: Version| {
            let mut call = self.scripts.unrevoke.key(key.rendered());
            call.key(StoredKey::restored(hash))
                .arg(version.to_string())
                .arg(tombstone_life());
            call
        };
        let said = |(made, version, had_stood): (bool, String, bool)| {
            // Written again, it meets what it has left itself.
            stood |= had_stood;
            (made, version)
        };
        let stands = |view: &View, stated: &Version| knows_unrevoked(view, hash, *stated);
        self.state(call, said, stands).await?;
        Ok(stood)
    }

    /// States something with the script that `call` makes for a version, until it is where it counts: `stands` says whether the view
    /// has it.
    async fn state<'s, T: FromRedisValue>(
        &'s self,
        mut call: impl FnMut(Version) -> ScriptInvocation<'s>,
        mut said: impl FnMut(T) -> Said,
        stands: impl Fn(&View, &Version) -> bool,
    ) -> Result<Durability, StoreError> {
        let mut broken = false;
        let mut version = self.versions.next(self.clock.now());
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
                    // A connection that died while idle is only noticed by the command that meets it. Stating again, with the
                    // same version, is idempotent.
                    StoreError::Unavailable(_) if !broken => {
                        broken = true;
                        continue;
                    }
                    error => return Err(error),
                },
            };
            let taken = connection.answered();
            let stated = parse_version(&stated)?;
            self.versions.see(stated, self.clock.now());
            if !made {
                version = self.versions.next(self.clock.now()).max(stated.next());
                continue;
            }
            let at = Moment::now();
            let counts = match &self.following {
                Some(following) => {
                    following.progress.reaches(at).await?;
                    stands(&following.view, &stated)
                }
                None => taken.standing.confirmed_after(at).await,
            };
            if counts {
                if let Some(durable) = durable {
                    durable.suffices(reached)?;
                }
                return Ok(reached);
            }
            connections.leave(taken.generation);
            tracing::warn!("a write was not found where it counts, and is written again");
            version = self.versions.next(self.clock.now());
        }
        Err(unconfirmed())
    }
}
