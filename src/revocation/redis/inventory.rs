//! What a server holds, told to whoever looks at it before a start: above all, what older versions and other hands have written.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Value};
use tokio::time::{Instant, timeout_at};

use crate::clock::{Clock as _, SystemClock, Timestamp};

use super::super::key::PREFIX;
use super::super::version::Version;
use super::format::Stated;
use super::link;
use super::stored::StoredKey;
use super::suspect::{self, Suspicion};

/// How long the counting may take. A list that is longer is counted in part.
const PATIENCE: Duration = Duration::from_secs(5);

/// Keys by what they are.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Inventory {
    revocations: u64,
    /// Of these: without a version.
    unversioned: u64,
    unrevoked: u64,
    restored: u64,
    registered: u64,
    tombstones: u64,
    /// Those that must be a mistake, by what is wrong with them.
    suspect: [u64; Suspicion::ALL.len()],
    /// Whether there are more than were counted.
    partial: bool,
}

impl Inventory {
    /// Counts what stands on one server.
    pub(super) async fn take(
        connection: &mut MultiplexedConnection,
        issuers: &[String],
    ) -> RedisResult<Self> {
        let (mut counted, mut cursor) = (Self::default(), 0);
        let pattern = format!("{PREFIX}*");
        let (deadline, now) = (Instant::now() + PATIENCE, SystemClock.now());
        loop {
            let Ok(step) = timeout_at(deadline, step(connection, cursor, &pattern)).await else {
                counted.partial = true;
                return Ok(counted);
            };
            let (next, names, values) = step?;
            for (name, value) in names.iter().zip(&values) {
                counted.count(name, value, issuers, now);
            }
            cursor = next;
            if cursor == 0 {
                return Ok(counted);
            }
        }
    }

    fn count(&mut self, name: &[u8], value: &Value, issuers: &[String], now: Timestamp) {
        let value = match value {
            Value::BulkString(value) => Some(&value[..]),
            // Gone meanwhile, or moved.
            Value::Nil => return,
            _ => None,
        };
        let parsed = StoredKey::parse(name);
        let found = match parsed {
            None => suspect::judge_name(name),
            Some(StoredKey::Native(_)) => suspect::judge(name, &Stated::read(value), issuers, now),
            Some(_) => None,
        };
        if let Some(found) = found {
            self.suspect[found as usize] += 1;
        }
        match parsed {
            None => {}
            Some(StoredKey::Unrevoked(_)) => self.tombstones += 1,
            Some(StoredKey::Registration(_)) => self.registered += 1,
            Some(StoredKey::Restored(_)) => self.restored += 1,
            Some(StoredKey::Native(_) | StoredKey::Application(..)) => {
                match Stated::read(value).revoked {
                    None => self.unrevoked += 1,
                    Some((_, version)) => {
                        self.revocations += 1;
                        self.unversioned += u64::from(version == Version::NONE);
                    }
                }
            }
        }
    }

    /// What several servers hold together.
    pub(super) fn with(self, other: &Self) -> Self {
        Self {
            revocations: self.revocations + other.revocations,
            unversioned: self.unversioned + other.unversioned,
            unrevoked: self.unrevoked + other.unrevoked,
            restored: self.restored + other.restored,
            registered: self.registered + other.registered,
            tombstones: self.tombstones + other.tombstones,
            suspect: std::array::from_fn(|at| self.suspect[at] + other.suspect[at]),
            partial: self.partial || other.partial,
        }
    }

    /// In words.
    pub(super) fn notes(&self) -> Vec<String> {
        let at_least = if self.partial { "at least " } else { "" };
        let mut notes = vec![format!(
            "Redis holds {at_least}{} revocations ({} without a version: set by hand, or by version 0.1.0), {} un-revocations, \
             {} restored keys, {} registered tokens",
            self.revocations, self.unversioned, self.unrevoked, self.restored, self.registered
        )];
        if self.tombstones > 0 {
            notes.push(format!(
                "un-revocations in the format of version 0.1.0 (`revoxy:unrevoked:…`), which are understood and expire by themselves: {}",
                self.tombstones
            ));
        }
        for (found, count) in Suspicion::ALL.into_iter().zip(self.suspect) {
            if count > 0 {
                notes.push(format!(
                    "keys that must be a mistake ({}): {count}; of each: {}",
                    found.label(),
                    found.meaning()
                ));
            }
        }
        notes
    }
}

/// Some names of keys, what stands under each, and where the next are.
async fn step(
    connection: &mut MultiplexedConnection,
    cursor: u64,
    pattern: &str,
) -> RedisResult<(u64, Vec<Vec<u8>>, Vec<Value>)> {
    let (next, names) = link::scan(connection, cursor, pattern.as_bytes()).await?;
    if names.is_empty() {
        return Ok((next, names, Vec::new()));
    }
    let mut read = redis::pipe();
    for name in &names {
        // One by one: in a cluster they are in many slots. What is of another type is as good as unreadable.
        read.get(name);
    }
    let values = read.ignore_errors().query_async(connection).await?;
    Ok((next, names, values))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_counted_by_what_they_are() {
        let mut inventory = Inventory::default();
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let hash = format!("{:032x}", 1_u128 << 64);
        for (name, value) in [
            ("revoxy:jti:shop:1", text("")),
            ("revoxy:jti:shop:2", text(r#"{"version":"5.0"}"#)),
            (
                "revoxy:jti:shop:3",
                text(r#"{"not_before":0,"unrevoked":"5.0"}"#),
            ),
            ("revoxy:jti:shop:gone", Value::Nil),
            ("revoxy:jti:shop:set", Value::Okay),
            (&format!("revoxy:restored:{{{hash}}}"), text("{}")),
            (&format!("revoxy:unrevoked:{{{hash}}}"), text("")),
            ("revoxy:registered:jti:shop:1", text("")),
            ("revoxy:jit:shop:1", text("")),
        ] {
            inventory.count(
                name.as_bytes(),
                &value,
                &["shop".to_owned()],
                SystemClock.now(),
            );
        }
        let notes = inventory.with(&Inventory::default()).notes();
        assert_eq!(
            notes[0],
            "Redis holds 3 revocations (2 without a version: set by hand, or by version 0.1.0), 1 un-revocations, 1 restored keys, \
             1 registered tokens"
        );
        assert!(notes[1].ends_with("expire by themselves: 1"), "{notes:?}");
        assert!(
            notes[2].contains("keys that must be a mistake (unknown_kind): 1"),
            "{notes:?}"
        );
    }
}
