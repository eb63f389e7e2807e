//! One process of a server: its data, who it is, and what its commands change.

use std::collections::BTreeMap;

use tokio::time::Instant;

use crate::rng::Rng;

use super::keyspace::{Entry, Keyspace, Value};
use super::node::Node;
use super::slots::slot_of;

/// How many databases there are.
pub const DATABASES: usize = 2;

/// All data of a server.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Data(pub [Keyspace; DATABASES]);

/// What tracking connections are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Touch {
    /// A key was written, deleted, evicted, or has ended.
    Key(Vec<u8>),
    /// All keys are gone.
    Everything,
}

/// What a change was, for replicas.
#[derive(Clone, Debug)]
pub enum Effect {
    /// A key stands so now; `None`: no more.
    Key(usize, Vec<u8>, Option<Entry>),
    /// A database is empty now.
    Flushed(usize),
    /// Two databases have changed places.
    Swapped(usize, usize),
}

/// Whether a process takes writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// A primary.
    Primary,
    /// The replica of another machine.
    ReplicaOf(String),
}

/// How old the server's program is, where that shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Age {
    /// Redis 6: an error in a script is one of the script's.
    Six,
    /// Redis 7 and later, Valkey.
    #[default]
    Seven,
}

/// A running server.
#[derive(Debug)]
pub struct Process {
    /// The data.
    pub data: Data,
    /// Whether it is a primary.
    pub role: Role,
    /// Names the process.
    pub run_id: String,
    /// Names the history of its data.
    pub replication_id: String,
    /// The history that it had before, and up to where.
    pub former: Option<(String, u64)>,
    /// What has been changed since the history began. The first is number `offset - effects.len()`.
    pub effects: Vec<Effect>,
    /// The number of the next change.
    pub offset: u64,
    /// When it was started, in milliseconds since 1970.
    pub started: i64,
    /// Until when it is loading its data.
    pub loads_until: i64,
    /// How many keys it has evicted.
    pub evicted: u64,
    /// What it evicts, one before each of the next commands, unless it was written again meanwhile.
    pub victims: Vec<(Vec<u8>, Entry)>,
    /// The scripts that it knows, by SHA-1.
    pub scripts: BTreeMap<String, String>,
    /// What has changed since tracking connections were told.
    pub touched: Vec<Touch>,
    /// What it knows of its cluster, where it is in one.
    pub cluster: Option<Node>,
    /// Until when writes wait, as with `CLIENT PAUSE … WRITE`.
    pub writes_wait_until: Option<Instant>,
    /// How old the program is.
    pub age: Age,
    /// How many keys a step of `SCAN` looks at, whatever is asked for.
    pub scan_at_most: usize,
    /// For what it draws at random.
    pub rng: Rng,
}

fn id(rng: &mut Rng) -> String {
    format!(
        "{:016x}{:016x}{:08x}",
        rng.draw(),
        rng.draw(),
        rng.draw() >> 32
    )
}

impl Process {
    /// A process that has just been started with this data.
    pub fn started(data: Data, now: i64, mut rng: Rng) -> Self {
        Self {
            data,
            role: Role::Primary,
            run_id: id(&mut rng),
            replication_id: id(&mut rng),
            former: None,
            effects: Vec::new(),
            offset: 1,
            started: now,
            loads_until: now,
            evicted: 0,
            victims: Vec::new(),
            scripts: BTreeMap::new(),
            touched: Vec::new(),
            cluster: None,
            writes_wait_until: None,
            age: Age::default(),
            scan_at_most: usize::MAX,
            rng,
        }
    }

    /// A new history, for what is not the old one's any more.
    pub fn begin_history(&mut self) {
        self.former = Some((self.replication_id.clone(), self.offset));
        self.replication_id = id(&mut self.rng);
    }

    /// Whether writes wait.
    pub fn holds_up_writes(&self) -> bool {
        let until = self.writes_wait_until;
        until.is_some_and(|until| Instant::now() < until)
    }

    /// What stands under a key now. One that has ended goes, on a primary.
    pub fn live(&mut self, database: usize, key: &[u8], now: i64) -> Option<&Entry> {
        let over = self.data.0[database].get(key)?.is_over(now);
        if over {
            if self.role == Role::Primary {
                self.delete(database, key);
            }
            return None;
        }
        self.data.0[database].get(key)
    }

    /// The same, of a string; an error where it is something else.
    pub fn text(
        &mut self,
        database: usize,
        key: &[u8],
        now: i64,
    ) -> Result<Option<&[u8]>, WrongType> {
        match self.live(database, key, now).map(|entry| &entry.value) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(WrongType),
        }
    }

    /// Puts an entry in the place of what stands.
    pub fn put(&mut self, database: usize, key: &[u8], entry: Entry) {
        self.note(Effect::Key(database, key.to_vec(), Some(entry.clone())));
        self.data.0[database].put(key, entry);
        self.touched.push(Touch::Key(key.to_vec()));
    }

    /// Takes out what stands. Tells whether something did.
    pub fn delete(&mut self, database: usize, key: &[u8]) -> bool {
        let was_there = self.data.0[database].remove(key).is_some();
        if was_there {
            self.note(Effect::Key(database, key.to_vec(), None));
            self.touched.push(Touch::Key(key.to_vec()));
        }
        was_there
    }

    /// The keys of these slots.
    pub fn keys_in(&self, slots: &[u16]) -> Vec<Vec<u8>> {
        let keys = self.data.0[0].iter().map(|(key, _)| key);
        let keys = keys.filter(|key| slots.contains(&slot_of(key)));
        keys.cloned().collect()
    }

    /// Empties databases.
    pub fn flush(&mut self, databases: impl Iterator<Item = usize>) {
        for database in databases {
            self.data.0[database] = Keyspace::default();
            self.note(Effect::Flushed(database));
        }
        self.touched.push(Touch::Everything);
    }

    /// Has two databases change places: nobody is told.
    pub fn swap(&mut self, one: usize, other: usize) {
        self.data.0.swap(one, other);
        self.note(Effect::Swapped(one, other));
    }

    fn note(&mut self, effect: Effect) {
        self.offset += 1;
        self.effects.push(effect);
    }

    /// Does what another process did. Its changes are pushed here too.
    pub fn replay(&mut self, effect: &Effect) {
        match effect {
            Effect::Key(database, key, Some(entry)) => self.put(*database, key, entry.clone()),
            Effect::Key(database, key, None) => drop(self.delete(*database, key)),
            Effect::Flushed(database) => self.flush(std::iter::once(*database)),
            Effect::Swapped(one, other) => self.swap(*one, *other),
        }
    }

    /// Takes out what has ended, as a primary does of its own accord now and then.
    pub fn expire(&mut self, now: i64) {
        if self.role != Role::Primary {
            return;
        }
        for database in 0..DATABASES {
            for key in self.data.0[database].over(now) {
                self.delete(database, &key);
            }
        }
    }

    /// Has so many of the keys that there are evicted.
    pub fn run_out_of_memory(&mut self, count: u64) {
        let mut keys: Vec<_> = self.data.0[0].iter().collect();
        for _ in 0..count.min(keys.len() as u64) {
            let at = self.rng.below(keys.len() as u64) as usize;
            let (key, entry) = keys.swap_remove(at);
            self.victims.push((key.clone(), entry.clone()));
        }
    }

    /// Evicts a key, if one is due.
    pub fn make_room(&mut self) {
        let Some((key, entry)) = self.victims.pop() else {
            return;
        };
        if self.data.0[0].get(&key) == Some(&entry) && self.role == Role::Primary {
            self.evicted += 1;
            self.delete(0, &key);
        }
    }
}

/// There is something else than was asked for.
#[derive(Debug)]
pub struct WrongType;
