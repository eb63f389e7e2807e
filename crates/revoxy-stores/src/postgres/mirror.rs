//! Keeps the view in line with the table, from notifications and from rows that are read.
//!
//! Only an entry that strengthens the view, or is new to it, is taken over at once. If an entry or a deletion would
//! weaken the view, the key is marked as doubtful, and its row is read again. So a late message, or a message that
//! another user has sent (PostgreSQL lets every user of the database notify), never takes a revocation back.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::metrics::FeedMetrics;

use super::super::feed::clock_offset;
use super::super::hash::KeyHash;
use super::super::registry::is_registration;
use super::super::view::{Change, View};
use super::row::{Entry, TriggerMessage};

/// The tolerance for clock differences: a revocation that expires within it is left to expire.
const EXPIRY_SLACK: Duration = Duration::from_secs(60);

/// The view, and what must be read again for it.
pub(super) struct Mirror {
    pub view: Arc<View>,
    clock: Arc<dyn Clock>,
    metrics: Arc<dyn FeedMetrics>,
    /// The keys that must be read again.
    doubtful: HashSet<KeyHash>,
    /// Whether a message reported that all rows are gone, so that everything must be read again.
    emptied: bool,
}

impl Mirror {
    pub(super) fn new(
        view: Arc<View>,
        clock: Arc<dyn Clock>,
        metrics: Arc<dyn FeedMetrics>,
    ) -> Self {
        Self {
            view,
            clock,
            metrics,
            doubtful: HashSet::new(),
            emptied: false,
        }
    }

    /// Compares our clock with the server's, and reports the difference.
    pub(super) fn compare_clocks(&self, theirs: Timestamp) {
        clock_offset::notice(&*self.metrics, theirs, self.clock.now());
    }

    /// Acts on a message.
    pub(super) fn apply(&mut self, message: TriggerMessage) {
        self.metrics.pushed(1);
        match message {
            TriggerMessage::Put(entry, revoked_at) => {
                self.metrics.propagated(self.clock.now().since(revoked_at));
                // On an allow-list, an added entry weakens: a message alone must not let anyone in.
                if is_registration(entry.hash) {
                    self.doubtful.insert(entry.hash);
                } else {
                    self.take(entry);
                }
            }
            TriggerMessage::Gone(hash) => {
                if self.view.entry(hash).is_some() {
                    self.doubtful.insert(hash);
                }
            }
            TriggerMessage::All => self.emptied = true,
        }
    }

    /// Takes over an entry that was read or notified, unless the view holds a stronger one.
    pub(super) fn take(&mut self, entry: Entry) {
        let Entry {
            hash,
            effect,
            expires_at,
        } = entry;
        match self.view.entry(hash) {
            Some(held) if held.effect > effect || held.expires_at > expires_at => {
                self.doubtful.insert(hash);
            }
            // The message is late: the entry has expired and was already removed.
            None if !self.is_live(&entry) => {}
            _ => {
                self.view.put(hash, entry.held());
            }
        }
    }

    /// Marks an entry as seen if the view holds the same; otherwise it must be read again.
    pub(super) fn compare(&mut self, entry: Entry) {
        if self.view.entry(entry.hash) == Some(entry.held()) {
            self.view.put(entry.hash, entry.held());
        } else {
            self.doubtful.insert(entry.hash);
        }
    }

    /// Takes over the current state of these keys: `found` are the rows that exist; the other keys have no row.
    /// Returns the number of changes.
    pub(super) fn settle(&self, keys: &[KeyHash], found: &[Entry]) -> u64 {
        let mut changes = 0;
        let mut there = HashSet::with_capacity(found.len());
        for entry in found {
            there.insert(entry.hash);
            let change = self.view.put(entry.hash, entry.held());
            changes += u64::from(change != Change::None);
        }
        for key in keys.iter().filter(|key| !there.contains(key)) {
            changes += u64::from(self.view.remove(*key));
        }
        changes
    }

    /// Returns whether an entry is live by our clock.
    pub(super) fn is_live(&self, entry: &Entry) -> bool {
        self.clock.now() < entry.expires_at
    }

    /// Returns how many keys must be read again.
    pub(super) fn count_to_reread(&self) -> usize {
        self.doubtful.len()
    }

    /// Takes the keys that must be read again.
    pub(super) fn take_to_reread(&mut self) -> Vec<KeyHash> {
        self.doubtful.drain().collect()
    }

    /// Returns whether everything must be read again, and resets that.
    pub(super) fn take_emptied(&mut self) -> bool {
        std::mem::take(&mut self.emptied)
    }

    /// Marks the entries that were not seen as doubtful, after everything has been read. Entries that are about
    /// to expire are left out, except registrations, which grant access.
    pub(super) fn mark_unseen_for_reread(&mut self) {
        let now = self.clock.now();
        let soon = now.plus(EXPIRY_SLACK);
        for (hash, held) in self.view.unseen(now) {
            if soon < held.expires_at || is_registration(hash) {
                self.doubtful.insert(hash);
            }
        }
    }

    /// Records how much a comparison has changed.
    pub(super) fn healed(&self, changes: u64) {
        if changes > 0 {
            self.metrics.healed(changes);
            tracing::warn!(
                entries = changes,
                "a comparison with PostgreSQL found changes of which no notification had arrived"
            );
        }
    }
}
