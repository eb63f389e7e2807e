//! The commands that read and write keys, as clients and scripts give them.

use crate::resp::{Command, Reply};

use super::keyspace::{Entry, Value};
use super::process::{DATABASES, Process, Role, WrongType};
use super::{sets, strings};

/// Where a command is carried out.
pub struct Run<'p> {
    /// The server.
    pub process: &'p mut Process,
    /// The client's database.
    pub database: usize,
    /// The time of the server's clock, in milliseconds since 1970.
    pub now: i64,
}

/// The commands that change something, and so are refused by a replica.
const WRITES: [&str; 15] = [
    "SET",
    "DEL",
    "UNLINK",
    "PEXPIRE",
    "PEXPIREAT",
    "EXPIRE",
    "PERSIST",
    "FLUSHDB",
    "FLUSHALL",
    "SWAPDB",
    "SADD",
    "ZADD",
    "ZREM",
    "HSET",
    "HDEL",
];

/// The name of a command.
pub fn name(command: &Command) -> String {
    String::from_utf8_lossy(&command[0]).to_uppercase()
}

/// Whether a command changes something.
pub fn is_write(name: &str) -> bool {
    WRITES.contains(&name)
}

/// Whether a command may change something.
pub fn may_write(command: &Command) -> bool {
    let name = name(command);
    is_write(&name) || ["EVAL", "EVALSHA"].contains(&name.as_str())
}

/// Carries out a command; `None` where there is none of this name.
pub fn run(run: &mut Run<'_>, name: &str, arguments: &[Vec<u8>]) -> Option<Reply> {
    if is_write(name) && run.process.role != Role::Primary {
        return Some(Reply::error(
            "READONLY You can't write against a read only replica.",
        ));
    }
    let reply = match (name, arguments) {
        ("GET", [key]) => strings::get(run, key),
        ("MGET", keys) if !keys.is_empty() => strings::mget(run, keys),
        ("SET", [key, value, options @ ..]) => strings::set(run, key, value, options),
        ("DEL" | "UNLINK", keys) if !keys.is_empty() => delete(run, keys),
        ("EXISTS", keys) if !keys.is_empty() => exists(run, keys),
        ("TYPE", [key]) => kind(run, key),
        ("PTTL" | "TTL", [key]) => left(run, key, if name == "TTL" { 1000 } else { 1 }),
        ("PEXPIRE", [key, life]) => end_after(run, key, life, 1),
        ("EXPIRE", [key, life]) => end_after(run, key, life, 1000),
        ("PEXPIREAT", [key, at]) => match number(at) {
            Some(at) => end_at(run, key, Some(at)),
            None => not_an_integer(),
        },
        ("PERSIST", [key]) => end_at(run, key, None),
        ("SCAN", [cursor, options @ ..]) => scan(run, cursor, options),
        ("DBSIZE", []) => Reply::Int(run.process.data.0[run.database].len() as i64),
        ("FLUSHDB", _) => {
            run.process.flush(std::iter::once(run.database));
            Reply::ok()
        }
        ("FLUSHALL", _) => {
            run.process.flush(0..DATABASES);
            Reply::ok()
        }
        ("SWAPDB", [one, other]) => swap(run, one, other),
        ("TIME", []) => {
            let (seconds, rest) = (run.now / 1000, run.now % 1000 * 1000);
            Reply::Array(vec![
                Reply::bulk(seconds.to_string()),
                Reply::bulk(rest.to_string()),
            ])
        }
        _ => return sets::run(run, name, arguments),
    };
    Some(reply)
}

/// The error of a key of another type.
pub fn wrong_type(_: WrongType) -> Reply {
    Reply::error("WRONGTYPE Operation against a key holding the wrong kind of value")
}

/// A number in an argument.
pub fn number(argument: &[u8]) -> Option<i64> {
    str::from_utf8(argument).ok()?.parse().ok()
}

/// The error of an argument that is no number.
pub fn not_an_integer() -> Reply {
    Reply::error("ERR value is not an integer or out of range")
}

fn delete(run: &mut Run<'_>, keys: &[Vec<u8>]) -> Reply {
    let mut count = 0;
    for key in keys {
        if run.process.live(run.database, key, run.now).is_some() {
            count += i64::from(run.process.delete(run.database, key));
        }
    }
    Reply::Int(count)
}

fn exists(run: &mut Run<'_>, keys: &[Vec<u8>]) -> Reply {
    let stands = |key: &&Vec<u8>| run.process.live(run.database, key, run.now).is_some();
    Reply::Int(keys.iter().filter(stands).count() as i64)
}

fn kind(run: &mut Run<'_>, key: &[u8]) -> Reply {
    let value = run.process.live(run.database, key, run.now);
    let kind = match value.map(|entry| &entry.value) {
        None => "none",
        Some(Value::Text(_)) => "string",
        Some(Value::Set(_)) => "set",
        Some(Value::Hash(_)) => "hash",
        Some(Value::Sorted(_)) => "zset",
    };
    Reply::Simple(kind.to_owned())
}

fn left(run: &mut Run<'_>, key: &[u8], unit: i64) -> Reply {
    let now = run.now;
    Reply::Int(match run.process.live(run.database, key, now) {
        None => -2,
        Some(Entry { ends: None, .. }) => -1,
        Some(Entry {
            ends: Some(end), ..
        }) => (end - now + unit / 2) / unit,
    })
}

fn end_after(run: &mut Run<'_>, key: &[u8], life: &[u8], unit: i64) -> Reply {
    match number(life) {
        Some(life) => end_at(run, key, Some(run.now + life * unit)),
        None => not_an_integer(),
    }
}

fn end_at(run: &mut Run<'_>, key: &[u8], ends: Option<i64>) -> Reply {
    let Some(entry) = run.process.live(run.database, key, run.now).cloned() else {
        return Reply::Int(0);
    };
    if ends.is_none() && entry.ends.is_none() {
        return Reply::Int(0);
    }
    match ends {
        Some(end) if end <= run.now => drop(run.process.delete(run.database, key)),
        _ => run.process.put(run.database, key, Entry { ends, ..entry }),
    }
    Reply::Int(1)
}

fn swap(run: &mut Run<'_>, one: &[u8], other: &[u8]) -> Reply {
    let database = |argument| {
        let number = number(argument).and_then(|n| usize::try_from(n).ok());
        number.filter(|n| *n < DATABASES)
    };
    match (database(one), database(other)) {
        (Some(one), Some(other)) => {
            run.process.swap(one, other);
            Reply::ok()
        }
        _ => Reply::error("ERR DB index is out of range"),
    }
}

fn scan(run: &mut Run<'_>, cursor: &[u8], options: &[Vec<u8>]) -> Reply {
    let Some(from) = number(cursor).and_then(|n| u64::try_from(n).ok()) else {
        return Reply::error("ERR invalid cursor");
    };
    let (mut pattern, mut count) = (None, 10);
    for option in options.chunks(2) {
        match (option[0].to_ascii_uppercase().as_slice(), option.get(1)) {
            (b"MATCH", Some(text)) => pattern = Some(text.clone()),
            (b"COUNT", Some(text)) => match number(text).and_then(|n| usize::try_from(n).ok()) {
                Some(number) if number > 0 => count = number,
                _ => return not_an_integer(),
            },
            _ => return Reply::error("ERR syntax error"),
        }
    }
    let count = count.min(run.process.scan_at_most);
    let (next, mut keys) = run.process.data.0[run.database].scan(from, count);
    keys.retain(|key| pattern.as_ref().is_none_or(|pattern| glob(pattern, key)));
    keys.retain(|key| run.process.live(run.database, key, run.now).is_some());
    Reply::Array(vec![
        Reply::bulk(next.to_string()),
        Reply::Array(keys.into_iter().map(Reply::Bulk).collect()),
    ])
}

/// Whether a name fits a pattern of `*`, `?` and escaped letters.
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern, name) {
        ([], rest) => rest.is_empty(),
        ([b'*', after @ ..], _) => (0..=name.len()).any(|at| glob(after, &name[at..])),
        ([b'?', after @ ..], [_, rest @ ..]) => glob(after, rest),
        ([b'\\', letter, after @ ..], [first, rest @ ..]) => letter == first && glob(after, rest),
        ([letter, after @ ..], [first, rest @ ..]) => letter == first && glob(after, rest),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_fits_what_begins_with_it_and_an_escaped_letter_is_itself() {
        assert!(glob(b"revoxy:*", b"revoxy:jti:shop:1"));
        assert!(!glob(b"revoxy:*", b"other:jti"));
        assert!(glob(br"a\*b*", b"a*b") && !glob(br"a\*b*", b"axb"));
    }
}
