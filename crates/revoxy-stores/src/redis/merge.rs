//! Applies the values stored on the server to the view.
//!
//! While the server's history continues, the stored value is the latest statement, and replaces what the view
//! holds. On a server that may have lost writes, the stored value may be an older statement: then the states of
//! view and server are joined, and whatever the view knows beyond the server is written back. They are also joined
//! if deletions are ignored, because the key may have been deleted before the weaker value was written.

use redis::RedisResult;

use crate::clock::Timestamp;

use super::super::effect::Effect;
use super::super::hash::KeyHash;
use super::super::state::{Held, KeyState};
use super::super::version::Version;
use super::super::view::{Beside, Change};
use super::format::EXPIRY_SLACK;
use super::link::Link;
use super::loss_evidence::LossEvidence;
use super::reconcile::Reconciliation;
use super::restore::Missing;
use super::restore::is_weaker;
use super::stored::KeyStates;
use super::stored_key::StoredKey;

/// The maximum number of expiries that are remembered. A key beyond that number counts as deleted when it expires.
const MOST_ENDS: usize = 100_000;

impl Reconciliation {
    /// Returns the evidence for losses of the server, as far as is known without a query.
    pub(super) fn evidence(&self) -> LossEvidence {
        LossEvidence {
            another_server: self.server.changed,
            another_history: self.unfit().is_some(),
            refused_restores: self.has_refused_restores(),
            evicted: self.evicted,
            slots_moved: self.slot_moves.has_moved(),
        }
    }

    /// Returns whether the server may have lost acknowledged writes.
    pub(super) fn may_have_lost(&self) -> bool {
        self.evidence().is_any()
    }

    fn keeps_the_stronger(&self) -> bool {
        self.evidence().keeps_the_stronger(self.deletions)
    }

    /// Returns the view's entry if it is worth keeping. An entry that refuses no token yet is not worth keeping,
    /// and neither is an entry that is about to expire.
    pub(super) fn worth_keeping(&self, known: &KeyState) -> Option<Held> {
        let soon = self.clock.now().plus(EXPIRY_SLACK);
        known.held().filter(|held| held.expires_at > soon)
    }

    /// Applies the value of a key that can also exist as a restored key.
    pub(super) fn take(&mut self, key: StoredKey, hash: KeyHash, states: &KeyStates) -> Change {
        let change = self.take_statement(key, hash, states);
        // Last, so that a check never finds the key without an entry while the statement replaces one that is
        // taken back.
        self.view
            .unrevoke(hash, states.unrevoked(), states.expires_at);
        change
    }

    fn take_statement(&mut self, key: StoredKey, hash: KeyHash, states: &KeyStates) -> Change {
        let held_before = self.view.entry(hash).is_some();
        let known = self.view.state(hash);
        self.observe_versions(states);
        if let Some((Effect::Admits, _)) = states.stated.effect {
            return self.take_grace(key, hash, &known, states.expires_at);
        }
        let mut stands = states.held(known.unrevoked);
        if stands.is_none()
            && let Some(earlier) = states.held(Version::NONE)
        {
            if self.may_have_lost() || key.restorable().is_none() {
                // The revocation was taken back by an un-revocation that the server does not have: restore the
                // un-revocation.
                self.restore_unrevocation(hash, &known);
            } else {
                // The server has lost nothing. So the un-revocation was overwritten or deleted by hand, or has
                // expired, and this revocation was written after that, by a writer whose clock is behind and
                // who did not know of the un-revocation.
                stands = Some(Held {
                    version: known.unrevoked.next(),
                    ..earlier
                });
            }
        }
        // An expiry that was noted before belongs to an earlier value: replace it.
        if states.restored != KeyState::NOTHING || self.ends.contains_key(&hash) {
            self.note_end(hash, states.expires_at);
        }
        let read = states.state(known.unrevoked);
        let both = known.merge(read);
        if key.restorable().is_some()
            && self.keeps_the_stronger()
            && let Some(held) = self.worth_keeping(&both)
            && is_weaker(read.held(), held)
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

    /// Applies an application's key that refuses no token yet (a grace period).
    fn take_grace(
        &mut self,
        key: StoredKey,
        hash: KeyHash,
        known: &KeyState,
        expires_at: Timestamp,
    ) -> Change {
        let grace = Held::admitting(expires_at);
        match self.worth_keeping(known) {
            Some(_) if key.restorable().is_some() && self.may_have_lost() => {
                self.keep(hash, *known, Some(grace));
                Change::None
            }
            _ => self.put(hash, grace),
        }
    }

    /// Applies the value of a restored key, which adds to that of the native key.
    pub(super) fn take_restored(&mut self, hash: KeyHash, states: &KeyStates) -> Change {
        // A restored key without a version was written back by an older version of Revoxy, and not set just now.
        let states = &KeyStates {
            seen: Version::FIRST,
            ..*states
        };
        self.observe_versions(states);
        let restored = states.state(Version::NONE);
        let (unrevoked, until) = (restored.unrevoked, states.expires_at);
        let beside = self.view.unrevoke_restored(hash, unrevoked, until);
        if beside == Beside::Read {
            self.must_reread = true;
            return Change::None;
        }
        let now = self.clock.now();
        let live = self.view.entry(hash).filter(|held| held.expires_at > now);
        let known = self.view.state(hash);
        let counts = restored.merge(KeyState::unrevoked(known.unrevoked, now));
        let Some(counts) = counts.held() else {
            // An entry that is taken back stays in the view until its native key has been read, or is found missing
            // at the end of the round.
            if restored.held().is_some() {
                self.restore_what_came_after(hash, known);
            }
            return Change::None;
        };
        match live {
            None => self.put(hash, counts),
            // Replaces the entry instead of strengthening it: the entry was taken back, and must not take effect
            // again together with the statement that was made after the un-revocation.
            Some(_) if beside == Beside::NotRead => self.put(hash, counts),
            Some(held) if is_weaker(known.held(), counts) => {
                self.note_end(hash, held.expires_at);
                self.view.strengthen(hash, counts)
            }
            // Either a native key was written again and is stronger, or there is no native key, and the view's
            // entry is missing on the server. The entry is not marked as seen, so that a missing entry is judged at
            // the end of the round.
            Some(_)
                if known
                    .held()
                    .is_some_and(|held| is_weaker(Some(counts), held)) =>
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

    /// Keeps the view's entry, which the server has in a weaker form or not at all, and queues it to be written back.
    fn keep(&mut self, hash: KeyHash, known: KeyState, stands: Option<Held>) {
        let Some(held) = known.held() else { return };
        // Marks the entry as seen in this round. An entry that was taken back is replaced and not strengthened: it
        // must not take effect again together with a later statement.
        let now = stands.unwrap_or(held);
        match self.view.entry(hash) {
            Some(before) if before.is_taken_back_by(known.unrevoked) => self.view.put(hash, now),
            _ => self.view.strengthen(hash, now),
        };
        self.lost.push(Missing {
            hash,
            held: self.view.entry(hash).unwrap_or(held),
            known,
            stands,
        });
    }

    /// Writes back what is known of a key for which the server has only statements from before the un-revocation. A
    /// revocation that was stated after the un-revocation is written, too: on its own, the un-revocation would look
    /// like the latest statement to replicas that do not know of the later revocation.
    fn restore_what_came_after(&mut self, hash: KeyHash, known: KeyState) {
        match self.worth_keeping(&known) {
            Some(_) if self.keeps_the_stronger() => self.keep(hash, known, None),
            _ => self.restore_unrevocation(hash, &known),
        }
    }

    /// Queues an un-revocation to be written back, because the server lacks it and has only an earlier statement
    /// about the key.
    fn restore_unrevocation(&mut self, hash: KeyHash, known: &KeyState) {
        let latest = KeyState::unrevoked(known.unrevoked, known.expires_at);
        self.lost_unrevocations.push((hash, latest));
    }

    /// Writes back what [`Reconciliation::take`] has found weaker on the server than in the view.
    pub(super) async fn write_back_lost(&mut self, link: &mut Link) -> RedisResult<()> {
        let lost = std::mem::take(&mut self.lost);
        let unrevocations = std::mem::take(&mut self.lost_unrevocations);
        if !lost.is_empty() || !unrevocations.is_empty() {
            tracing::warn!(
                entries = lost.len(),
                unrevocations = unrevocations.len(),
                "Redis lacks revocations that the view holds; restoring them"
            );
        }
        self.write_back(link, &lost).await?;
        self.write_back_unrevocations(link, &unrevocations).await
    }

    /// Advances the version clock past what was read, so that this process's next statements get later versions.
    fn observe_versions(&self, states: &KeyStates) {
        let version = match states.stated.effect {
            Some((_, Version::NONE)) => states.seen,
            Some((_, stated)) => stated,
            None => Version::NONE,
        };
        let latest = version.max(states.unrevoked());
        if latest != Version::NONE {
            self.versions.see(latest, self.clock.now());
        }
    }

    pub(super) fn put(&self, hash: KeyHash, held: Held) -> Change {
        // Redis reports the remaining life in whole milliseconds, at an unknown instant of the round trip, so two
        // reads of the same expiry never agree exactly: a difference within the slack is ignored.
        if let Some(old) = self.view.entry(hash)
            && old.effect == held.effect
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
