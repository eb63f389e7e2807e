//! The keys of one database, with their ends.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::digest;

/// What stands under a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A string.
    Text(Vec<u8>),
    /// A set: to have something that is no string.
    Set(BTreeSet<Vec<u8>>),
    /// A hash.
    Hash(BTreeMap<Vec<u8>, Vec<u8>>),
    /// A sorted set.
    Sorted(BTreeMap<Vec<u8>, f64>),
}

/// A key's value and end.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The value.
    pub value: Value,
    /// When it ends, in milliseconds since 1970; `None` is never.
    pub ends: Option<i64>,
}

/// The keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Keyspace(BTreeMap<Vec<u8>, Entry>);

impl Entry {
    /// Whether it has ended.
    pub fn is_over(&self, now: i64) -> bool {
        self.ends.is_some_and(|end| end <= now)
    }
}

impl Keyspace {
    /// What stands under a key, ended or not.
    pub fn get(&self, key: &[u8]) -> Option<&Entry> {
        self.0.get(key)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, key: &[u8]) -> Option<&mut Entry> {
        self.0.get_mut(key)
    }

    /// Puts an entry in.
    pub fn put(&mut self, key: &[u8], entry: Entry) {
        self.0.insert(key.to_vec(), entry);
    }

    /// Takes an entry out.
    pub fn remove(&mut self, key: &[u8]) -> Option<Entry> {
        self.0.remove(key)
    }

    /// Every key, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Vec<u8>, &Entry)> {
        self.0.iter()
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The keys that have ended.
    pub fn over(&self, now: i64) -> Vec<Vec<u8>> {
        let over = self.0.iter().filter(|(_, entry)| entry.is_over(now));
        over.map(|(key, _)| key.clone()).collect()
    }

    /// When the next key ends.
    pub fn next_end(&self) -> Option<i64> {
        self.0.values().filter_map(|entry| entry.ends).min()
    }

    /// Some keys from a place on, and the place behind them: 0 behind the last. Keys stand in an order of their own, which
    /// depends on nothing but their names, so that one that stays is met once.
    pub fn scan(&self, from: u64, count: usize) -> (u64, Vec<Vec<u8>>) {
        let mut places: Vec<(u64, &Vec<u8>)> = self.0.keys().map(|key| (place(key), key)).collect();
        places.sort_unstable();
        let rest = places.partition_point(|(place, _)| *place < from);
        let found = places[rest..].iter().take(count);
        let next = places.get(rest + count).map_or(0, |(place, _)| *place);
        (next, found.map(|(_, key)| (*key).clone()).collect())
    }
}

/// Where a key stands. Never 0, which is where a scan begins.
fn place(key: &[u8]) -> u64 {
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, key);
    let head: [u8; 8] = hash.as_ref()[..8].try_into().unwrap_or_default();
    // Redis' own cursors fit into a signed number.
    (u64::from_le_bytes(head) >> 1).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_in_steps_meets_every_key_once() {
        let mut keys = Keyspace::default();
        for n in 0..100_u8 {
            let value = Value::Text(Vec::new());
            keys.put(&[n], Entry { value, ends: None });
        }
        let (mut cursor, mut met) = (0, Vec::new());
        loop {
            let (next, found) = keys.scan(cursor, 7);
            met.extend(found);
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        met.sort();
        assert_eq!(met.len(), 100);
        met.dedup();
        assert_eq!(met.len(), 100);
    }
}
