//! An open-addressing hash table with one writer at a time and readers that never wait.
//!
//! A slot is four atomic words. A writer fills the last three and then publishes the first. A slot's key
//! never changes afterwards, so a reader that has found its key reads words that belong to the key. Removing
//! an entry marks its slot as dead. Dead slots are not reused; they are dropped when the table is rebuilt.
//! Readers reach the rebuilt table through an atomic pointer; readers that are still in the old table finish
//! there.
//!
//! The two words of an entry are changed one after the other, the cutoff first, and read in the reverse
//! order. So a reader may see the new cutoff with the old expiry, which is never weaker than both states, and
//! no longer happens once the change has returned. A reader never sees the old cutoff with the new expiry.

use std::sync::Arc;

use crate::clock::Timestamp;

use super::super::effect::Effect;
use super::super::statement::Cutoff;
use super::super::version::Version;
use super::KeyHash;
use super::sync::ArcSwap;
use super::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};

/// What is stored under a key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub effect: Effect,
    /// The version of a revocation of every token. There is no room here for the version of a cutoff: see
    /// `Ledger`.
    pub version: Version,
    pub expires_at: Timestamp,
    /// The round of comparison in which it was last seen.
    pub round: u16,
}

impl Entry {
    /// Returns whether both entries mean the same for every token.
    pub(super) fn means_same_as(&self, other: &Self) -> bool {
        self.effect == other.effect && self.expires_at == other.expires_at
    }
}

#[derive(Debug, Default)]
struct Slot {
    /// Published last; 0 means empty. It is never 0 for a key, whose kind is in the lowest bits.
    high: AtomicU64,
    low: AtomicU64,
    /// A cutoff in milliseconds; or, far below all cutoffs, "every token" plus the version; or "no token".
    cutoff: AtomicI64,
    /// The expiry in milliseconds in the upper 48 bits, the round in the lower 16. 0 means dead.
    life: AtomicU64,
}

const ADMITS: i64 = i64::MIN;
/// Every token is revoked; the version is added to this number.
const ALL: i64 = i64::MIN + 1;
/// The lowest cutoff: above every version.
const FIRST_CUTOFF: i64 = i64::MIN / 2;
const DEAD: u64 = 0;
const MAX_MILLIS: u64 = (1 << 48) - 1;
/// Under a model checker, a table already grows with its third entry, so that a short search covers growth.
const MIN_SLOTS: usize = if cfg!(any(loom, shuttle)) { 3 } else { 16 };

/// The table of one shard.
#[derive(Debug)]
pub(super) struct Table {
    slots: ArcSwap<Box<[Slot]>>,
    /// The number of slots that are not empty, including dead ones. Only the writer accesses `used` and
    /// `live`.
    used: AtomicUsize,
    live: AtomicUsize,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            slots: ArcSwap::from_pointee(Box::default()),
            used: AtomicUsize::new(0),
            live: AtomicUsize::new(0),
        }
    }
}

impl Table {
    pub(super) fn find(&self, key: KeyHash) -> Option<Entry> {
        let slots = self.slots.load();
        slots[slot_of(&slots, key)?].read()
    }

    /// Inserts or replaces an entry. Only for the one writer.
    pub(super) fn put(&self, key: KeyHash, entry: Entry) {
        let slots = self.slots.load_full();
        if let Some(at) = slot_of(&slots, key) {
            if !slots[at].is_live() {
                self.live.fetch_add(1, Ordering::Relaxed);
            }
            slots[at].write(entry);
            return;
        }
        let used = self.used.load(Ordering::Relaxed) + 1;
        // At most four fifths full: probing stays short, and at least one slot stays empty to end it.
        if used * 5 > slots.len() * 4 {
            self.rebuild(&slots, self.live.load(Ordering::Relaxed) + 1);
            publish(&self.slots.load(), key, entry);
            self.used.fetch_add(1, Ordering::Relaxed);
        } else {
            publish(&slots, key, entry);
            self.used.store(used, Ordering::Relaxed);
        }
        self.live.fetch_add(1, Ordering::Relaxed);
    }

    /// Removes an entry. Only for the one writer. Returns whether the entry was there.
    pub(super) fn remove(&self, key: KeyHash) -> bool {
        let slots = self.slots.load();
        let Some(at) = slot_of(&slots, key) else {
            return false;
        };
        let was_live = slots[at].life.swap(DEAD, Ordering::AcqRel) != DEAD;
        if was_live {
            self.live.fetch_sub(1, Ordering::Relaxed);
        }
        was_live
    }

    /// Removes every entry for which `keep` returns `false`, and shrinks a table that is mostly dead. Only
    /// for the one writer.
    pub(super) fn retain(&self, mut keep: impl FnMut(KeyHash, Entry) -> bool) {
        let slots = self.slots.load_full();
        for slot in &**slots {
            if let Some((key, entry)) = slot.content()
                && !keep(key, entry)
            {
                slot.life.store(DEAD, Ordering::Release);
                self.live.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let live = self.live.load(Ordering::Relaxed);
        if slots.len() > MIN_SLOTS && live * 4 < slots.len() {
            self.rebuild(&slots, live);
        }
    }

    pub(super) fn for_each(&self, mut visit: impl FnMut(KeyHash, Entry)) {
        for slot in &**self.slots.load_full() {
            if let Some((key, entry)) = slot.content() {
                visit(key, entry);
            }
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.slots.load().len() * size_of::<Slot>()
    }

    /// Copies the live entries to a new table with room for `entries` and half as many more.
    fn rebuild(&self, old: &[Slot], entries: usize) {
        let capacity = (entries * 15 / 8).max(MIN_SLOTS);
        let new: Box<[Slot]> = (0..capacity).map(|_| Slot::default()).collect();
        let mut live = 0;
        for (key, entry) in old.iter().filter_map(Slot::content) {
            publish(&new, key, entry);
            live += 1;
        }
        self.slots.store(Arc::new(new));
        self.used.store(live, Ordering::Relaxed);
    }
}

/// Returns the slot that contains `key`, live or dead.
fn slot_of(slots: &[Slot], key: KeyHash) -> Option<usize> {
    let mut at = start(slots, key)?;
    loop {
        match slots[at].high.load(Ordering::Acquire) {
            0 => return None,
            high if high == key.high && slots[at].low.load(Ordering::Relaxed) == key.low => {
                return Some(at);
            }
            _ => at = next(slots, at),
        }
    }
}

/// Puts a key that is not in the table into the first empty slot.
fn publish(slots: &[Slot], key: KeyHash, entry: Entry) {
    let Some(mut at) = start(slots, key) else {
        return;
    };
    while slots[at].high.load(Ordering::Relaxed) != 0 {
        at = next(slots, at);
    }
    slots[at].low.store(key.low, Ordering::Relaxed);
    slots[at].write(entry);
    slots[at].high.store(key.high, Ordering::Release);
}

/// Returns the slot at which probing starts. Scales the hash to the table instead of taking a remainder, so
/// that the table may have any length.
fn start(slots: &[Slot], key: KeyHash) -> Option<usize> {
    let scaled = (u128::from(key.high) * slots.len() as u128) >> 64;
    usize::try_from(scaled).ok().filter(|at| *at < slots.len())
}

fn next(slots: &[Slot], at: usize) -> usize {
    if at + 1 == slots.len() { 0 } else { at + 1 }
}

impl Slot {
    fn is_live(&self) -> bool {
        self.life.load(Ordering::Acquire) != DEAD
    }

    fn content(&self) -> Option<(KeyHash, Entry)> {
        let high = self.high.load(Ordering::Acquire);
        if high == 0 {
            return None;
        }
        let key = KeyHash {
            high,
            low: self.low.load(Ordering::Relaxed),
        };
        Some((key, self.read()?))
    }

    fn read(&self) -> Option<Entry> {
        let life = self.life.load(Ordering::Acquire);
        if life == DEAD {
            return None;
        }
        let (effect, version) = match self.cutoff.load(Ordering::Relaxed) {
            ADMITS => (Effect::Admits, Version::NONE),
            all if all < FIRST_CUTOFF => {
                let version = u64::try_from(all - ALL).unwrap_or_default();
                (Effect::REVOKES_ALL, Version::from_bits(version))
            }
            millis => {
                let cutoff = Timestamp::from_millis(millis);
                (Cutoff::IssuedUpTo(cutoff).into(), Version::NONE)
            }
        };
        let expires_at = match life >> 16 {
            MAX_MILLIS => Timestamp::NEVER,
            millis => Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX)),
        };
        let [low, high, ..] = life.to_le_bytes();
        Some(Entry {
            effect,
            version,
            expires_at,
            round: u16::from_le_bytes([low, high]),
        })
    }

    fn write(&self, entry: Entry) {
        let cutoff = match entry.effect {
            Effect::Revokes(Cutoff::All) => {
                let version = i64::try_from(entry.version.bits()).unwrap_or_default();
                ALL.saturating_add(version).min(FIRST_CUTOFF - 1)
            }
            Effect::Admits => ADMITS,
            // Lower instants would be read as "all"; they are millions of years ago.
            Effect::Revokes(Cutoff::IssuedUpTo(at)) => at.millis().max(FIRST_CUTOFF),
        };
        // An entry that expired at the epoch or before must not be read as dead: one millisecond after the
        // epoch is just as expired.
        let millis = u64::try_from(entry.expires_at.millis())
            .unwrap_or(0)
            .clamp(1, MAX_MILLIS);
        self.cutoff.store(cutoff, Ordering::Relaxed);
        self.life
            .store((millis << 16) | u64::from(entry.round), Ordering::Release);
    }
}
