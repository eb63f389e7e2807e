//! As much of sets, hashes and sorted sets as the records of tokens need.

use std::collections::{BTreeMap, BTreeSet};

use crate::resp::Reply;

use super::commands::{Run, wrong_type};
use super::keyspace::{Entry, Value};
use super::process::WrongType;

/// Carries out a command; `None` where there is none of this name.
pub(super) fn run(run: &mut Run<'_>, name: &str, arguments: &[Vec<u8>]) -> Option<Reply> {
    let (key, rest) = arguments.split_first()?;
    let reply = match name {
        "SADD" => change(run, key, Value::Set(BTreeSet::new()), |value| match value {
            Value::Set(set) => Some(rest.iter().filter(|m| set.insert((*m).clone())).count()),
            _ => None,
        }),
        "HSET" => change(
            run,
            key,
            Value::Hash(BTreeMap::new()),
            |value| match value {
                Value::Hash(hash) => {
                    let mut put = |pair: &[Vec<u8>]| hash.insert(pair[0].clone(), pair[1].clone());
                    Some(
                        rest.chunks_exact(2)
                            .filter_map(|pair| put(pair).is_none().then_some(()))
                            .count(),
                    )
                }
                _ => None,
            },
        ),
        "HDEL" => change(
            run,
            key,
            Value::Hash(BTreeMap::new()),
            |value| match value {
                Value::Hash(hash) => {
                    Some(rest.iter().filter(|f| hash.remove(*f).is_some()).count())
                }
                _ => None,
            },
        ),
        "ZADD" => change(
            run,
            key,
            Value::Sorted(BTreeMap::new()),
            |value| match value {
                Value::Sorted(sorted) => {
                    let mut put =
                        |pair: &[Vec<u8>]| sorted.insert(pair[1].clone(), score(&pair[0]));
                    Some(
                        rest.chunks_exact(2)
                            .filter_map(|pair| put(pair).is_none().then_some(()))
                            .count(),
                    )
                }
                _ => None,
            },
        ),
        "ZREM" => change(
            run,
            key,
            Value::Sorted(BTreeMap::new()),
            |value| match value {
                Value::Sorted(sorted) => {
                    Some(rest.iter().filter(|m| sorted.remove(*m).is_some()).count())
                }
                _ => None,
            },
        ),
        "HGET" | "HMGET" => hash(run, key, rest, name == "HMGET"),
        "ZSCORE" | "ZRANGE" | "ZRANGEBYSCORE" => sorted(run, name, key, rest),
        _ => return None,
    };
    Some(reply)
}

fn score(text: &[u8]) -> f64 {
    match text {
        b"-inf" => f64::NEG_INFINITY,
        b"+inf" => f64::INFINITY,
        _ => String::from_utf8_lossy(text).parse().unwrap_or_default(),
    }
}

fn change(
    run: &mut Run<'_>,
    key: &[u8],
    empty: Value,
    change: impl FnOnce(&mut Value) -> Option<usize>,
) -> Reply {
    let standing = run.process.live(run.database, key, run.now).cloned();
    let is_new = standing.is_none();
    let mut entry = standing.unwrap_or(Entry {
        value: empty,
        ends: None,
    });
    let Some(count) = change(&mut entry.value) else {
        return wrong_type(WrongType);
    };
    let is_empty = match &entry.value {
        Value::Set(set) => set.is_empty(),
        Value::Hash(hash) => hash.is_empty(),
        Value::Sorted(sorted) => sorted.is_empty(),
        Value::Text(_) => false,
    };
    match (is_empty, is_new) {
        (true, true) => {}
        (true, false) => drop(run.process.delete(run.database, key)),
        (false, _) => run.process.put(run.database, key, entry),
    }
    Reply::Int(count as i64)
}

fn hash(run: &mut Run<'_>, key: &[u8], fields: &[Vec<u8>], many: bool) -> Reply {
    let entry = run.process.live(run.database, key, run.now);
    let hash = match entry.map(|entry| &entry.value) {
        None => &BTreeMap::new(),
        Some(Value::Hash(hash)) => hash,
        Some(_) => return wrong_type(WrongType),
    };
    let mut values = fields
        .iter()
        .map(|field| hash.get(field).map_or(Reply::Nil, Reply::bulk));
    match many {
        true => Reply::Array(values.collect()),
        false => values.next().unwrap_or(Reply::Nil),
    }
}

fn sorted(run: &mut Run<'_>, name: &str, key: &[u8], rest: &[Vec<u8>]) -> Reply {
    let entry = run.process.live(run.database, key, run.now);
    let sorted = match entry.map(|entry| &entry.value) {
        None => &BTreeMap::new(),
        Some(Value::Sorted(sorted)) => sorted,
        Some(_) => return wrong_type(WrongType),
    };
    if name == "ZSCORE" {
        let found = rest.first().and_then(|member| sorted.get(member));
        return found.map_or(Reply::Nil, |score| Reply::Double(*score));
    }
    let mut members: Vec<(f64, &Vec<u8>)> = sorted.iter().map(|(m, s)| (*s, m)).collect();
    members.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(b.1)));
    let [from, to, options @ ..] = rest else {
        return Reply::error("ERR wrong number of arguments");
    };
    let options: Vec<String> = options
        .iter()
        .map(|o| String::from_utf8_lossy(o).to_uppercase())
        .collect();
    let found: Vec<(f64, &Vec<u8>)> = if name == "ZRANGE" {
        let index = |text: &[u8]| {
            let number: i64 = String::from_utf8_lossy(text).parse().unwrap_or_default();
            if number < 0 {
                number + members.len() as i64
            } else {
                number
            }
        };
        let (from, to) = (index(from).max(0), index(to));
        let within = |at: usize| (from..=to).contains(&(at as i64));
        let found = members.iter().enumerate().filter(|(at, _)| within(*at));
        found.map(|(_, member)| *member).collect()
    } else {
        let above = |score_of: f64| match from.strip_prefix(b"(") {
            Some(open) => score_of > score(open),
            None => score_of >= score(from),
        };
        let found = members.into_iter();
        found
            .filter(|(s, _)| above(*s) && *s <= score(to))
            .collect()
    };
    let at = options.iter().position(|o| o == "LIMIT");
    let limit = |n: usize| at.and_then(|at| options.get(at + n)?.parse::<usize>().ok());
    let found = found
        .into_iter()
        .skip(limit(1).unwrap_or(0))
        .take(limit(2).unwrap_or(usize::MAX));
    let mut replies = Vec::new();
    for (score, member) in found {
        replies.push(Reply::bulk(member));
        if options.iter().any(|o| o == "WITHSCORES") {
            replies.push(Reply::Double(score));
        }
    }
    Reply::Array(replies)
}
