//! Bringing the view in line with the server: by what was pushed, and by reading everything. What it means that
//! something is missing is judged in `judge.rs`.

use std::collections::HashMap;
use std::sync::Arc;

use redis::RedisResult;

use crate::clock::{Clock, Timestamp};
use crate::metrics::FeedMetrics;

use super::super::lookups::Lookups;
use super::super::registry::is_of_allow_list;
use super::super::state::{Held, KeyState};
use super::super::statement::Cutoff;
use super::super::version::{Version, VersionClock};
use super::super::view::{Change, KeyHash, View};
use super::Deletions;
use super::feed::FeedSettings;
use super::link::{Batch, Link, Position};
use super::merge::says_less;
use super::moving::Moving;
use super::pushes::{Pending, Pushes};
use super::restore::Missing;
use super::server::Identity;
use super::stored::{self, Stored, StoredKey};
use super::suspect::Suspects;

/// How many keys a step reads.
pub(super) const BATCH: usize = 1000;
/// A key that goes this little before its time has expired: the server's clock and ours are not one.
pub(super) const EXPIRY_SLACK: std::time::Duration = std::time::Duration::from_secs(2);

/// The work of one connection.
pub(super) struct Reconciliation {
    pub(super) view: Arc<View>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) versions: Arc<VersionClock>,
    pub(super) metrics: FeedMetrics,
    pub(super) deletions: Deletions,
    pub(super) lookups: Lookups,
    suspects: Suspects,
    pub(super) server: Server,
    scan: Option<Scan>,
    /// Whether the server has refused to take back what it lost: what is missing is then lost and not deleted, until
    /// everything could be written.
    pub(super) owing: bool,
    /// Whether all keys of the server have gone at once since everything was last read.
    pub(super) flushed: bool,
    /// Whether the server has evicted what the view keeps, since then.
    pub(super) evicted: bool,
    /// What stands with less than is held, to be written back.
    pub(super) lost: Vec<Missing>,
    /// Un-revocations that do not stand though something does that was stated before, to be written back.
    pub(super) lost_unrevocations: Vec<(KeyHash, KeyState)>,
    /// When keys end that stand beside a restored one which outlives them: what the view holds says more until then.
    pub(super) ends: HashMap<KeyHash, Timestamp>,
    /// Whether an un-revocation was met under a restored name after the key that it is about: what stands there without a version counts,
    /// and only whoever reads the key knows. Its name is not known here, so everything is read again.
    pub(super) must_reread: bool,
    /// The server holds another's data since a moment ago: the connection must be made anew, as with a new server.
    pub(super) another_history: bool,
    /// What can move between servers.
    pub(super) moving: Moving,
}

/// Who is at the other end: one server, or several.
pub(super) struct Server {
    pub identities: Vec<Identity>,
    /// Its count of evictions when everything was last begun to be read and what was missing was judged: until then,
    /// what is gone may have been evicted.
    pub evictions: u64,
    /// Whether it is another than before, until everything has been read from it once: what it lacks, it lost.
    pub changed: bool,
}

/// Reading everything, under way.
struct Scan {
    position: Position,
    why: Why,
    /// How often slots had moved when this began.
    moves: u64,
    /// The server's count of evictions when this began; asked for in the first step.
    evictions: Option<u64>,
    /// Whether the server lacked what it had refused to take back when this began.
    owed: bool,
}

/// Why everything is read, which tells what it means that an entry is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// It is another server process than the view was last complete with: it may have lost its data.
    ServerChanged,
    /// Keys were flushed, or the connection was away: what is missing was deleted.
    CatchingUp,
    /// No reason: what differs was kept silent about.
    Comparison,
}

impl Reconciliation {
    pub(super) fn new(
        view: Arc<View>,
        clock: Arc<dyn Clock>,
        versions: Arc<VersionClock>,
        metrics: FeedMetrics,
        settings: &FeedSettings,
        suspects: Suspects,
        server: Server,
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
            owing: false,
            flushed: false,
            evicted: false,
            lost: Vec::new(),
            lost_unrevocations: Vec::new(),
            ends: HashMap::new(),
            must_reread: false,
            another_history: false,
            moving: Moving::default(),
        }
    }

    /// Begins to read everything, or begins again.
    pub(super) fn begin(&mut self) {
        // Read anew with all others, before a heartbeat counts.
        self.moving.take_unknown();
        self.start(if self.server.changed {
            Why::ServerChanged
        } else {
            Why::CatchingUp
        });
    }

    /// Begins to read everything, to compare. That is slow: what nobody could answer for is not left to it.
    pub(super) fn begin_comparison(&mut self) {
        self.start(Why::Comparison);
    }

    fn start(&mut self, why: Why) {
        self.view.begin_round();
        self.must_reread = false;
        let owed = self.is_owing();
        // What is refused from now on is owed beyond the end of this.
        self.owing = false;
        self.scan = Some(Scan {
            position: Position::default(),
            why,
            moves: self.moving.moves(),
            evictions: None,
            owed,
        });
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.scan.is_some()
    }

    /// Whether the server lacks what it refused to take back.
    pub(super) fn is_owing(&self) -> bool {
        self.owing || self.scan.as_ref().is_some_and(|scan| scan.owed)
    }

    pub(super) fn has_another_history(&self) -> bool {
        self.another_history
    }

    pub(super) fn evictions(&self) -> u64 {
        self.server.evictions
    }

    /// Reads the next batch. Tells whether everything has been read.
    pub(super) async fn step(&mut self, link: &mut Link, pushes: &Pushes) -> RedisResult<bool> {
        let begins = |scan: &Scan| scan.evictions.is_none();
        if self.scan.as_ref().is_some_and(begins) {
            let servers = link.servers().await?;
            self.meet(&servers);
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
        // What was pushed meanwhile explains a difference, and is acted upon with its own reading.
        let pending = pushes.peek();
        for ((parsed, key), stored) in keys.iter().zip(&stored) {
            if *stored == Stored::Unknown {
                self.moving.not_known(&self.view, key, *parsed);
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
                self.metrics.healed.inc();
            }
        }
        self.write_back_lost(link).await?;
        Ok(through)
    }

    /// Judges what is missing, when everything has been read.
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
        self.moving.judged(scan.moves);
        self.flushed = false;
        self.evicted = false;
        Ok(())
    }

    /// Acts on pushes. `false` means that everything must be read again.
    pub(super) async fn apply(&mut self, link: &mut Link, pending: Pending) -> RedisResult<bool> {
        self.metrics.pushes.inc_by(pending.pushes);
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
                    (_, Stored::Unknown) => self.moving.not_known(&self.view, key, *parsed),
                    (StoredKey::Unrevoked(hash), Stored::Something(tombstone)) => {
                        self.take_tombstone(*hash, tombstone.expires_at, link.is_cluster());
                    }
                    // At once, however it went: nobody is let in by what is no more.
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
                    // Left to the comparison: a native key may say the same, under a name that is not known here.
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
                    self.moving.pushed(*parsed, key);
                }
            }
            self.judge_gone(link, &gone).await?;
            self.write_back_lost(link).await?;
        }
        Ok(!self.must_reread)
    }

    /// A tombstone of an older version of Revoxy was pushed. One that was known before (it is given another end, or moves to
    /// another node of a cluster) says nothing of what was revoked since; and neither does any where revocation and tombstone are on two servers,
    /// of which the later may be heard of first.
    fn take_tombstone(&self, hash: KeyHash, until: Timestamp, in_cluster: bool) {
        if !in_cluster && self.view.unrevoked(hash) == Version::NONE {
            // What stands all the same is taken in after this.
            self.view.remove(hash);
        }
        self.view.unrevoke(hash, Version::FIRST, until);
    }

    /// What these keys are, those that are nothing to us left out.
    ///
    /// Tombstones before revocations: a revocation written by hand after an un-revocation stands. What was restored
    /// comes last: it adds to what stands, and does not replace it.
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

    /// Reads what stands under keys.
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
                stored::of_application(reading, *lookup, &self.lookups, &self.metrics, now)
            }
            _ => stored::interpret(reading, now),
        });
        let mut stored: Vec<Stored> = read.collect();
        for ((parsed, name), stored) in keys.iter().zip(&stored) {
            if let (StoredKey::Native(_), Stored::Something(standing)) = (parsed, stored) {
                self.suspects.look_at(name, &standing.stated, now);
            }
        }
        self.join_restored(link, keys, &mut stored).await?;
        if !self.may_have_lost() && self.find_weaker(keys, &stored).next().is_some() {
            // Before anything is made weaker: was that written, or is it what is left after a loss?
            self.has_lost(link).await?;
        }
        Ok(stored)
    }

    /// Where what stands says less than the view knows, and the hash of each.
    fn find_weaker<'s>(
        &'s self,
        keys: &'s [(StoredKey, Vec<u8>)],
        stored: &'s [Stored],
    ) -> impl Iterator<Item = (usize, KeyHash)> + 's {
        let all = keys.iter().zip(stored).enumerate();
        all.filter_map(|(index, ((key, _), stored))| {
            let hash = key.restorable()?;
            let Stored::Something(standing) = stored else {
                return None;
            };
            let known = self.view.state(hash);
            let stands = standing.state(known.unrevoked).held();
            let says_all = known.held().is_none_or(|held| !says_less(stands, held))
                && standing.unrevoked() >= known.unrevoked;
            (!says_all).then_some((index, hash))
        })
    }

    /// A revocation that was restored and then written again, under its own name, stands twice: the stronger counts,
    /// as it does in direct reads. Only a native key that says less than the view holds can hide another.
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
                // What stands may not be made less on half the word.
                (None, stored) => *stored = Stored::Unknown,
                (Some(state), Stored::Something(standing)) => standing.restored = state,
                (Some(_), Stored::Nothing | Stored::Unknown) => {}
            }
        }
        Ok(())
    }

    /// Puts what was read into the view.
    fn show(&mut self, key: StoredKey, stored: &Stored, pushed: bool) -> Change {
        let Stored::Something(standing) = stored else {
            return Change::None;
        };
        match key {
            StoredKey::Native(hash) => {
                if let (true, Some(written_at)) = (pushed, standing.stated.written_at) {
                    self.metrics.propagation(self.clock.now().since(written_at));
                }
                self.take(key, hash, standing)
            }
            StoredKey::Restored(hash) => self.take_restored(hash, standing),
            StoredKey::Unrevoked(_) => Change::None,
            StoredKey::Registration(hash) => self.put(hash, Held::allowing(standing.expires_at)),
            StoredKey::Application(hash, _) => {
                let held = self.view.entry(hash).map(|held| held.cutoff);
                match self.take(key, hash, standing) {
                    // A grace period has ended, of which nobody tells.
                    Change::Altered if !is_of_allow_list(hash) && held == Some(Cutoff::NoToken) => {
                        Change::None
                    }
                    change => change,
                }
            }
        }
    }
}
