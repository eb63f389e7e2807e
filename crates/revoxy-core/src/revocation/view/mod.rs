//! The view: an exact copy of the live revocations in this process' memory, which checks read.
//!
//! An entry is a 128-bit hash of the store key, a cutoff and an expiry: 32 bytes, at most 60 including the
//! spare room that an open-addressing table needs. The version of a cutoff takes 29 to 57 bytes more, an
//! un-revocation 47 to 94: see `ledger.rs`. Readers take no lock and never wait: see `table.rs`. Readers
//! judge expiry themselves, so an expired entry has no effect from that moment on, whenever it is pruned.
//!
//! The view also reports its age. A store with one writer, this process, updates the view before it
//! acknowledges a revocation: such a view is always fresh. A feed that follows a shared store declares the
//! moment as of which the view is complete (see [`View::set_fresh_as_of`]).

mod feed;
mod freshness;
mod ledger;
mod sync;
mod table;

use std::sync::PoisonError;

use crate::clock::Timestamp;

use super::effect::Effect;
use super::hash::KeyHash;
use super::key::RevocationKey;
use super::registry::RegistrationKey;
use super::state::{Held, KeyState};
use super::statement::{Cutoff, Revocation};
use super::version::Version;

use freshness::Freshness;
use ledger::Ledger;
use sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use sync::{Mutex, MutexGuard};
use table::{Entry, Table};

/// The number of kinds of keys that a view can distinguish.
const KINDS: usize = 16;
/// Enough shards that a writer rarely rebuilds much at once, and that a rebuilt shard is small compared to
/// the whole. Two are enough for a model checker.
const SHARDS: usize = if cfg!(any(loom, shuttle)) { 2 } else { 256 };

/// Returns the index of the shard that contains a key.
fn shard_of(key: KeyHash) -> usize {
    usize::from(key.head()[0]) % SHARDS
}

/// The effect of a change to the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The entry was not there.
    Added,
    /// The entry was there, with another cutoff or expiry.
    Altered,
    /// The entry was there, and is the same as before.
    None,
}

/// The effect of an un-revocation that is stored under a restored key on the view's entry of the native key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beside {
    /// There is no entry, or the entry was stated later, so it remains.
    Stands,
    /// The entry was stated earlier, and the key has been read in this round: the value that was read may
    /// have had no version.
    Read,
    /// The entry was stated earlier, and the key has not been read in this round.
    NotRead,
}

/// The in-memory copy of the live revocations.
///
/// [`View::default`] is empty and has never been complete: it is for a store that other processes also write,
/// and whose feed fills the view. [`View::always_fresh`] is for a store that only this process writes.
#[derive(Debug)]
pub struct View {
    shards: Box<[Shard]>,
    /// The number of entries of each kind, including expired ones that have not been pruned.
    present: [AtomicUsize; KINDS],
    freshness: Freshness,
    /// The current round of comparison with the store: entries that are put in are marked as seen in this
    /// round.
    round: AtomicU16,
}

#[derive(Debug, Default)]
struct Shard {
    table: Table,
    /// Locked while the table is changed. Readers do not use it.
    ledger: Mutex<Ledger>,
}

impl Default for View {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            present: Default::default(),
            freshness: Freshness::never(),
            round: AtomicU16::new(0),
        }
    }
}

impl View {
    /// Makes an empty view that is exact at every moment, for a store with one writer, this process, which
    /// changes the view ([`View::record`], [`View::forget`]) before it acknowledges a change.
    pub fn always_fresh() -> Self {
        Self {
            freshness: Freshness::always(),
            ..Self::default()
        }
    }

    /// Inserts a revocation, replacing the entry under its key. Only for callers that know what is in the
    /// store: its only writer, or the feed.
    pub fn record(&self, revocation: &Revocation) {
        self.put(revocation.key.hash(), Held::of(revocation));
    }

    /// Inserts a registered token.
    pub fn register(&self, key: &RegistrationKey, expires_at: Timestamp) {
        self.put(key.hash(), Held::admitting(expires_at));
    }

    /// Removes the entry under a key. Returns whether there was one.
    pub fn forget(&self, key: &RevocationKey) -> bool {
        self.remove(key.hash())
    }

    /// Returns the effect of the entry that is live under `key` at `now`, if there is one.
    pub fn find(&self, key: KeyHash, now: Timestamp) -> Option<Effect> {
        if self.present[key.kind()].load(Ordering::Acquire) == 0 {
            return None;
        }
        let entry = self.shards[shard_of(key)].table.find(key)?;
        (now < entry.expires_at).then_some(entry.effect)
    }

    /// Returns the cutoff of the revocation that is live under a store key at `now`, if there is one.
    pub fn lookup(&self, key: &RevocationKey, now: Timestamp) -> Option<Cutoff> {
        self.find(key.hash(), now)?.cutoff()
    }

    /// Returns the entry under `key`, live or expired.
    pub fn entry(&self, key: KeyHash) -> Option<Held> {
        let shard = &self.shards[shard_of(key)];
        let ledger = shard.lock();
        shard.held(&ledger, key)
    }

    /// Returns everything that is known about `key`, live or expired.
    pub fn state(&self, key: KeyHash) -> KeyState {
        let shard = &self.shards[shard_of(key)];
        let ledger = shard.lock();
        let unrevoked = ledger.unrevoked(key);
        match shard.held(&ledger, key) {
            Some(held) => KeyState::revoked(held, unrevoked.version),
            None => KeyState::unrevoked(unrevoked.version, unrevoked.expires_at),
        }
    }

    /// Returns the version of the latest known un-revocation of `key`.
    pub fn unrevoked(&self, key: KeyHash) -> Version {
        self.shards[shard_of(key)].lock().unrevoked(key).version
    }

    /// Inserts an entry, replacing the one under the same key.
    pub fn put(&self, key: KeyHash, held: Held) -> Change {
        let shard = &self.shards[shard_of(key)];
        let mut ledger = shard.lock();
        self.write(shard, &mut ledger, key, held)
    }

    /// Inserts an entry, or strengthens the existing one; never weakens it.
    pub fn strengthen(&self, key: KeyHash, held: Held) -> Change {
        let shard = &self.shards[shard_of(key)];
        let mut ledger = shard.lock();
        let stronger = match shard.held(&ledger, key) {
            Some(old) => old.strengthened_by(held),
            None => held,
        };
        self.write(shard, &mut ledger, key, stronger)
    }

    /// Records an un-revocation, which counts as seen in this round. It removes what was stated before it.
    pub fn unrevoke(&self, key: KeyHash, version: Version, until: Timestamp) {
        let shard = &self.shards[shard_of(key)];
        let mut ledger = shard.lock();
        ledger.unrevoke(key, version, until, self.round.load(Ordering::Acquire));
        let latest = ledger.unrevoked(key).version;
        if let Some(held) = shard.held(&ledger, key)
            && held.is_taken_back_by(latest)
        {
            self.take_out(shard, &mut ledger, key);
        }
    }

    /// Records an un-revocation that is stored under the restored key, beside the native key, and removes
    /// nothing: the native key may hold a revocation without a version, which counts as later than the
    /// un-revocation. Returns the effect of the un-revocation on the view's entry.
    pub fn unrevoke_restored(&self, key: KeyHash, version: Version, until: Timestamp) -> Beside {
        let shard = &self.shards[shard_of(key)];
        let mut ledger = shard.lock();
        let round = self.round.load(Ordering::Acquire);
        ledger.unrevoke(key, version, until, round);
        let latest = ledger.unrevoked(key).version;
        match shard.table.find(key) {
            Some(entry) if ledger.complete(key, entry).is_taken_back_by(latest) => {
                match entry.round == round {
                    true => Beside::Read,
                    false => Beside::NotRead,
                }
            }
            _ => Beside::Stands,
        }
    }

    /// Removes an entry. Returns whether it was there.
    pub fn remove(&self, key: KeyHash) -> bool {
        let shard = &self.shards[shard_of(key)];
        let mut ledger = shard.lock();
        self.take_out(shard, &mut ledger, key)
    }

    /// If the entry under a key is still `held`, replaces it by `now`, or removes it if `now` is `None`.
    pub fn settle(&self, key: KeyHash, held: Held, now: Option<Held>) {
        let shard = &self.shards[shard_of(key)];
        let mut ledger = shard.lock();
        if shard.held(&ledger, key) != Some(held) {
            return;
        }
        match now {
            Some(now) => drop(self.write(shard, &mut ledger, key, now)),
            None => drop(self.take_out(shard, &mut ledger, key)),
        }
    }

    fn write(&self, shard: &Shard, ledger: &mut Ledger, key: KeyHash, held: Held) -> Change {
        let entry = Entry {
            effect: held.effect,
            version: held.version,
            expires_at: held.expires_at,
            round: self.round.load(Ordering::Acquire),
        };
        let old = shard.table.find(key);
        if old.is_none() {
            // Counted before the entry can be found, so that no reader skips a kind that has an entry.
            self.present[key.kind()].fetch_add(1, Ordering::AcqRel);
        }
        shard.table.put(key, entry);
        ledger.note_version(key, held);
        match old {
            None => Change::Added,
            Some(old) if old.means_same_as(&entry) => Change::None,
            Some(_) => Change::Altered,
        }
    }

    fn take_out(&self, shard: &Shard, ledger: &mut Ledger, key: KeyHash) -> bool {
        let removed = shard.table.remove(key);
        if removed {
            self.present[key.kind()].fetch_sub(1, Ordering::AcqRel);
            ledger.forget_version(key);
        }
        removed
    }

    /// Removes expired entries. Returns how many.
    pub fn prune(&self, now: Timestamp) -> usize {
        for shard in &self.shards {
            shard.lock().prune(now);
        }
        self.retain(|entry| now < entry.expires_at)
    }

    /// Removes every entry for which `keep` returns `false`. Returns how many.
    fn retain(&self, keep: impl Fn(Entry) -> bool) -> usize {
        let mut gone = [0; KINDS];
        for shard in &self.shards {
            let mut ledger = shard.lock();
            shard.table.retain(|key, entry| {
                let kept = keep(entry);
                if !kept {
                    gone[key.kind()] += 1;
                    ledger.forget_version(key);
                }
                kept
            });
        }
        // Counted only after the entries can no longer be found. Otherwise a reader that skips a kind would
        // find such a leftover entry as soon as another entry of the kind is added.
        for (present, gone) in self.present.iter().zip(gone) {
            present.fetch_sub(gone, Ordering::AcqRel);
        }
        gone.into_iter().sum()
    }

    /// Returns the number of entries, including expired ones that have not been pruned.
    pub fn len(&self) -> usize {
        self.present.iter().map(|n| n.load(Ordering::Relaxed)).sum()
    }

    /// Returns whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns whether the view is exact at every moment: see [`View::always_fresh`].
    pub fn is_always_fresh(&self) -> bool {
        self.freshness.is_always()
    }

    /// Returns the memory that the entries take, in bytes.
    pub fn bytes(&self) -> usize {
        let bytes = |shard: &Shard| shard.table.bytes() + shard.lock().bytes();
        self.shards.iter().map(bytes).sum()
    }
}

impl Shard {
    fn lock(&self) -> MutexGuard<'_, Ledger> {
        // A panic can only come from running out of memory while a new table is made; the old table is then
        // still intact.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self, ledger: &Ledger, key: KeyHash) -> Option<Held> {
        let entry = self.table.find(key)?;
        Some(ledger.complete(key, entry))
    }
}

#[cfg(test)]
mod tests;
