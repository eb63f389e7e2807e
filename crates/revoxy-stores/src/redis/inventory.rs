//! Counts the keys of a server, for an operator who inspects the server before starting Revoxy: above all, the keys
//! that older versions of Revoxy and other writers have left.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Value};
use tokio::time::{Instant, timeout_at};

use crate::clock::{Clock as _, SystemClock, Timestamp};

use super::super::key::PREFIX;
use super::super::version::Version;
use super::format::Stated;
use super::scan::scan;
use super::stored_key::StoredKey;
use super::suspect::{self, Suspicion};

/// How many keys are named for each kind of mistake.
const NAMED: usize = 10;
/// Longer names are truncated.
const NAMED_BYTES: usize = 200;
/// How long counting may take. A longer list is counted in part.
const PATIENCE: Duration = Duration::from_secs(5);

/// The number of keys of each type.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Inventory {
    revocations: u64,
    /// The revocations without a version.
    unversioned: u64,
    unrevoked: u64,
    restored: u64,
    registered: u64,
    tombstones: u64,
    /// The number of keys that must be a mistake, for each kind of mistake.
    suspect: [u64; Suspicion::ALL.len()],
    /// The names of some of these keys, for each kind of mistake.
    mistaken: [Vec<String>; Suspicion::ALL.len()],
    /// Whether there are, or may be, more keys than were counted.
    partial: bool,
}

impl Inventory {
    /// Counts the keys of one server.
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
            // Deleted or expired in the meantime.
            Value::Nil => return,
            // Moved to another node, or not readable by this user: the value is not known here.
            Value::ServerError(error) if error.code() != "WRONGTYPE" => {
                self.partial = true;
                return;
            }
            _ => None,
        };
        let parsed = StoredKey::parse(name);
        let stated = Stated::read(value);
        let found = suspect::judge_key(name, parsed.as_ref(), &stated, issuers, now);
        if let Some(found) = found {
            self.suspect[found as usize] += 1;
            let named = &mut self.mistaken[found as usize];
            if named.len() < NAMED {
                let name = &name[..name.len().min(NAMED_BYTES)];
                named.push(name.escape_ascii().to_string());
            }
        }
        match parsed {
            None => {}
            Some(StoredKey::Unrevoked(_)) => self.tombstones += 1,
            Some(StoredKey::Registration(_)) => self.registered += 1,
            Some(StoredKey::Restored(_)) => self.restored += 1,
            Some(StoredKey::Native(_) | StoredKey::Application(..)) => match stated.effect {
                None => self.unrevoked += 1,
                Some((_, version)) => {
                    self.revocations += 1;
                    self.unversioned += u64::from(version == Version::NONE);
                }
            },
        }
    }

    /// Adds the counts of another server.
    pub(super) fn with(self, other: &Self) -> Self {
        Self {
            revocations: self.revocations + other.revocations,
            unversioned: self.unversioned + other.unversioned,
            unrevoked: self.unrevoked + other.unrevoked,
            restored: self.restored + other.restored,
            registered: self.registered + other.registered,
            tombstones: self.tombstones + other.tombstones,
            suspect: std::array::from_fn(|at| self.suspect[at] + other.suspect[at]),
            mistaken: std::array::from_fn(|at| {
                let both = self.mistaken[at].iter().chain(&other.mistaken[at]);
                both.take(NAMED).cloned().collect()
            }),
            partial: self.partial || other.partial,
        }
    }

    /// Returns the names of keys that must be a mistake, some for each kind of mistake.
    pub(super) fn mistaken_keys(&self) -> Vec<String> {
        let named = Suspicion::ALL.into_iter().zip(&self.mistaken);
        let lines = named.flat_map(|(found, names)| {
            let line = move |name: &String| format!("{}: {name}", found.label());
            names.iter().map(line)
        });
        lines.collect()
    }

    /// Formats the counts. `holder` names the server or the cluster that holds the keys.
    pub(super) fn notes(&self, holder: &str) -> Vec<String> {
        let at_least = if self.partial { "at least " } else { "" };
        let mut notes = vec![format!(
            "{holder} holds {at_least}{} revocations ({} without a version: set by hand, or by version 0.1.0), {} un-revocations, \
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
                    "keys that must be a mistake ({}): {count} (`revoxy doctor` names them). For each: {}",
                    found.label(),
                    found.meaning()
                ));
            }
        }
        notes
    }
}

/// Runs one `SCAN` step. Returns the next cursor, the key names, and the value of each.
async fn step(
    connection: &mut MultiplexedConnection,
    cursor: u64,
    pattern: &str,
) -> RedisResult<(u64, Vec<Vec<u8>>, Vec<Value>)> {
    let (next, names) = scan(connection, cursor, pattern.as_bytes()).await?;
    if names.is_empty() {
        return Ok((next, names, Vec::new()));
    }
    let mut read = redis::pipe();
    for name in &names {
        // One by one: in a cluster the keys are in many slots. A key of another type counts as unreadable.
        read.get(name);
    }
    let values = read.ignore_errors().query_async(connection).await?;
    Ok((next, names, values))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_time_was_too_short_less_is_claimed() {
        let counted = Inventory {
            revocations: 5,
            partial: true,
            ..Inventory::default()
        };
        let notes = Inventory::default().with(&counted).notes("the cluster");
        let expected = "the cluster holds at least 5 revocations (";
        assert!(notes[0].starts_with(expected), "{notes:?}");
    }

    #[test]
    fn keys_are_counted_by_what_they_are() {
        let mut inventory = Inventory::default();
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let error = |text: &str| {
            let answer = format!("-{text}\r\n");
            redis::parse_redis_value(answer.as_bytes()).unwrap()
        };
        let hash = format!("{:032x}", 1_u128 << 64);
        for (name, value) in [
            ("revoxy:jti:shop:1", text("")),
            ("revoxy:jti:shop:2", text(r#"{"version":"5.0"}"#)),
            (
                "revoxy:jti:shop:3",
                text(r#"{"not_before":0,"unrevoked":"5.0"}"#),
            ),
            ("revoxy:jti:shop:gone", Value::Nil),
            ("revoxy:jti:shop:set", error("WRONGTYPE of another type")),
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
        let mut inventory = inventory.with(&Inventory::default());
        let notes = inventory.notes("the server");
        assert_eq!(
            notes[0],
            "the server holds 3 revocations (2 without a version: set by hand, or by version 0.1.0), 1 un-revocations, 1 restored keys, \
             1 registered tokens"
        );
        assert!(notes[1].ends_with("expire by themselves: 1"), "{notes:?}");
        assert!(
            notes[2].contains("keys that must be a mistake (unknown_kind): 1"),
            "{notes:?}"
        );
        // A key that cannot be read is not counted, but makes the count partial.
        for refused in ["MOVED 1 127.0.0.1:7001", "NOPERM this user may not"] {
            let (name, now) = (b"revoxy:jti:shop:4", SystemClock.now());
            inventory.count(name, &error(refused), &["shop".to_owned()], now);
            let notes = inventory.notes("the server");
            assert!(
                notes[0].starts_with("the server holds at least 3 revocations (2 "),
                "{notes:?}"
            );
        }
    }
}
