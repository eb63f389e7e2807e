//! The commands about strings.

use crate::resp::Reply;

use super::commands::{Run, not_an_integer, number, wrong_type};
use super::keyspace::{Entry, Value};

pub(super) fn get(run: &mut Run<'_>, key: &[u8]) -> Reply {
    match run.process.text(run.database, key, run.now) {
        Ok(Some(text)) => Reply::bulk(text),
        Ok(None) => Reply::Nil,
        Err(error) => wrong_type(error),
    }
}

pub(super) fn mget(run: &mut Run<'_>, keys: &[Vec<u8>]) -> Reply {
    let mut values = Vec::with_capacity(keys.len());
    for key in keys {
        // Of another type: nothing, and no error.
        let text = run.process.text(run.database, key, run.now);
        values.push(text.ok().flatten().map_or(Reply::Nil, Reply::bulk));
    }
    Reply::Array(values)
}

/// What the options of `SET` say.
#[derive(Default)]
struct Options {
    ends: Option<i64>,
    keep_end: bool,
    only_new: bool,
    only_old: bool,
    get: bool,
}

impl Options {
    fn read(given: &[Vec<u8>], now: i64) -> Result<Self, Reply> {
        let mut options = Self::default();
        let mut given = given.iter();
        while let Some(option) = given.next() {
            let mut life = |unit: i64, from: i64| match given.next().map(|text| number(text)) {
                Some(Some(number)) if number > 0 => Ok(Some(from + number * unit)),
                Some(Some(_)) => Err(Reply::error("ERR invalid expire time in 'set' command")),
                Some(None) => Err(not_an_integer()),
                None => Err(Reply::error("ERR syntax error")),
            };
            match option.to_ascii_uppercase().as_slice() {
                b"PX" => options.ends = life(1, now)?,
                b"EX" => options.ends = life(1000, now)?,
                b"PXAT" => options.ends = life(1, 0)?,
                b"EXAT" => options.ends = life(1000, 0)?,
                b"KEEPTTL" => options.keep_end = true,
                b"NX" => options.only_new = true,
                b"XX" => options.only_old = true,
                b"GET" => options.get = true,
                _ => return Err(Reply::error("ERR syntax error")),
            }
        }
        match options.only_new && options.only_old || options.keep_end && options.ends.is_some() {
            true => Err(Reply::error("ERR syntax error")),
            false => Ok(options),
        }
    }
}

pub(super) fn set(run: &mut Run<'_>, key: &[u8], value: &[u8], options: &[Vec<u8>]) -> Reply {
    let options = match Options::read(options, run.now) {
        Ok(options) => options,
        Err(error) => return error,
    };
    let old = run.process.live(run.database, key, run.now).cloned();
    let was = match &old {
        _ if !options.get => Reply::ok(),
        None => Reply::Nil,
        Some(Entry {
            value: Value::Text(text),
            ..
        }) => Reply::bulk(text),
        Some(_) => return wrong_type(super::process::WrongType),
    };
    if options.only_new && old.is_some() || options.only_old && old.is_none() {
        return if options.get { was } else { Reply::Nil };
    }
    let kept = old.and_then(|old| old.ends).filter(|_| options.keep_end);
    let entry = Entry {
        value: Value::Text(value.to_vec()),
        ends: options.ends.or(kept),
    };
    match entry.is_over(run.now) {
        true => drop(run.process.delete(run.database, key)),
        false => run.process.put(run.database, key, entry),
    }
    was
}
