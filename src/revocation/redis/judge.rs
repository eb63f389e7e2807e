//! What it means that the server lacks what the view holds: expired, deleted, or lost.

use redis::RedisResult;

use super::super::registry::is_of_allow_list;
use super::super::view::KeyHash;
use super::Deletions;
use super::link::Link;
use super::pushes::Explained;
use super::reconcile::{BATCH, EXPIRY_SLACK, Reconciliation, Why};
use super::restore::{Missing, restore};
use super::stored::{self, Stored, StoredKey};

/// How a server lost keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
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
            let (cutoff, expires_at) = self.view.entry(*hash)?;
            Some(((*hash, cutoff, expires_at), (*name).clone()))
        };
        // What is due anyway ends by itself, by our own clock.
        let early: Vec<(Missing, Vec<u8>)> = gone
            .iter()
            .filter_map(held)
            .filter(|(m, _)| m.2 > soon)
            .collect();
        let names: Vec<_> = early
            .iter()
            .map(|(m, _)| StoredKey::restored(m.0).into_bytes())
            .collect();
        let stored = stored::read(link, &names, || self.clock.now()).await?;
        let mut missing = Vec::new();
        for ((entry, name), stored) in early.into_iter().zip(stored) {
            match stored {
                Stored::Unknown => {
                    let key = StoredKey::Native(entry.0);
                    self.moving.not_known(&self.view, &name, key);
                }
                Stored::Revocation {
                    cutoff, expires_at, ..
                } => {
                    self.view.put(entry.0, cutoff, expires_at);
                }
                Stored::Nothing => missing.push(entry),
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
        let forgotten = lost.is_some()
            || self.owing
            || self.moving.has_moved()
            || self.deletions == Deletions::Ignore;
        self.keep_or_drop(link, missing, forgotten).await
    }

    /// Everything has been read, and these entries of the view were not among it.
    pub(super) async fn judge_missing(
        &mut self,
        link: &mut Link,
        why: Why,
        pending: &Explained,
    ) -> RedisResult<()> {
        let now = self.clock.now();
        let (allowed, mut missing): (Vec<_>, Vec<_>) = self
            .view
            .unseen(now)
            .into_iter()
            .partition(|m| is_of_allow_list(m.0));
        // What is due anyway ends by itself.
        missing.retain(|m| m.2 > now.plus(EXPIRY_SLACK));
        if why == Why::Comparison {
            let silent = pending.absences(&self.lookups).map_or(0, |told| {
                let all = allowed.iter().chain(&missing);
                all.filter(|m| !told.contains(&m.0)).count()
            });
            self.metrics.healed.inc_by(silent as u64);
        }
        // Never written back: who was on a list that is lost has to be put there again.
        for (hash, ..) in &allowed {
            self.view.remove(*hash);
        }
        // Owed until this pass has written everything.
        let owed = std::mem::take(&mut self.owing);
        if missing.is_empty() {
            return Ok(());
        }
        let lost = self.has_lost(link).await?;
        let forgotten = why == Why::ServerChanged
            || lost.is_some()
            || owed
            || self.moving.has_moved()
            || self.deletions == Deletions::Ignore;
        tracing::warn!(
            entries = missing.len(),
            ?why,
            restoring = forgotten,
            "Redis lacks revocations of the view"
        );
        self.keep_or_drop(link, missing, forgotten).await
    }

    /// Whether the server has lost keys that nobody deleted, since all was well.
    async fn has_lost(&mut self, link: &mut Link) -> RedisResult<Option<Loss>> {
        // What a node deletes because it has lost a slot may be pushed before the next heartbeat tells of that.
        if link.met_moved() {
            self.moving.moved();
        }
        let now = link.servers().await?;
        let evicted = now.evicted_keys() != self.server.evictions;
        let identities = now.identities();
        if identities != self.server.identities {
            // It has been somebody's replica meanwhile, and taken over that one's data.
            self.server.identities = identities;
            self.another_history = true;
            return Ok(Some(Loss::History));
        }
        Ok(evicted.then_some(Loss::Eviction))
    }

    /// Writes back what was forgotten, takes out the rest.
    async fn keep_or_drop(
        &mut self,
        link: &mut Link,
        missing: Vec<Missing>,
        forgotten: bool,
    ) -> RedisResult<()> {
        for batch in missing.chunks(BATCH) {
            if forgotten {
                let restored = restore(&self.view, &*self.clock, link, batch).await?;
                self.metrics.restored.inc_by(restored.written);
                self.owing |= restored.refused;
            } else {
                for (hash, ..) in batch {
                    self.view.remove(*hash);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use prometheus::Registry;

    use super::super::super::key::{KeyKind, RevocationKey};
    use super::super::reconcile::Server;
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
        let lookups = crate::revocation::Lookups::default();
        let mut reconciliation =
            Reconciliation::new(view, clock, metrics, Deletions::Honour, lookups, server);
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
