//! The view as tests use it: with keys, times and versions of their choice.

use std::time::Duration;

use crate::clock::{Moment, Timestamp};

use super::hash::KeyHash;
use super::state::Held;
use super::statement::Cutoff;
use super::version::Version;
use super::view::View;

/// A key of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(KeyHash);

impl Key {
    /// The high word, in which `kind` takes the lowest four bits, says where in its table the search for the key begins. The low
    /// word says in which of the two shards the key is: even or odd.
    pub fn new(kind: u8, high: u64, low: u64) -> Self {
        let digest = (u128::from(high) << 64) | u128::from(low);
        Self(KeyHash::new(digest, kind))
    }
}

/// What is stated under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Which tokens it means.
    pub cutoff: Cutoff,
    /// When it was stated; 0: nobody has said.
    pub version: u64,
    /// Until when it stands.
    pub expires_at: Timestamp,
}

impl Statement {
    fn held(self) -> Held {
        Held {
            effect: self.cutoff.into(),
            version: Version::from_bits(self.version),
            expires_at: self.expires_at,
        }
    }
}

/// A view, with what the rest of the crate calls.
#[derive(Debug, Default)]
pub struct TestView(View);

impl TestView {
    /// What a feed does.
    pub fn put(&self, key: Key, said: Statement) {
        self.0.put(key.0, said.held());
    }

    /// What a store does with what it has just acknowledged.
    pub fn strengthen(&self, key: Key, said: Statement) {
        self.0.strengthen(key.0, said.held());
    }

    /// What a feed does when a key is gone.
    pub fn remove(&self, key: Key) -> bool {
        self.0.remove(key.0)
    }

    /// What a feed does after it has asked about a key.
    pub fn settle(&self, key: Key, was: Statement, now: Option<Statement>) {
        self.0.settle(key.0, was.held(), now.map(Statement::held));
    }

    /// What a feed does when it hears of an un-revocation.
    pub fn unrevoke(&self, key: Key, version: u64, until: Timestamp) {
        self.0.unrevoke(key.0, Version::from_bits(version), until);
    }

    /// What maintenance does.
    pub fn prune(&self, now: Timestamp) -> usize {
        self.0.prune(now)
    }

    /// Begins a round of comparing.
    pub fn begin_round(&self) {
        self.0.begin_round();
    }

    /// Ends a round of comparing.
    pub fn forget_unseen(&self) -> usize {
        self.0.forget_unseen()
    }

    /// The view is complete as of `instant`, which is at least 1.
    pub fn set_fresh_as_of(&self, instant: u64) {
        self.0.set_fresh_as_of(Moment::from_nanos(instant));
    }

    /// As of which instant the view is complete; 0 before it ever was.
    pub fn fresh_as_of(&self) -> u64 {
        let end = u64::MAX;
        let age = self.0.age(Moment::from_nanos(end));
        age.map_or(0, |age| end - nanos(age))
    }

    /// What a check does.
    pub fn find(&self, key: Key, now: Timestamp) -> Option<Cutoff> {
        self.0.find(key.0, now)?.cutoff()
    }

    /// How many entries are held.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn nanos(age: Duration) -> u64 {
    u64::try_from(age.as_nanos()).unwrap_or(u64::MAX)
}
