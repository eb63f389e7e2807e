//! Keeps the view in line with the server, by acting on pushes and by reading all keys. `missing_entries.rs`
//! decides what a missing key means.

use std::collections::HashMap;
use std::sync::Arc;

use redis::RedisResult;

use crate::clock::{Clock, Timestamp};
use crate::metrics::FeedMetrics;

use super::super::effect::Effect;
use super::super::hash::KeyHash;
use super::super::lookups::Lookups;
use super::super::options::Deletions;
use super::super::options::FeedSettings;
use super::super::registry::is_of_allow_list;
use super::super::state::{Held, KeyState};
use super::super::version::{Version, VersionClock};
use super::super::view::{Change, View};
use super::feed_end::FeedEnd;
use super::link::Link;
use super::pushes::{Pending, Pushes};
use super::restore::Missing;
use super::restore::is_weaker;
use super::scan::BATCH;
use super::scan::{Batch, Position};
use super::server::Identity;
use super::slot_moves::SlotMoves;
use super::stored::{self, Stored};
use super::stored_key::StoredKey;
use super::suspect::Suspects;

/// The reconciliation of one session.
pub(super) struct Reconciliation {
    pub(super) view: Arc<View>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) versions: Arc<VersionClock>,
    pub(super) metrics: Arc<dyn FeedMetrics>,
    pub(super) deletions: Deletions,
    pub(super) lookups: Lookups,
    suspects: Suspects,
    pub(super) server: FollowedServers,
    scan: Option<Scan>,
    /// Whether the server has refused a write-back. Until everything could be written, what is missing counts
    /// as lost and not as deleted.
    pub(super) refused_restores: bool,
    /// Whether all keys of the server have disappeared at once since everything was last read.
    pub(super) flushed: bool,
    /// Whether the server has evicted entries that the view keeps, since everything was last read.
    pub(super) evicted: bool,
    /// Entries that the server has in a weaker form than the view, to be written back.
    pub(super) lost: Vec<Missing>,
    /// Un-revocations that the server lacks, although it has an earlier statement about the same key; to be
    /// written back.
    pub(super) lost_unrevocations: Vec<(KeyHash, KeyState)>,
    /// When native keys expire that are stored beside a restored key which outlives them. Until then the view
    /// holds the stronger of both.
    pub(super) ends: HashMap<KeyHash, Timestamp>,
    /// Whether an un-revocation was found under a restored key after the native key had been read. A native key
    /// without a version counts as later than the un-revocation, so the native key must be read again. Its name
    /// is not known here, so everything is read again.
    pub(super) must_reread: bool,
    /// The server's data have been replaced by another server's data: reconnect as to a new server.
    pub(super) another_history: bool,
    /// The server has become a replica.
    pub(super) is_replica: bool,
    /// The bookkeeping for keys that can move between servers.
    pub(super) slot_moves: SlotMoves,
}

/// The servers that the feed follows: one server, or the primaries of a cluster.
pub(super) struct FollowedServers {
    pub identities: Vec<Identity>,
    /// The eviction count when the last complete read began. If it differs later, missing keys may have been evicted.
    pub evictions: u64,
    /// Whether this is another server than before and has not yet been read completely: a key that it lacks counts
    /// as lost.
    pub changed: bool,
}

/// A read of all keys that is in progress.
struct Scan {
    position: Position,
    why: Why,
    /// The count of slot moves when this scan began.
    moves: u64,
    /// The server's eviction count when this scan began; queried in the first step.
    evictions: Option<u64>,
    /// Whether a write-back that the server had refused was outstanding when this scan began.
    owed: bool,
}

/// Why everything is being read. It decides what a missing entry means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// The server process is not the process that the view was last complete with: it may have lost its data.
    ServerChanged,
    /// Keys were flushed, or the connection was down: what is missing was deleted.
    CatchingUp,
    /// A periodic comparison: any difference is a change that was not pushed.
    Comparison,
}

impl Reconciliation {
    pub(super) fn new(
        view: Arc<View>,
        clock: Arc<dyn Clock>,
        versions: Arc<VersionClock>,
        metrics: Arc<dyn FeedMetrics>,
        settings: &FeedSettings,
        suspects: Suspects,
        server: FollowedServers,
    ) -> Self {
        Self {
            view,
            clock,
            versions,
            metrics,
            deletions: settings.deletions,
            lookups: settings.lookups.clone(),
            suspects,
            server,
            scan: None,
            refused_restores: false,
            flushed: false,
            evicted: false,
            lost: Vec::new(),
            lost_unrevocations: Vec::new(),
            ends: HashMap::new(),
            must_reread: false,
            another_history: false,
            is_replica: false,
            slot_moves: SlotMoves::default(),
        }
    }

    /// Starts to read everything, or starts over.
    pub(super) fn begin(&mut self) {
        // The unknown keys need no separate retry: all keys are read again before a heartbeat counts.
        self.slot_moves.take_unknown();
        self.start(if self.server.changed {
            Why::ServerChanged
        } else {
            Why::CatchingUp
        });
    }

    /// Starts to read everything in order to compare. Keys that no node could answer for stay queued to be read
    /// again, because a comparison is slow.
    pub(super) fn begin_comparison(&mut self) {
        self.start(Why::Comparison);
    }

    fn start(&mut self, why: Why) {
        self.view.begin_round();
        self.must_reread = false;
        let owed = self.has_refused_restores();
        // A write-back that is refused from now on remains outstanding beyond the end of this scan.
        self.refused_restores = false;
        self.scan = Some(Scan {
            position: Position::default(),
            why,
            moves: self.slot_moves.moves(),
            evictions: None,
            owed,
        });
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.scan.is_some()
    }

    /// Returns whether the server lacks something that it refused to take back.
    pub(super) fn has_refused_restores(&self) -> bool {
        self.refused_restores || self.scan.as_ref().is_some_and(|scan| scan.owed)
    }

    /// Returns why the server must not be followed any longer: it is not a primary any more, or its data have been
    /// replaced by another server's data.
    pub(super) fn unfit(&self) -> Option<FeedEnd> {
        match (self.is_replica, self.another_history) {
            // A replica has its primary's data, or will have them soon, so this covers the other case.
            (true, _) => Some(FeedEnd::NotPrimary),
            (false, true) => Some(FeedEnd::OtherHistory),
            (false, false) => None,
        }
    }

    pub(super) fn evictions(&self) -> u64 {
        self.server.evictions
    }

    /// Reads the next batch. Returns whether everything has been read.
    pub(super) async fn step(&mut self, link: &mut Link, pushes: &Pushes) -> RedisResult<bool> {
        let begins = |scan: &Scan| scan.evictions.is_none();
        if self.scan.as_ref().is_some_and(begins) {
            let servers = link.servers().await?;
            self.note_identity(&servers);
            if let Some(scan) = &mut self.scan {
                scan.evictions = Some(servers.evicted_keys());
            }
        }
        let Some(scan) = &mut self.scan else {
            return Ok(true);
        };
        let why = scan.why;
        let Batch { names, position } = link.scan(&scan.position).await?;
        let through = position.is_none();
        if let Some(position) = position {
            scan.position = position;
        }
        let keys = self.parse(names);
        let stored = self.read(link, &keys).await?;
        // A pending push explains a difference; acting on it reads the key again.
        let pending = pushes.peek_at(keys.iter().map(|(_, key)| key.as_slice()));
        for ((parsed, key), stored) in keys.iter().zip(&stored) {
            if *stored == Stored::Unknown {
                self.slot_moves.not_known(&self.view, key, *parsed);
                continue;
            }
            if let (StoredKey::Unrevoked(hash), Stored::Something(tombstone)) = (parsed, stored)
                && !pending.explains(key)
            {
                self.view
                    .unrevoke(*hash, Version::FIRST, tombstone.expires_at);
            }
            let change = self.show(*parsed, stored, false);
            if why == Why::Comparison && change != Change::None && !pending.explains(key) {
                self.metrics.healed(1);
            }
        }
        self.write_back_lost(link).await?;
        Ok(through)
    }

    /// Judges what is missing, after everything has been read.
    pub(super) async fn finish(&mut self, link: &mut Link, pushes: &Pushes) -> RedisResult<()> {
        let Some(scan) = self.scan.take() else {
            return Ok(());
        };
        self.judge_missing(link, scan.why, scan.owed, &pushes.peek())
            .await?;
        if let Some(evictions) = scan.evictions {
            self.server.evictions = evictions;
        }
        self.server.changed = false;
        self.slot_moves.judged(scan.moves);
        self.flushed = false;
        self.evicted = false;
        Ok(())
    }

    /// Acts on pushes. Returns `false` if everything must be read again.
    pub(super) async fn apply(&mut self, link: &mut Link, pending: Pending) -> RedisResult<bool> {
        self.metrics.pushed(pending.pushes);
        self.flushed |= pending.flushed;
        if pending.flushed || pending.overflowed {
            return Ok(false);
        }
        let keys = self.parse(pending.keys);
        for batch in keys.chunks(BATCH) {
            let stored = self.read(link, batch).await?;
            let mut gone = Vec::new();
            for ((parsed, key), stored) in batch.iter().zip(&stored) {
                match (parsed, stored) {
                    (_, Stored::Unknown) => self.slot_moves.not_known(&self.view, key, *parsed),
                    (StoredKey::Unrevoked(hash), Stored::Something(tombstone)) => {
                        self.take_tombstone(*hash, tombstone.expires_at, link.is_cluster());
                    }
                    // Removed at once, whatever the reason: an allow-list entry that no longer exists must not
                    // let anyone in.
                    (
                        StoredKey::Registration(hash) | StoredKey::Application(hash, _),
                        Stored::Nothing,
                    ) if is_of_allow_list(*hash) => {
                        self.view.remove(*hash);
                    }
                    (
                        StoredKey::Native(hash)
                        | StoredKey::Application(hash, _)
                        | StoredKey::Registration(hash),
                        Stored::Nothing,
                    ) => gone.push((*hash, key)),
                    // Left to the comparison: a native key may hold the same statement, but its name is not known
                    // here.
                    (StoredKey::Restored(_) | StoredKey::Unrevoked(_), Stored::Nothing) => {}
                    (
                        StoredKey::Native(_)
                        | StoredKey::Restored(_)
                        | StoredKey::Registration(_)
                        | StoredKey::Application(..),
                        Stored::Something(_),
                    ) => {}
                }
            }
            for ((parsed, key), stored) in batch.iter().zip(&stored) {
                self.show(*parsed, stored, true);
                if link.is_cluster() {
                    self.slot_moves.pushed(*parsed, key);
                }
            }
            self.judge_gone(link, &gone).await?;
            self.write_back_lost(link).await?;
        }
        Ok(!self.must_reread)
    }

    /// Applies a tombstone of an older version of Revoxy that was pushed. A tombstone that was known before (its
    /// expiry was changed, or it moves to another node of a cluster) does not take back what was revoked since. In
    /// a cluster, no tombstone removes an entry: revocation and tombstone are on two servers, and the push of the
    /// later one may arrive first.
    fn take_tombstone(&self, hash: KeyHash, until: Timestamp, in_cluster: bool) {
        if !in_cluster && self.view.unrevoked(hash) == Version::NONE {
            // If a revocation exists nevertheless, it is put into the view after this.
            self.view.remove(hash);
        }
        self.view.unrevoke(hash, Version::FIRST, until);
    }

    /// Parses key names, and drops those that are irrelevant to us.
    ///
    /// Tombstones come before revocations: a revocation written by hand after an un-revocation counts. Restored
    /// keys come last: they add to the native key, and do not replace it.
    fn parse(&self, names: impl IntoIterator<Item = Vec<u8>>) -> Vec<(StoredKey, Vec<u8>)> {
        let mut keys = Vec::new();
        for name in names {
            let before = keys.len();
            let parsed = StoredKey::all(&name, &self.lookups);
            keys.extend(parsed.map(|parsed| (parsed, name.clone())));
            if keys.len() == before {
                self.suspects.look_at_name(&name);
            }
        }
        keys.sort_by_key(|(parsed, _)| match parsed {
            StoredKey::Unrevoked(_) => 0,
            StoredKey::Native(_) | StoredKey::Registration(_) | StoredKey::Application(..) => 1,
            StoredKey::Restored(_) => 2,
        });
        keys
    }

    /// Reads the values of keys.
    async fn read(
        &mut self,
        link: &mut Link,
        keys: &[(StoredKey, Vec<u8>)],
    ) -> RedisResult<Vec<Stored>> {
        let names: Vec<Vec<u8>> = keys.iter().map(|(_, name)| name.clone()).collect();
        let readings = link.read(&names).await?;
        let now = self.clock.now();
        let read = keys.iter().zip(&readings);
        let read = read.map(|((parsed, _), reading)| match parsed {
            StoredKey::Application(_, lookup) => {
                stored::of_application(reading, *lookup, &self.lookups, &*self.metrics, now)
            }
            _ => stored::interpret(reading, now),
        });
        let mut stored: Vec<Stored> = read.collect();
        for ((parsed, name), stored) in keys.iter().zip(&stored) {
            if let (StoredKey::Native(_), Stored::Something(states)) = (parsed, stored) {
                self.suspects.look_at(name, &states.stated, now);
            }
        }
        self.join_restored(link, keys, &mut stored).await?;
        // Done before the query for losses, which must cover everything that was read.
        self.reread_old_revocations(link, keys, &mut stored).await?;
        if !self.may_have_lost() && self.find_weaker(keys, &stored).next().is_some() {
            // Done before anything in the view is weakened, to find out whether the weaker value was written, or
            // remains after a loss.
            self.look_for_losses(link).await?;
        }
        Ok(stored)
    }

    /// Reads native keys again that hold a revocation from before an un-revocation that the view knows and the
    /// server seems to lack. The native and the restored key are not read atomically: if the token was un-revoked
    /// once more in between, the native key was read before the un-revocation, and the restored key was deleted by
    /// it. A revocation that is still stored was written by hand.
    async fn reread_old_revocations(
        &self,
        link: &mut Link,
        keys: &[(StoredKey, Vec<u8>)],
        stored: &mut [Stored],
    ) -> RedisResult<()> {
        let all = keys.iter().zip(stored.iter()).enumerate();
        let taken_back = all.filter_map(|(index, ((key, _), stored))| {
            let (StoredKey::Native(hash), Stored::Something(states)) = (key, stored) else {
                return None;
            };
            let counts = states.counts_without(self.view.unrevoked(*hash));
            counts.then_some(index)
        });
        let taken_back: Vec<_> = taken_back.collect();
        let names: Vec<_> = taken_back.iter().map(|at| keys[*at].1.clone()).collect();
        let readings = link.read(&names).await?;
        let now = self.clock.now();
        for (index, reading) in taken_back.into_iter().zip(&readings) {
            let mut anew = stored::interpret(reading, now);
            if let (Stored::Something(anew), Stored::Something(before)) =
                (&mut anew, &stored[index])
            {
                anew.restored = before.restored;
            }
            stored[index] = anew;
        }
        Ok(())
    }

    /// Returns the index and the hash of each key whose stored value is weaker than what the view knows.
    fn find_weaker<'s>(
        &'s self,
        keys: &'s [(StoredKey, Vec<u8>)],
        stored: &'s [Stored],
    ) -> impl Iterator<Item = (usize, KeyHash)> + 's {
        let all = keys.iter().zip(stored).enumerate();
        all.filter_map(|(index, ((key, _), stored))| {
            let hash = key.restorable()?;
            let Stored::Something(states) = stored else {
                return None;
            };
            let known = self.view.state(hash);
            let stands = states.state(known.unrevoked).held();
            let says_all = known.held().is_none_or(|held| !is_weaker(stands, held))
                && states.unrevoked() >= known.unrevoked;
            (!says_all).then_some((index, hash))
        })
    }

    /// Joins restored keys with native ones. A revocation that was restored and then written again under its own
    /// name is stored twice: the stronger counts, as in direct reads. Only a native key that is weaker than the
    /// view's entry can hide a restored key, so restored keys are read only for such native keys.
    async fn join_restored(
        &self,
        link: &mut Link,
        keys: &[(StoredKey, Vec<u8>)],
        stored: &mut [Stored],
    ) -> RedisResult<()> {
        let weaker: Vec<_> = self.find_weaker(keys, stored).collect();
        let names: Vec<_> = weaker
            .iter()
            .map(|(_, hash)| StoredKey::restored(*hash).into_bytes())
            .collect();
        let restored = stored::read_restored(link, &names, || self.clock.now()).await?;
        for ((index, _), restored) in weaker.into_iter().zip(restored) {
            match (restored, &mut stored[index]) {
                // The restored key could not be read: the native key alone must not weaken the view.
                (None, stored) => *stored = Stored::Unknown,
                (Some(state), Stored::Something(states)) => states.restored = state,
                (Some(_), Stored::Nothing | Stored::Unknown) => {}
            }
        }
        Ok(())
    }

    /// Puts what was read into the view.
    fn show(&mut self, key: StoredKey, stored: &Stored, pushed: bool) -> Change {
        let Stored::Something(states) = stored else {
            return Change::None;
        };
        match key {
            StoredKey::Native(hash) => {
                if let (true, Some(written_at)) = (pushed, states.stated.written_at) {
                    self.metrics.propagated(self.clock.now().since(written_at));
                }
                self.take(key, hash, states)
            }
            StoredKey::Restored(hash) => self.take_restored(hash, states),
            StoredKey::Unrevoked(_) => Change::None,
            StoredKey::Registration(hash) => self.put(hash, Held::admitting(states.expires_at)),
            StoredKey::Application(hash, _) => {
                let held = self.view.entry(hash).map(|held| held.effect);
                match self.take(key, hash, states) {
                    // A grace period has ended, which the server does not push.
                    Change::Altered if !is_of_allow_list(hash) && held == Some(Effect::Admits) => {
                        Change::None
                    }
                    change => change,
                }
            }
        }
    }
}
