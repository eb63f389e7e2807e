//! The view: an exact copy of the live revocations in this process' memory, which checks read.
//!
//! An entry is a 128-bit hash of the store key, a cutoff and an expiry: 32 bytes, at most 60 with the room that an
//! open-addressing table needs. Readers take no lock and never wait: see `table.rs`. Expiry is judged by the reader,
//! so an expired entry is gone at once, whenever it is swept.
//!
//! The view also knows how old it is. A store with one writer, this process, updates it before it acknowledges a
//! revocation: such a view is always fresh. A feed that follows a shared store says as of when it is (see
//! [`View::set_fresh_as_of`]).

mod feed;
mod freshness;
mod ledger;
mod sync;
mod table;

use std::sync::PoisonError;

use crate::clock::Timestamp;

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

/// How many kinds of keys can be told apart in a view.
const KINDS: usize = 16;
/// So many that a writer seldom rebuilds much at once, and a rebuilt part is small beside the whole.
/// Two are enough for a model checker.
const SHARDS: usize = if cfg!(any(loom, shuttle)) { 2 } else { 256 };

/// 128 bits that stand for a store key: of its SHA-256, with the kind of the key in four of them, so that no check
/// has to look for kinds of which there is nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct KeyHash {
    high: u64,
    low: u64,
}

impl KeyHash {
    /// From a cryptographic digest; `kind` is 1 to 15.
    pub(super) fn new(digest: u128, kind: u8) -> Self {
        let [low, high] = halves(digest);
        Self {
            high: (high & !15) | u64::from(kind & 15),
            low,
        }
    }

    /// From a SHA-256.
    pub(super) fn of_digest(digest: &[u8; 32], kind: u8) -> Self {
        let mut head = [0; 16];
        head.copy_from_slice(&digest[..16]);
        Self::new(u128::from_le_bytes(head), kind)
    }

    /// The first bytes of the digest, as far as no kind has been written over them.
    pub(super) fn head(self) -> [u8; 8] {
        self.low.to_le_bytes()
    }

    /// From what [`KeyHash::to_u128`] gave; `None` for what no key hashes to.
    pub(super) fn from_u128(bits: u128) -> Option<Self> {
        let [low, high] = halves(bits);
        let hash = Self { high, low };
        (hash.kind() != 0).then_some(hash)
    }

    /// All bits.
    pub(super) fn to_u128(self) -> u128 {
        (u128::from(self.high) << 64) | u128::from(self.low)
    }

    pub(super) fn kind(self) -> usize {
        usize::from(self.high.to_le_bytes()[0] & 15)
    }

    fn shard(self) -> usize {
        usize::from(self.low.to_le_bytes()[0]) % SHARDS
    }
}

fn halves(bits: u128) -> [u64; 2] {
    let bytes = bits.to_le_bytes();
    let half = |at: usize| {
        let mut half = [0; 8];
        half.copy_from_slice(&bytes[at..at + 8]);
        u64::from_le_bytes(half)
    };
    [half(0), half(8)]
}

/// What a change to the view changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The entry was not there.
    Added,
    /// It was there with another cutoff or expiry.
    Altered,
    /// It was there just so.
    None,
}

/// The in-memory copy.
///
/// [`View::default`] is empty and says that it was never complete: for a store that others write too, whose feed fills
/// it. [`View::always_fresh`] is for a store that only this process writes.
#[derive(Debug)]
pub struct View {
    shards: Box<[Shard]>,
    /// Entries by kind, the expired that have not been swept among them.
    present: [AtomicUsize; KINDS],
    freshness: Freshness,
    /// The present round of comparing with the store: what is put in is marked as seen in it.
    round: AtomicU16,
}

#[derive(Debug, Default)]
struct Shard {
    table: Table,
    /// Held while the table is changed. Readers do not know it.
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
    /// An empty view that is exact at every moment: for a store with one writer, this process, which changes the view
    /// ([`View::record`], [`View::forget`]) before it acknowledges what it was asked to do.
    pub fn always_fresh() -> Self {
        Self {
            freshness: Freshness::always(),
            ..Self::default()
        }
    }

    /// Puts a revocation in, in place of what stood under its key. For those who know what stands in the store: its only
    /// writer, or the feed.
    pub fn record(&self, revocation: &Revocation) {
        self.put(revocation.key.hash(), Held::of(revocation));
    }

    /// Puts a registered token in.
    pub fn register(&self, key: &RegistrationKey, expires_at: Timestamp) {
        self.put(key.hash(), Held::allowing(expires_at));
    }

    /// Takes out what stands under a key. Tells whether there was something.
    pub fn forget(&self, key: &RevocationKey) -> bool {
        self.remove(key.hash())
    }

    /// The cutoff under `key`, if a revocation stands there at `now`.
    pub(super) fn find(&self, key: KeyHash, now: Timestamp) -> Option<Cutoff> {
        if self.present[key.kind()].load(Ordering::Acquire) == 0 {
            return None;
        }
        let entry = self.shards[key.shard()].table.find(key)?;
        (now < entry.expires_at).then_some(entry.cutoff)
    }

    /// The cutoff of the revocation that stands under a store key at `now`, if there is one.
    pub fn lookup(&self, key: &RevocationKey, now: Timestamp) -> Option<Cutoff> {
        self.find(key.hash(), now)
    }

    /// What is held under `key`, live or expired.
    pub(super) fn entry(&self, key: KeyHash) -> Option<Held> {
        let shard = &self.shards[key.shard()];
        let ledger = shard.lock();
        shard.held(&ledger, key)
    }

    /// All that is known of `key`, whatever has expired of it.
    pub(super) fn state(&self, key: KeyHash) -> KeyState {
        let shard = &self.shards[key.shard()];
        let ledger = shard.lock();
        let unrevoked = ledger.unrevoked(key);
        match shard.held(&ledger, key) {
            Some(held) => KeyState::revoked(held, unrevoked.version),
            None => KeyState::unrevoked(unrevoked.version, unrevoked.expires_at),
        }
    }

    /// The latest un-revocation of `key` that is known.
    pub(super) fn unrevoked(&self, key: KeyHash) -> Version {
        self.shards[key.shard()].lock().unrevoked(key).version
    }

    /// Puts an entry in, in place of what was there.
    pub(super) fn put(&self, key: KeyHash, held: Held) -> Change {
        let shard = &self.shards[key.shard()];
        let mut ledger = shard.lock();
        self.write(shard, &mut ledger, key, held)
    }

    /// Puts an entry in, or makes the one that is there stronger, never weaker.
    pub(super) fn strengthen(&self, key: KeyHash, held: Held) -> Change {
        let shard = &self.shards[key.shard()];
        let mut ledger = shard.lock();
        let stronger = match shard.held(&ledger, key) {
            Some(old) => old.strengthened_by(held),
            None => held,
        };
        self.write(shard, &mut ledger, key, stronger)
    }

    /// Hears of an un-revocation, which counts as seen in this round. It takes out what was stated before it.
    pub(super) fn unrevoke(&self, key: KeyHash, version: Version, until: Timestamp) {
        let shard = &self.shards[key.shard()];
        let mut ledger = shard.lock();
        ledger.unrevoke(key, version, until, self.round.load(Ordering::Acquire));
        let latest = ledger.unrevoked(key).version;
        if let Some(held) = shard.held(&ledger, key)
            && held.is_taken_back_by(latest)
        {
            self.take_out(shard, &mut ledger, key);
        }
    }

    /// Hears of an un-revocation that stands beside the key, under a restored name. It takes out what was stated before it, unless that
    /// was seen in this round: then it may stand without a version, and so count after the un-revocation. Tells whether that is
    /// so, and the key itself has to be read again.
    pub(super) fn unrevoke_restored(
        &self,
        key: KeyHash,
        version: Version,
        until: Timestamp,
    ) -> bool {
        let shard = &self.shards[key.shard()];
        let mut ledger = shard.lock();
        let round = self.round.load(Ordering::Acquire);
        ledger.unrevoke(key, version, until, round);
        let latest = ledger.unrevoked(key).version;
        let Some(entry) = shard.table.find(key) else {
            return false;
        };
        if !ledger.complete(key, entry).is_taken_back_by(latest) {
            return false;
        }
        if entry.round == round {
            return true;
        }
        self.take_out(shard, &mut ledger, key);
        false
    }

    /// Takes an entry out. Tells whether it was there.
    pub(super) fn remove(&self, key: KeyHash) -> bool {
        let shard = &self.shards[key.shard()];
        let mut ledger = shard.lock();
        self.take_out(shard, &mut ledger, key)
    }

    /// Puts `now` in place of what is held under a key, or takes it out, if it is still what was `held`.
    pub(super) fn settle(&self, key: KeyHash, held: Held, now: Option<Held>) {
        let shard = &self.shards[key.shard()];
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
            cutoff: held.cutoff,
            version: held.version,
            expires_at: held.expires_at,
            round: self.round.load(Ordering::Acquire),
        };
        let old = shard.table.find(key);
        if old.is_none() {
            // Before the entry can be found, so that no reader passes over a kind that has one.
            self.present[key.kind()].fetch_add(1, Ordering::AcqRel);
        }
        shard.table.put(key, entry);
        ledger.note_version(key, held);
        match old {
            None => Change::Added,
            Some(old) if old.says_as(&entry) => Change::None,
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

    /// Sweeps what has expired. Tells how many entries went.
    pub fn prune(&self, now: Timestamp) -> usize {
        for shard in &self.shards {
            shard.lock().prune(now);
        }
        self.retain(|entry| now < entry.expires_at)
    }

    /// Takes out every entry that is not to be kept. Tells how many went.
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
        // Only now that they cannot be found: a reader that passes over a kind would find an entry of it again that is still there
        // when the next is put in.
        for (present, gone) in self.present.iter().zip(gone) {
            present.fetch_sub(gone, Ordering::AcqRel);
        }
        gone.into_iter().sum()
    }

    /// How many entries are held, the expired that have not been swept among them.
    pub fn len(&self) -> usize {
        self.present.iter().map(|n| n.load(Ordering::Relaxed)).sum()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it is exact at every moment: see [`View::always_fresh`].
    pub fn is_always_fresh(&self) -> bool {
        self.freshness.is_always()
    }

    /// The memory that the entries take, in bytes.
    pub fn bytes(&self) -> usize {
        let bytes = |shard: &Shard| shard.table.bytes() + shard.lock().bytes();
        self.shards.iter().map(bytes).sum()
    }
}

impl Shard {
    fn lock(&self) -> MutexGuard<'_, Ledger> {
        // A panic can only come from running out of memory while a new table is made; the old one is whole then.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self, ledger: &Ledger, key: KeyHash) -> Option<Held> {
        let entry = self.table.find(key)?;
        Some(ledger.complete(key, entry))
    }
}

#[cfg(test)]
mod tests;
