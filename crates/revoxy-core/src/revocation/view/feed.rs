//! The view's interface for a feed: what the feed has seen in the store, and as of when the view is complete.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::clock::{Moment, Timestamp};

use super::super::state::{Held, KeyState};
use super::super::statement::Revocation;
use super::{KeyHash, View};

impl View {
    /// Begins a round of comparison with the store: existing entries count as unseen from now on. Entries
    /// that are recorded count as seen.
    pub fn begin_round(&self) {
        self.round.fetch_add(1, Ordering::AcqRel);
    }

    /// Ends a round: removes entries that were not [recorded](View::record) since the round began, because
    /// the store no longer has them. Returns how many were removed. A view has one feed, and so one round at
    /// a time.
    pub fn forget_unseen(&self) -> usize {
        let round = self.round.load(Ordering::Acquire);
        self.retain(|entry| entry.round == round)
    }

    /// Makes the entry under the revocation's key at least as strong as this revocation. For a store that has
    /// just recorded the revocation and whose feed has not delivered it yet: to [record](View::record) it
    /// here could weaken what others have stated since.
    pub fn record_at_least(&self, revocation: &Revocation) {
        self.strengthen(revocation.key.hash(), Held::of(revocation));
    }

    /// Returns the live entries that have not been seen since the round began.
    pub fn unseen(&self, now: Timestamp) -> Vec<(KeyHash, Held)> {
        let round = self.round.load(Ordering::Acquire);
        let mut unseen = Vec::new();
        for shard in &self.shards {
            let ledger = shard.lock();
            shard.table.for_each(|key, entry| {
                if entry.round != round && now < entry.expires_at {
                    unseen.push((key, ledger.complete(key, entry)));
                }
            });
        }
        unseen
    }

    /// Returns the live un-revocations that have not been seen since the round began.
    pub fn unseen_unrevocations(&self, now: Timestamp) -> Vec<(KeyHash, KeyState)> {
        let round = self.round.load(Ordering::Acquire);
        let mut unseen = Vec::new();
        for shard in &self.shards {
            let ledger = shard.lock();
            let states = ledger.unseen(now, round);
            unseen
                .extend(states.map(|(key, u)| (key, KeyState::unrevoked(u.version, u.expires_at))));
        }
        unseen
    }

    /// Declares that the view contains every revocation that the store acknowledged before `at`. The moment
    /// only ever moves forward; the view ages until this is called again.
    ///
    /// # A feed
    ///
    /// A store that other processes also write keeps its view current with a loop like this one, in a task of
    /// its own. The declaration is true because the feed subscribes before it reads, and takes the time
    /// before it sends the ping.
    ///
    /// ```
    /// use revoxy_core::clock::Moment;
    /// use revoxy_core::revocation::{Revocation, RevocationKey, StoreError, View};
    ///
    /// enum Change { Stands(Revocation), Gone(RevocationKey) }
    ///
    /// trait Connection {
    ///     /// Subscribes: from now on the store delivers every change.
    ///     fn listen(&mut self) -> Result<(), StoreError>;
    ///     /// Reads all live revocations.
    ///     fn read(&mut self) -> Result<Vec<Revocation>, StoreError>;
    ///     /// Requests an answer that arrives after every change that was acknowledged before the request.
    ///     fn ping(&mut self) -> Result<(), StoreError>;
    ///     /// Returns the next change, in order; `None` is the answer to the ping.
    ///     fn next(&mut self) -> Result<Option<Change>, StoreError>;
    /// }
    ///
    /// /// Follows a new connection until it breaks. Then the view keeps its contents, and ages.
    /// fn follow(mut feed: impl Connection, view: &View) -> Result<(), StoreError> {
    ///     feed.listen()?;
    ///     view.begin_round();
    ///     for revocation in feed.read()? {
    ///         view.record(&revocation);
    ///     }
    ///     view.forget_unseen();
    ///     // Several times per `max_staleness`.
    ///     loop {
    ///         let asked_at = Moment::now();
    ///         feed.ping()?;
    ///         while let Some(change) = feed.next()? {
    ///             match change {
    ///                 Change::Stands(revocation) => view.record(&revocation),
    ///                 Change::Gone(key) => { view.forget(&key); }
    ///             }
    ///         }
    ///         view.set_fresh_as_of(asked_at);
    /// #       break Ok(());
    ///     }
    /// }
    /// # struct One(bool);
    /// # impl Connection for One {
    /// #     fn listen(&mut self) -> Result<(), StoreError> { Ok(()) }
    /// #     fn read(&mut self) -> Result<Vec<Revocation>, StoreError> { Ok(Vec::new()) }
    /// #     fn ping(&mut self) -> Result<(), StoreError> { Ok(()) }
    /// #     fn next(&mut self) -> Result<Option<Change>, StoreError> {
    /// #         let key = RevocationKey::new(revoxy_core::revocation::KeyKind::TokenId, "shop", "1");
    /// #         Ok(std::mem::replace(&mut self.0, false).then_some(Change::Gone(key)))
    /// #     }
    /// # }
    ///
    /// let view = View::default();
    /// assert_eq!(view.age(Moment::now()), None);
    /// # let connection = One(true);
    /// follow(connection, &view)?;
    /// assert!(view.age(Moment::now()).is_some());
    /// # Ok::<(), StoreError>(())
    /// ```
    pub fn set_fresh_as_of(&self, at: Moment) {
        self.freshness.set(at);
    }

    /// Returns how long ago the view is known to have been complete; `None` if it never was.
    ///
    /// A reader must read the age before it looks up its keys. In the other order, the view could be updated
    /// between the two steps, and a lookup that missed an entry would count as fresh.
    pub fn age(&self, now: Moment) -> Option<Duration> {
        self.freshness.age(now)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::key::{KeyKind, RevocationKey};
    use super::super::super::statement::Cutoff;
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1000);

    fn revocation(value: &str) -> Revocation {
        Revocation {
            key: RevocationKey::new(KeyKind::TokenId, "shop", value),
            cutoff: Cutoff::All,
            expires_at: Timestamp::NEVER,
            reason: None,
            actor: None,
            revoked_at: NOW,
        }
    }

    #[test]
    fn what_was_recorded_here_does_not_weaken_what_the_feed_has_told_since() {
        let view = View::default();
        let mine = Revocation {
            cutoff: Cutoff::IssuedUpTo(NOW),
            ..revocation("a")
        };
        view.record_at_least(&mine);
        assert_eq!(view.lookup(&mine.key, NOW), Some(mine.cutoff));
        view.record(&revocation("a"));
        view.record_at_least(&mine);
        assert_eq!(view.lookup(&mine.key, NOW), Some(Cutoff::All));
    }

    #[test]
    fn what_a_round_does_not_record_is_forgotten_at_its_end() {
        let view = View::default();
        let (kept, gone) = (revocation("kept"), revocation("gone"));
        for entry in [&kept, &gone] {
            view.record(entry);
        }
        view.begin_round();
        view.record(&kept);
        assert_eq!(view.forget_unseen(), 1);
        assert_eq!(view.lookup(&kept.key, NOW), Some(Cutoff::All));
        assert_eq!(view.lookup(&gone.key, NOW), None);
        assert_eq!(view.forget_unseen(), 0);
    }
}
