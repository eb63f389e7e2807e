//! What it means that the server lacks what the view holds: expired, deleted, or lost.

use redis::RedisResult;

use super::super::clock_offset;
use super::super::registry::is_of_allow_list;
use super::super::state::{Held, KeyState};
use super::super::view::KeyHash;
use super::Deletions;
use super::link::Link;
use super::merge::says_less;
use super::pushes::Explained;
use super::reconcile::{BATCH, EXPIRY_SLACK, Reconciliation, Why};
use super::restore::{self, Missing};
use super::server::Servers;
use super::stored::{self, StoredKey};

/// How a server lost keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    Eviction,
    History,
}

impl Reconciliation {
    /// Native keys are gone: expired, restored under another name, deleted or evicted.
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
        // What is due anyway ends by itself, by our own clock.
        let early: Vec<(Missing, Vec<u8>)> = gone
            .iter()
            .filter_map(held)
            .filter(|(m, _)| m.held.expires_at > soon)
            .collect();
        let names: Vec<_> = early.iter().map(|(m, _)| m.restored_name()).collect();
        let stored = stored::read_restored(link, &names, || self.clock.now()).await?;
        let mut missing = Vec::new();
        for ((mut entry, name), restored) in early.into_iter().zip(stored) {
            let Some(restored) = restored else {
                let key = StoredKey::Native(entry.hash);
                self.moving.not_known(&self.view, &name, key);
                continue;
            };
            entry.stands = self.counting(entry.hash, restored);
            if says_less(entry.stands, entry.held) {
                missing.push(entry);
            } else {
                entry.accept(&self.view);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let lost = self.has_lost(link).await?;
        if lost == Some(Loss::Eviction) {
            // They stay in the view. To write them back at once would make the server evict others, without end:
            // the slow comparison does it at its pace.
            tracing::warn!(
                entries = missing.len(),
                "Redis has evicted revocations; the view keeps them"
            );
            return Ok(());
        }
        // Until everything has been read from another server, too: what goes there may be an older word, with a shorter life.
        let forgotten = lost.is_some() || self.may_have_lost();
        let ended = |m: &Missing| {
            let end = self.ends.get(&m.hash);
            m.stands.is_some() && end.is_some_and(|end| *end <= soon)
        };
        // Also where something was restored that says less: the rest of what is held stood under the name that was deleted.
        let ignored = |m: &Missing| self.deletions == Deletions::Ignore && !ended(m);
        let (lost, deleted): (Vec<_>, Vec<_>) =
            missing.into_iter().partition(|m| forgotten || ignored(m));
        for (hash, _) in gone {
            self.ends.remove(hash);
        }
        for entry in &deleted {
            entry.accept(&self.view);
        }
        self.write_back(link, &lost).await
    }

    /// Everything has been read, and these entries of the view were not among it.
    pub(super) async fn judge_missing(
        &mut self,
        link: &mut Link,
        why: Why,
        owed: bool,
        pending: &Explained,
    ) -> RedisResult<()> {
        let now = self.clock.now();
        let unseen = self.view.unseen(now).into_iter();
        let unseen = unseen.map(|(hash, held)| Missing::of(hash, held));
        let (allowed, mut missing): (Vec<_>, Vec<_>) =
            unseen.partition(|m| is_of_allow_list(m.hash));
        // What is due anyway ends by itself.
        missing.retain(|m| m.held.expires_at > now.plus(EXPIRY_SLACK));
        if why == Why::Comparison {
            let silent = pending.absences(&self.lookups).map_or(0, |told| {
                let all = allowed.iter().chain(&missing);
                all.filter(|m| !told.contains(&m.hash)).count()
            });
            self.metrics.healed.inc_by(silent as u64);
        }
        // Never written back: who was on a list that is lost has to be put there again.
        for entry in &allowed {
            entry.accept(&self.view);
        }
        let unrevocations = self.view.unseen_unrevocations(now.plus(EXPIRY_SLACK));
        if missing.is_empty() && unrevocations.is_empty() {
            return Ok(());
        }
        let lost = self.has_lost(link).await?;
        let forgotten =
            why == Why::ServerChanged || lost.is_some() || owed || self.moving.has_moved();
        if forgotten {
            // Where the history goes on, somebody has deleted them, or written something later in their place.
            self.write_back_unrevocations(link, &unrevocations).await?;
        }
        if missing.is_empty() {
            return Ok(());
        }
        let forgotten = forgotten || self.deletions == Deletions::Ignore;
        tracing::warn!(
            entries = missing.len(),
            ?why,
            restoring = forgotten,
            "Redis lacks revocations of the view"
        );
        if forgotten {
            return self.write_back(link, &missing).await;
        }
        for batch in missing.chunks_mut(BATCH) {
            let names: Vec<_> = batch.iter().map(Missing::restored_name).collect();
            let stored = stored::read_restored(link, &names, || self.clock.now()).await?;
            for (entry, restored) in batch.iter_mut().zip(stored) {
                // Of what nobody answers for, the next comparison knows more.
                if let Some(restored) = restored {
                    entry.stands = self.counting(entry.hash, restored);
                    entry.accept(&self.view);
                }
            }
        }
        Ok(())
    }

    /// What counts of that which stands under a restored name, and nowhere else.
    fn counting(&self, hash: KeyHash, restored: KeyState) -> Option<Held> {
        let unrevoked = self.view.unrevoked(hash);
        restored
            .merge(KeyState::unrevoked(unrevoked, restored.expires_at))
            .held()
    }

    /// Whether the server has lost keys that nobody deleted, since all was well.
    pub(super) async fn has_lost(&mut self, link: &mut Link) -> RedisResult<Option<Loss>> {
        // What a node deletes because it has lost a slot may be pushed before the next heartbeat tells of that.
        if link.met_moved() {
            self.moving.moved();
        }
        let now = link.servers().await?;
        let evicted = now.evicted_keys() != self.server.evictions;
        self.meet(&now);
        if self.another_history {
            return Ok(Some(Loss::History));
        }
        self.evicted |= evicted;
        Ok(evicted.then_some(Loss::Eviction))
    }

    /// Hears who the server is. It may be the same process with another history.
    pub(super) fn meet(&mut self, now: &Servers) {
        let ours = self.clock.now();
        if let Some(theirs) = now.farthest_clock(ours) {
            clock_offset::notice(&self.metrics, theirs, ours);
        }
        let identities = now.identities();
        let before = &self.server.identities;
        if identities != *before {
            // A primary takes another name for its history when its first replica comes, or its last has been away for
            // long. One that had been somebody's replica has taken over that one's data: all at once, which is pushed.
            let named_anew = identities.len() == before.len()
                && identities
                    .iter()
                    .zip(before)
                    .all(|(a, b)| a.is_process_of(b));
            self.another_history |= self.flushed || !named_anew;
            self.server.identities = identities;
        }
        // With one that is somebody's replica now, the rest is on its way.
        self.another_history |= !now.are_primaries();
    }

    /// Writes back what was forgotten.
    pub(super) async fn write_back(
        &mut self,
        link: &mut Link,
        missing: &[Missing],
    ) -> RedisResult<()> {
        for batch in missing.chunks(BATCH) {
            let restored = restore::restore(&self.view, &*self.clock, link, batch).await?;
            self.metrics.restored.inc_by(restored.written);
            self.owing |= restored.refused;
        }
        Ok(())
    }

    /// Writes back un-revocations that were forgotten.
    pub(super) async fn write_back_unrevocations(
        &mut self,
        link: &mut Link,
        states: &[(KeyHash, KeyState)],
    ) -> RedisResult<()> {
        for batch in states.chunks(BATCH) {
            let restored = restore::write(link, batch, self.clock.now()).await?;
            self.owing |= restored.refused;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use prometheus::Registry;

    use super::super::super::key::{KeyKind, RevocationKey};
    use super::super::feed::FeedSettings;
    use super::super::reconcile::Server;
    use super::super::suspect::Suspects;
    use super::*;
    use crate::clock::SystemClock;
    use crate::metrics::FeedMetrics;

    #[test]
    fn a_comparison_does_not_make_a_view_know_what_nobody_answered_for() {
        let server = Server {
            identities: Vec::new(),
            evictions: 0,
            changed: false,
        };
        let metrics = FeedMetrics::new(&Registry::new()).unwrap();
        let (view, clock) = (Arc::default(), Arc::new(SystemClock));
        let settings = FeedSettings {
            max_staleness: Duration::from_secs(1),
            deletions: Deletions::Honour,
            compare_every: Duration::from_secs(300),
            lookups: crate::revocation::Lookups::default(),
            issuers: Vec::new(),
        };
        let suspects = Suspects::new(Vec::new(), metrics.clone());
        let mut reconciliation = Reconciliation::new(
            view,
            clock,
            Arc::default(),
            metrics,
            &settings,
            suspects,
            server,
        );
        let key = RevocationKey::new(KeyKind::TokenId, "shop", "a");
        let native = StoredKey::Native(key.hash());
        let (view, moving) = (&reconciliation.view, &mut reconciliation.moving);
        moving.not_known(view, key.rendered().as_bytes(), native);
        reconciliation.begin_comparison();
        assert!(!reconciliation.moving.knows_all());
        // All of it is read before the next heartbeat.
        reconciliation.begin();
        assert!(reconciliation.moving.knows_all());
    }
}
