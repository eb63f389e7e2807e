//! Bringing the view in line with the table: what was told and what was read.
//!
//! Only what makes the view stronger, or is new to it, is taken over at once. What would weaken it is put down as
//! must_reread and read again, so that a late message, or one that somebody else has sent (PostgreSQL lets every user of
//! the database notify), never takes a revocation back.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::metrics::FeedMetrics;

use super::super::clock_offset;
use super::super::registry::is_registration;
use super::super::view::{Change, KeyHash, View};
use super::row::{Entry, Told};

/// By how much clocks may differ: a revocation that ends within it is left to end by itself.
const EXPIRY_SLACK: Duration = Duration::from_secs(60);

/// The view, and what is to be read again for it.
pub(super) struct Mirror {
    pub view: Arc<View>,
    clock: Arc<dyn Clock>,
    metrics: FeedMetrics,
    must_reread: HashSet<KeyHash>,
    /// Whether everything is gone, so that everything has to be read again.
    emptied: bool,
}

impl Mirror {
    pub(super) fn new(view: Arc<View>, clock: Arc<dyn Clock>, metrics: FeedMetrics) -> Self {
        Self {
            view,
            clock,
            metrics,
            must_reread: HashSet::new(),
            emptied: false,
        }
    }

    /// Hears what the clock of the server says.
    pub(super) fn compare_clocks(&self, theirs: Timestamp) {
        clock_offset::notice(&self.metrics, theirs, self.clock.now());
    }

    /// Acts on a message.
    pub(super) fn hear(&mut self, told: Told) {
        self.metrics.pushes.inc();
        match told {
            Told::Put(entry, revoked_at) => {
                self.metrics.propagation(self.clock.now().since(revoked_at));
                // Of an allow-list it is the entry that weakens: nobody is let in on the word of a message.
                if is_registration(entry.hash) {
                    self.must_reread.insert(entry.hash);
                } else {
                    self.take(entry);
                }
            }
            Told::Gone(hash) => {
                if self.view.entry(hash).is_some() {
                    self.must_reread.insert(hash);
                }
            }
            Told::All => self.emptied = true,
        }
    }

    /// Takes over what was read or told, unless the view says more.
    pub(super) fn take(&mut self, entry: Entry) {
        let Entry {
            hash,
            cutoff,
            expires_at,
        } = entry;
        match self.view.entry(hash) {
            Some(held) if held.cutoff > cutoff || held.expires_at > expires_at => {
                self.must_reread.insert(hash);
            }
            // Late, and swept already.
            None if !self.is_live(&entry) => {}
            _ => {
                self.view.put(hash, entry.held());
            }
        }
    }

    /// Takes over what was read, if the view says the same; else it is to be read again.
    pub(super) fn compare(&mut self, entry: Entry) {
        if self.view.entry(entry.hash) == Some(entry.held()) {
            self.view.put(entry.hash, entry.held());
        } else {
            self.must_reread.insert(entry.hash);
        }
    }

    /// Takes over the present state of these keys: `found` is all that there is. Tells how much that changed.
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

    /// Whether an entry stands by our clock.
    pub(super) fn is_live(&self, entry: &Entry) -> bool {
        self.clock.now() < entry.expires_at
    }

    /// How many keys are to be read again.
    pub(super) fn doubts(&self) -> usize {
        self.must_reread.len()
    }

    /// The keys that are to be read again.
    pub(super) fn take_doubtful(&mut self) -> Vec<KeyHash> {
        self.must_reread.drain().collect()
    }

    /// Whether everything has to be read again, asked once.
    pub(super) fn take_emptied(&mut self) -> bool {
        std::mem::take(&mut self.emptied)
    }

    /// Everything has been read: what has not been met is to be read again too. Of what lets somebody in also what ends
    /// soon.
    pub(super) fn doubt_unseen(&mut self) {
        let now = self.clock.now();
        let soon = now.plus(EXPIRY_SLACK);
        for (hash, held) in self.view.unseen(now) {
            if soon < held.expires_at || is_registration(hash) {
                self.must_reread.insert(hash);
            }
        }
    }

    /// A comparison has changed so much.
    pub(super) fn healed(&self, changes: u64) {
        if changes > 0 {
            self.metrics.healed.inc_by(changes);
            tracing::warn!(
                entries = changes,
                "a comparison with PostgreSQL found what no notification had told of"
            );
        }
    }
}
