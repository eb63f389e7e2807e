//! Decides why the server lacks an entry of the view: the key expired, was deleted, or was lost.

use redis::RedisResult;

use super::super::feed::clock_offset;
use super::super::hash::KeyHash;
use super::super::registry::is_of_allow_list;
use super::super::state::{Held, KeyState};
use super::format::EXPIRY_SLACK;
use super::link::Link;
use super::loss_evidence::{Absence, LossEvidence};
use super::pushes::Explained;
use super::reconcile::{Reconciliation, Why};
use super::restore::is_weaker;
use super::restore::{self, Missing};
use super::scan::BATCH;
use super::server::Servers;
use super::stored;
use super::stored_key::StoredKey;

impl Reconciliation {
    /// Judges native keys that have disappeared: expired, restored under another name, deleted or evicted.
    pub(super) async fn judge_gone(
        &mut self,
        link: &mut Link,
        gone: &[(KeyHash, &Vec<u8>)],
    ) -> RedisResult<()> {
        let soon = self.clock.now().plus(EXPIRY_SLACK);
        let held = |(hash, name): &(KeyHash, &Vec<u8>)| {
            let entry = Missing::of(*hash, self.view.entry(*hash)?);
            Some((entry, (*name).clone()))
        };
        // Entries that are about to expire anyway are left to expire by our own clock.
        let early: Vec<(Missing, Vec<u8>)> = gone
            .iter()
            .filter_map(held)
            .filter(|(m, _)| m.held.expires_at > soon)
            .collect();
        let names: Vec<_> = early.iter().map(|(m, _)| m.restored_name()).collect();
        let stored = stored::read_restored(link, &names, || self.clock.now()).await?;
        let missing = self.not_restored(early, stored);
        if missing.is_empty() {
            return Ok(());
        }
        let evidence = self.look_for_losses(link).await?;
        let (mut lost, mut evicted) = (Vec::new(), 0);
        for entry in missing {
            // Only if a restored key exists, although a weaker one: the rest of the view's entry was in the native
            // key, which may have expired.
            let has_expired = entry.stands.is_some()
                && self.ends.get(&entry.hash).is_some_and(|end| *end <= soon);
            match evidence.of_pushed(self.deletions, has_expired) {
                Absence::Deleted => entry.accept(&self.view),
                Absence::Lost => lost.push(entry),
                Absence::Evicted => evicted += 1,
            }
        }
        if evicted > 0 {
            tracing::warn!(
                entries = evicted,
                "Redis has evicted revocations; the view keeps them"
            );
        } else {
            for (hash, _) in gone {
                self.ends.remove(hash);
            }
        }
        self.write_back(link, &lost).await
    }

    /// Returns whether an un-revocation that the view knows has taken an entry back. The native key is missing, so
    /// it cannot hold a statement that counts after the un-revocation.
    fn is_taken_back(&self, missing: &Missing) -> bool {
        let unrevoked = self.view.unrevoked(missing.hash);
        missing.held.is_taken_back_by(unrevoked)
    }

    /// Returns the entries that the restored keys do not cover in full, except entries that an un-revocation has
    /// taken back. Such an entry is replaced by the state of its restored key, but only after the restored key has
    /// been read, because it may hold a revocation that was stated after the un-revocation. Keys that no node could
    /// answer for are queued to be read again.
    fn not_restored(
        &mut self,
        gone: Vec<(Missing, Vec<u8>)>,
        restored: Vec<Option<KeyState>>,
    ) -> Vec<Missing> {
        let mut missing = Vec::new();
        for ((mut entry, name), restored) in gone.into_iter().zip(restored) {
            let Some(restored) = restored else {
                let key = StoredKey::Native(entry.hash);
                self.slot_moves.not_known(&self.view, &name, key);
                continue;
            };
            entry.stands = self.counting(entry.hash, restored);
            if is_weaker(entry.stands, entry.held) && !self.is_taken_back(&entry) {
                missing.push(entry);
            } else {
                entry.accept(&self.view);
            }
        }
        missing
    }

    /// Judges the view's entries that were not found, after everything has been read.
    pub(super) async fn judge_missing(
        &mut self,
        link: &mut Link,
        why: Why,
        refused_before: bool,
        pending: &Explained,
    ) -> RedisResult<()> {
        let now = self.clock.now();
        let unseen = self.view.unseen(now).into_iter();
        let unseen = unseen.map(|(hash, held)| Missing::of(hash, held));
        let (allowed, mut missing): (Vec<_>, Vec<_>) =
            unseen.partition(|m| is_of_allow_list(m.hash));
        // Entries that are about to expire anyway are left to expire.
        missing.retain(|m| m.held.expires_at > now.plus(EXPIRY_SLACK));
        // Entries that were taken back: their restored keys have been read in this round, and hold no state that
        // would have replaced the entries in the view.
        let taken_back = missing.extract_if(.., |m| self.is_taken_back(m));
        taken_back.for_each(|entry| entry.accept(&self.view));
        if why == Why::Comparison {
            let silent = pending.absences(&self.lookups).map_or(0, |told| {
                let all = allowed.iter().chain(&missing);
                all.filter(|m| !told.contains(&m.hash)).count()
            });
            self.metrics.healed(silent as u64);
        }
        // Entries of an allow-list are never written back: after a loss, the tokens have to be registered again.
        for entry in &allowed {
            entry.accept(&self.view);
        }
        let unrevocations = self.view.unseen_unrevocations(now.plus(EXPIRY_SLACK));
        if missing.is_empty() && unrevocations.is_empty() {
            return Ok(());
        }
        let evidence = LossEvidence {
            refused_restores: refused_before,
            ..self.look_for_losses(link).await?
        };
        if evidence.is_any() {
            // Only with evidence of a loss: if the server's history continued, the un-revocations were deleted, or
            // overwritten by a later statement.
            self.write_back_unrevocations(link, &unrevocations).await?;
        }
        if missing.is_empty() {
            return Ok(());
        }
        let absence = evidence.of_unseen(self.deletions);
        tracing::warn!(
            entries = missing.len(),
            ?why,
            restoring = absence != Absence::Deleted,
            "Redis lacks revocations of the view"
        );
        match absence {
            Absence::Deleted => self.accept_deletions(link, &mut missing).await,
            Absence::Lost | Absence::Evicted => self.write_back(link, &missing).await,
        }
    }

    /// Accepts that these entries were deleted: only their restored keys count now, if there are any.
    async fn accept_deletions(&self, link: &mut Link, deleted: &mut [Missing]) -> RedisResult<()> {
        for batch in deleted.chunks_mut(BATCH) {
            let names: Vec<_> = batch.iter().map(Missing::restored_name).collect();
            let stored = stored::read_restored(link, &names, || self.clock.now()).await?;
            for (entry, restored) in batch.iter_mut().zip(stored) {
                // If no node answers for the key, the next comparison decides.
                if let Some(restored) = restored {
                    entry.stands = self.counting(entry.hash, restored);
                    entry.accept(&self.view);
                }
            }
        }
        Ok(())
    }

    /// Returns the revocation that counts if only the restored key exists.
    fn counting(&self, hash: KeyHash, restored: KeyState) -> Option<Held> {
        let unrevoked = self.view.unrevoked(hash);
        restored
            .merge(KeyState::unrevoked(unrevoked, restored.expires_at))
            .held()
    }

    /// Queries the server for evidence that it has lost keys since it was last known to have lost none. Returns all
    /// the evidence.
    pub(super) async fn look_for_losses(&mut self, link: &mut Link) -> RedisResult<LossEvidence> {
        // A node that has lost a slot deletes the slot's keys, and may push these deletions before the next
        // heartbeat reports the move.
        if link.met_moved() {
            self.slot_moves.moved();
        }
        let now = link.servers().await?;
        let evicted = now.evicted_keys() != self.server.evictions;
        self.note_identity(&now);
        self.evicted |= evicted && self.unfit().is_none();
        Ok(self.evidence())
    }

    /// Takes note of the server's identity, which may have become the same process with another history.
    pub(super) fn note_identity(&mut self, now: &Servers) {
        let ours = self.clock.now();
        if let Some(theirs) = now.farthest_clock(ours) {
            clock_offset::notice(&*self.metrics, theirs, ours);
        }
        let identities = now.identities();
        let before = &self.server.identities;
        if identities != *before {
            // A primary's `master_replid` changes when its first replica attaches, or when its last replica has
            // been away for long. A server that has been a replica in between has loaded its primary's data, which
            // replaces all keys at once and is pushed as a flush.
            let named_anew = identities.len() == before.len()
                && identities
                    .iter()
                    .zip(before)
                    .all(|(a, b)| a.is_process_of(b));
            self.another_history |= self.flushed || !named_anew;
            self.server.identities = identities;
        }
        self.is_replica |= !now.are_primaries();
    }

    /// Writes back entries that the server has lost.
    pub(super) async fn write_back(
        &mut self,
        link: &mut Link,
        missing: &[Missing],
    ) -> RedisResult<()> {
        for batch in missing.chunks(BATCH) {
            let restored = restore::restore(&self.view, &*self.clock, link, batch).await?;
            self.metrics.restored(restored.written);
            self.refused_restores |= restored.refused;
        }
        Ok(())
    }

    /// Writes back un-revocations that the server has lost. If the view holds a revocation that was stated after
    /// the un-revocation, the revocation is written, too: on its own, the un-revocation would look like the latest
    /// statement to Revoxy replicas that do not know of the later revocation, or that date it by another clock.
    pub(super) async fn write_back_unrevocations(
        &mut self,
        link: &mut Link,
        states: &[(KeyHash, KeyState)],
    ) -> RedisResult<()> {
        let known = states.iter().map(|(hash, unrevocation)| {
            let known = self.view.state(*hash);
            let came_after = self.worth_keeping(&known).is_some();
            (*hash, if came_after { known } else { *unrevocation })
        });
        let known: Vec<_> = known.collect();
        for batch in known.chunks(BATCH) {
            let restored = restore::write(link, batch, self.clock.now()).await?;
            self.refused_restores |= restored.refused;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::super::key::{KeyKind, RevocationKey};
    use super::super::super::options::{Deletions, FeedSettings};
    use super::super::reconcile::FollowedServers;
    use super::super::suspect::Suspects;
    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn a_comparison_does_not_make_a_view_know_what_nobody_answered_for() {
        let server = FollowedServers {
            identities: Vec::new(),
            evictions: 0,
            changed: false,
        };
        let (view, clock) = (Arc::default(), Arc::new(SystemClock));
        let settings = FeedSettings {
            max_staleness: Duration::from_secs(1),
            deletions: Deletions::Honour,
            compare_every: Duration::from_secs(300),
            lookups: crate::lookups::Lookups::default(),
            issuers: Vec::new(),
        };
        let suspects = Suspects::new(Vec::new(), Arc::new(()));
        let mut reconciliation = Reconciliation::new(
            view,
            clock,
            Arc::default(),
            Arc::new(()),
            &settings,
            suspects,
            server,
        );
        let key = RevocationKey::new(KeyKind::TokenId, "shop", "a");
        let native = StoredKey::Native(key.hash());
        let (view, moving) = (&reconciliation.view, &mut reconciliation.slot_moves);
        moving.not_known(view, key.rendered().as_bytes(), native);
        reconciliation.begin_comparison();
        assert!(!reconciliation.slot_moves.has_no_unknown());
        // All keys are read before the next heartbeat, so nothing remains unknown.
        reconciliation.begin();
        assert!(reconciliation.slot_moves.has_no_unknown());
    }
}
