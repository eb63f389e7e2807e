//! Taking what stands on the server into the view.
//!
//! While the history of the server goes on, what stands is the latest word, and takes the place of what the view holds. On a server
//! that may have lost writes it may be an older word: then view and server are joined, and what the view knows beyond the
//! server is written back. So they are where deletions are ignored: what stands with less may have been deleted in between.

use redis::RedisResult;

use crate::clock::Timestamp;

use super::super::state::{Held, KeyState};
use super::super::statement::Cutoff;
use super::super::version::Version;
use super::super::view::{Change, KeyHash};
use super::Deletions;
use super::link::Link;
use super::reconcile::{EXPIRY_SLACK, Reconciliation};
use super::restore::Missing;
use super::stored::{Standing, StoredKey};

/// The ends of more keys are not remembered: what ends there passes for deleted.
const MOST_ENDS: usize = 100_000;

/// Whether the first says less than the second in anything.
pub(super) fn says_less(one: Option<Held>, other: Held) -> bool {
    one.is_none_or(|one| {
        other.cutoff > one.cutoff
            || other.expires_at > one.expires_at.plus(EXPIRY_SLACK)
            || other.version > one.version
    })
}

impl Reconciliation {
    /// Whether the server may have lost what it had acknowledged.
    pub(super) fn may_have_lost(&self) -> bool {
        self.server.changed
            || self.is_owing()
            || self.another_history
            || self.evicted
            || self.moving.has_moved()
    }

    /// Whether what stands with less than the view knows is not the latest word.
    fn keeps_the_stronger(&self) -> bool {
        self.may_have_lost() || self.deletions == Deletions::Ignore
    }

    /// What the view holds that is worth keeping: not what refuses nobody yet, or ends by itself.
    fn worth_keeping(&self, known: &KeyState) -> Option<Held> {
        let soon = self.clock.now().plus(EXPIRY_SLACK);
        known.held().filter(|held| held.expires_at > soon)
    }

    /// Takes in what stands under a key that can also stand under a restored name.
    pub(super) fn take(&mut self, key: StoredKey, hash: KeyHash, standing: &Standing) -> Change {
        let held_before = self.view.entry(hash).is_some();
        let known = self.view.state(hash);
        self.hear_of_versions(standing);
        self.view
            .unrevoke(hash, standing.unrevoked(), standing.expires_at);
        if let Some((Cutoff::NoToken, _)) = standing.stated.revoked {
            return self.take_grace(key, hash, &known, standing.expires_at);
        }
        let mut stands = standing.held(known.unrevoked);
        if stands.is_none()
            && let Some(earlier) = standing.held(Version::NONE)
        {
            if self.may_have_lost() || key.restorable().is_none() {
                // It was taken back by an un-revocation that the server does not have.
                self.restore_unrevocation(hash, &known);
            } else {
                // The server has lost nothing. So the un-revocation was overwritten or deleted by hand, or is at its end, and this came
                // after that: only whoever wrote it had a clock that is behind, and had not heard of the un-revocation.
                stands = Some(Held {
                    version: known.unrevoked.next(),
                    ..earlier
                });
            }
        }
        // An end that was noted before is not that of what stands now.
        if standing.restored != KeyState::NOTHING || self.ends.contains_key(&hash) {
            self.note_end(hash, standing.expires_at);
        }
        let read = standing.state(known.unrevoked);
        let both = known.merge(read);
        if key.restorable().is_some()
            && self.keeps_the_stronger()
            && let Some(held) = self.worth_keeping(&both)
            && says_less(read.held(), held)
        {
            self.keep(hash, both, stands);
            return Change::None;
        }
        match stands {
            Some(held) => self.put(hash, held),
            None if held_before => {
                self.view.remove(hash);
                Change::Altered
            }
            None => Change::None,
        }
    }

    /// Takes in a key of an application that refuses nobody yet.
    fn take_grace(
        &mut self,
        key: StoredKey,
        hash: KeyHash,
        known: &KeyState,
        expires_at: Timestamp,
    ) -> Change {
        let grace = Held::allowing(expires_at);
        match self.worth_keeping(known) {
            Some(_) if key.restorable().is_some() && self.may_have_lost() => {
                self.keep(hash, *known, Some(grace));
                Change::None
            }
            _ => self.put(hash, grace),
        }
    }

    /// Takes in what stands under the restored name of a hash: it adds to what stands under its own.
    pub(super) fn take_restored(&mut self, hash: KeyHash, standing: &Standing) -> Change {
        // What has no version there was written back by an older version of Revoxy, and not set just now.
        let standing = &Standing {
            seen: Version::FIRST,
            ..*standing
        };
        self.hear_of_versions(standing);
        let restored = standing.state(Version::NONE);
        let (unrevoked, until) = (restored.unrevoked, standing.expires_at);
        if self.view.unrevoke_restored(hash, unrevoked, until) {
            self.must_reread = true;
            return Change::None;
        }
        let now = self.clock.now();
        let live = self.view.entry(hash).filter(|held| held.expires_at > now);
        let known = self.view.state(hash);
        let counts = restored.merge(KeyState::unrevoked(known.unrevoked, now));
        let Some(counts) = counts.held() else {
            if restored.held().is_some() {
                self.restore_unrevocation(hash, &known);
            }
            return Change::None;
        };
        match live {
            None => self.put(hash, counts),
            Some(held) if says_less(known.held(), counts) => {
                self.note_end(hash, held.expires_at);
                self.view.strengthen(hash, counts)
            }
            // A native key that was written again says more; if there is none, what is held is missing.
            Some(_)
                if known
                    .held()
                    .is_some_and(|held| says_less(Some(counts), held)) =>
            {
                Change::None
            }
            Some(held) => {
                self.view.put(hash, held);
                Change::None
            }
        }
    }

    /// Remembers when a key expires.
    fn note_end(&mut self, hash: KeyHash, end: Timestamp) {
        if self.ends.len() < MOST_ENDS || self.ends.contains_key(&hash) {
            self.ends.insert(hash, end);
        }
    }

    /// The view goes on holding what it holds, which the server has with less, and that is to be written back.
    fn keep(&mut self, hash: KeyHash, known: KeyState, stands: Option<Held>) {
        let Some(held) = known.held() else { return };
        // Seen in this round.
        self.view.strengthen(hash, stands.unwrap_or(held));
        self.lost.push(Missing {
            hash,
            held: self.view.entry(hash).unwrap_or(held),
            known,
            stands,
        });
    }

    /// Writes an un-revocation back that the server lacks, while it has something that was stated before.
    fn restore_unrevocation(&mut self, hash: KeyHash, known: &KeyState) {
        let latest = KeyState::unrevoked(known.unrevoked, known.expires_at);
        self.lost_unrevocations.push((hash, latest));
    }

    /// Writes back what [`Reconciliation::take`] has met with less.
    pub(super) async fn write_back_lost(&mut self, link: &mut Link) -> RedisResult<()> {
        let lost = std::mem::take(&mut self.lost);
        let unrevocations = std::mem::take(&mut self.lost_unrevocations);
        if !lost.is_empty() || !unrevocations.is_empty() {
            tracing::warn!(
                entries = lost.len(),
                unrevocations = unrevocations.len(),
                "Redis has less than the view knows; restoring what it has lost"
            );
        }
        self.write_back(link, &lost).await?;
        self.write_back_unrevocations(link, &unrevocations).await
    }

    /// What this process states from now on is later than what it has read.
    fn hear_of_versions(&self, standing: &Standing) {
        let version = match standing.stated.revoked {
            Some((_, Version::NONE)) => standing.seen,
            Some((_, stated)) => stated,
            None => Version::NONE,
        };
        let latest = version.max(standing.unrevoked());
        if latest != Version::NONE {
            self.versions.see(latest, self.clock.now());
        }
    }

    pub(super) fn put(&self, hash: KeyHash, held: Held) -> Change {
        // The remaining life is told in whole milliseconds at an unknown instant of the round trip, so the same
        // expiry is never read twice alike: a difference within the slack is none.
        if let Some(old) = self.view.entry(hash)
            && old.cutoff == held.cutoff
            && near(old.expires_at, held.expires_at)
        {
            let expires_at = old.expires_at.max(held.expires_at);
            self.view.put(hash, Held { expires_at, ..held });
            return Change::None;
        }
        self.view.put(hash, held)
    }
}

fn near(a: Timestamp, b: Timestamp) -> bool {
    a.since(b).max(b.since(a)) <= EXPIRY_SLACK
}
