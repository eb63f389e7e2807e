//! What stands on the server with less than the view holds.
//!
//! On a server that may have lost writes, it is what was lost that said more: the stronger is kept, and written back as what
//! is missing is. On any other, somebody has written less.

use redis::RedisResult;

use crate::clock::Timestamp;

use super::super::statement::Cutoff;
use super::super::view::{Change, KeyHash};
use super::link::Link;
use super::reconcile::{EXPIRY_SLACK, Reconciliation};
use super::restore::Missing;
use super::stored::StoredKey;

/// Whether the first says less than the second in anything.
pub(super) fn says_less(one: (Cutoff, Timestamp), other: (Cutoff, Timestamp)) -> bool {
    other.0 > one.0 || other.1 > one.1.plus(EXPIRY_SLACK)
}

impl Reconciliation {
    /// Whether the server may have lost what it had acknowledged.
    fn may_have_lost(&self) -> bool {
        self.server.changed
            || self.is_owing()
            || self.another_history
            || self.evicted
            || self.moving.has_moved()
    }

    /// Takes in what stands under a key.
    pub(super) fn take(
        &mut self,
        key: StoredKey,
        hash: KeyHash,
        cutoff: Cutoff,
        expires_at: Timestamp,
    ) -> Change {
        let held = self.view.entry(hash).filter(|(held, expiry)| {
            // What refuses nobody yet, or ends by itself, is not worth keeping.
            *held != Cutoff::NoToken && *expiry > self.clock.now().plus(EXPIRY_SLACK)
        });
        match held {
            Some(held)
                if key.restorable().is_some()
                    && self.may_have_lost()
                    && says_less((cutoff, expires_at), held) =>
            {
                // Seen in this round.
                self.view.strengthen(hash, cutoff, expires_at);
                self.weaker.push(Missing {
                    hash,
                    cutoff: held.0.max(cutoff),
                    expires_at: held.1.max(expires_at),
                    stands: Some((cutoff, expires_at)),
                });
                Change::None
            }
            _ => self.put(hash, cutoff, expires_at),
        }
    }

    /// Takes in what stands under the restored name of a hash: it adds to what stands under its own.
    pub(super) fn take_restored(
        &self,
        hash: KeyHash,
        cutoff: Cutoff,
        expires_at: Timestamp,
    ) -> Change {
        let (restored, now) = ((cutoff, expires_at), self.clock.now());
        match self.view.entry(hash).filter(|held| held.1 > now) {
            None => self.put(hash, cutoff, expires_at),
            Some(held) if says_less(held, restored) => {
                self.view.strengthen(hash, cutoff, expires_at)
            }
            // A native key that was written again says more; if there is none, what is held is missing.
            Some(held) if says_less(restored, held) => Change::None,
            Some((held, expiry)) => {
                self.view.put(hash, held, expiry);
                Change::None
            }
        }
    }

    /// Writes back what [`Reconciliation::take`] has met with less.
    pub(super) async fn keep_stronger(&mut self, link: &mut Link) -> RedisResult<()> {
        let weaker = std::mem::take(&mut self.weaker);
        if weaker.is_empty() {
            return Ok(());
        }
        tracing::warn!(
            entries = weaker.len(),
            "Redis has revocations with less than the view holds; restoring what it has lost"
        );
        self.write_back(link, &weaker).await
    }

    pub(super) fn put(&self, hash: KeyHash, cutoff: Cutoff, expires_at: Timestamp) -> Change {
        // The remaining life is told in whole milliseconds at an unknown instant of the round trip, so the same
        // expiry is never read twice alike: a difference within the slack is none.
        let standing = self.view.entry(hash);
        if let Some((old_cutoff, old_expiry)) = standing
            && old_cutoff == cutoff
            && near(old_expiry, expires_at)
        {
            self.view.put(hash, cutoff, old_expiry.max(expires_at));
            return Change::None;
        }
        self.view.put(hash, cutoff, expires_at)
    }
}

fn near(a: Timestamp, b: Timestamp) -> bool {
    a.since(b).max(b.since(a)) <= EXPIRY_SLACK
}
