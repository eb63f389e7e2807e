//! Scripts: the real text, run by a real Lua 5.1, with `redis.call`, `redis.pcall` and `cjson` as the server has them.
//!
//! One interpreter serves all servers of a thread: a script leaves nothing behind in it.

use std::cell::RefCell;
use std::collections::BTreeMap;

use aws_lc_rs::digest;
use mlua::{Function, Lua, MultiValue, Table, Value, Variadic};

use crate::resp::{Command, Reply};

use super::cjson;
use super::commands::{self, Run};
use super::process::Age;
use super::slots::{keys_of, slot_of};

thread_local! {
    static LUA: Lua = interpreter().unwrap_or_else(|error| panic!("Lua does not start: {error}"));
    static COMPILED: RefCell<BTreeMap<String, Function>> = const { RefCell::new(BTreeMap::new()) };
}

fn interpreter() -> mlua::Result<Lua> {
    let lua = Lua::new();
    let redis = lua.create_table()?;
    for (function, name) in [("error_reply", "err"), ("status_reply", "ok")] {
        let reply = move |lua: &Lua, text: mlua::String| {
            let table = lua.create_table()?;
            table.set(name, text)?;
            Ok(table)
        };
        redis.set(function, lua.create_function(reply)?)?;
    }
    let hex = |_: &Lua, text: mlua::String| Ok(sha1(&text.as_bytes()));
    redis.set("sha1hex", lua.create_function(hex)?)?;
    lua.globals().set("redis", redis)?;
    lua.globals().set("cjson", cjson::library(&lua)?)?;
    Ok(lua)
}

/// By what the server knows a script.
pub fn sha1(text: &[u8]) -> String {
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text);
    hash.as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Whether a text is Lua.
pub fn compile(text: &str) -> Result<String, Reply> {
    let sha = sha1(text.as_bytes());
    compiled(&sha, text)
        .map(|_| sha)
        .map_err(|error| Reply::Error(format!("ERR Error compiling script: {}", one_line(&error))))
}

fn compiled(sha: &str, text: &str) -> mlua::Result<Function> {
    if let Some(function) = COMPILED.with_borrow(|compiled| compiled.get(sha).cloned()) {
        return Ok(function);
    }
    let function = LUA.with(|lua| lua.load(text).set_name("@user_script").into_function())?;
    COMPILED.with_borrow_mut(|compiled| compiled.insert(sha.to_owned(), function.clone()));
    Ok(function)
}

/// Runs a script.
pub fn run(run: &mut Run<'_>, text: &str, keys: &[Vec<u8>], arguments: &[Vec<u8>]) -> Reply {
    let sha = sha1(text.as_bytes());
    let age = run.process.age;
    let in_cluster = run.process.cluster.is_some();
    let slot = keys.first().map(|key| slot_of(key)).filter(|_| in_cluster);
    let answer = LUA.with(|lua| {
        let function = compiled(&sha, text)?;
        let run = RefCell::new(run);
        lua.scope(|scope| {
            let call = |lua: &Lua, words: Variadic<Value>| match carry_out(
                &mut run.borrow_mut(),
                slot,
                &words,
            )? {
                Reply::Error(text) => Err(mlua::Error::RuntimeError(text)),
                reply => to_lua(lua, reply),
            };
            let pcall = |lua: &Lua, words: Variadic<Value>| {
                to_lua(lua, carry_out(&mut run.borrow_mut(), slot, &words)?)
            };
            let redis: Table = lua.globals().get("redis")?;
            redis.set("call", scope.create_function(call)?)?;
            redis.set("pcall", scope.create_function(pcall)?)?;
            lua.globals().set("KEYS", strings(lua, keys)?)?;
            lua.globals().set("ARGV", strings(lua, arguments)?)?;
            let mut answers: MultiValue = function.call(())?;
            Ok(from_lua(&answers.pop_front().unwrap_or(Value::Nil)))
        })
    });
    answer.unwrap_or_else(|error: mlua::Error| {
        let text = one_line(&error);
        if age == Age::Six {
            let place = "@user_script:1: @user_script: 1:";
            return Reply::Error(format!(
                "ERR Error running script (call to f_{sha}): {place} -{text}"
            ));
        }
        let has_code = text.split(' ').next().is_some_and(|word| {
            word.len() > 1 && word.bytes().all(|letter| letter.is_ascii_uppercase())
        });
        let code = if has_code { "" } else { "ERR " };
        Reply::Error(format!("{code}{text} script: {sha}, on @user_script:1."))
    })
}

/// What an error says, without where it was raised.
fn one_line(error: &mlua::Error) -> String {
    match error {
        mlua::Error::CallbackError { cause, .. } => one_line(cause),
        mlua::Error::RuntimeError(text) => text.lines().next().unwrap_or_default().to_owned(),
        other => other
            .to_string()
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned(),
    }
}

fn strings(lua: &Lua, texts: &[Vec<u8>]) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    for text in texts {
        table.push(lua.create_string(text)?)?;
    }
    Ok(table)
}

fn carry_out(run: &mut Run<'_>, slot: Option<u16>, words: &[Value]) -> mlua::Result<Reply> {
    let wrong = || {
        let text = "Lua redis lib command arguments must be strings or integers";
        mlua::Error::RuntimeError(text.to_owned())
    };
    let command: Option<Command> = words.iter().map(argument).collect();
    let command = command.filter(|c| !c.is_empty()).ok_or_else(wrong)?;
    let name = commands::name(&command);
    let is_elsewhere = |key: &Vec<u8>| Some(slot_of(key)) != slot;
    if run.process.cluster.is_some() && keys_of(&name, &command[1..]).iter().any(is_elsewhere) {
        return Ok(Reply::error(
            "ERR Script attempted to access a non local key in a cluster node",
        ));
    }
    let reply = commands::run(run, &name, &command[1..]);
    Ok(reply.unwrap_or_else(|| Reply::error("ERR Unknown Redis command called from script")))
}

fn argument(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => Some(text.as_bytes().to_vec()),
        Value::Integer(number) => Some(number.to_string().into_bytes()),
        Value::Number(number) => Some(cjson::number(*number, 17).into_bytes()),
        _ => None,
    }
}

fn to_lua(lua: &Lua, reply: Reply) -> mlua::Result<Value> {
    let named = |name: &str, text: String| {
        let table = lua.create_table()?;
        table.set(name, text)?;
        Ok(Value::Table(table))
    };
    match reply {
        Reply::Simple(text) => named("ok", text),
        Reply::Error(text) => named("err", text),
        Reply::Int(number) => Ok(Value::Number(number as f64)),
        Reply::Bulk(text) => Ok(Value::String(lua.create_string(text)?)),
        Reply::Verbatim(text) => Ok(Value::String(lua.create_string(text)?)),
        Reply::Double(number) => Ok(Value::String(lua.create_string(cjson::number(number, 17))?)),
        Reply::Nil | Reply::NilArray => Ok(Value::Boolean(false)),
        Reply::Array(items) | Reply::Push(items) => {
            let table = lua.create_table()?;
            for (at, item) in items.into_iter().enumerate() {
                table.raw_set(at + 1, to_lua(lua, item)?)?;
            }
            Ok(Value::Table(table))
        }
        Reply::Map(_) => Ok(Value::Boolean(false)),
    }
}

fn from_lua(value: &Value) -> Reply {
    match value {
        Value::String(text) => Reply::bulk(text.as_bytes()),
        Value::Integer(number) => Reply::Int(*number),
        Value::Number(number) => Reply::Int(*number as i64),
        Value::Boolean(true) => Reply::Int(1),
        Value::Table(table) => {
            let text = |name: &str| table.raw_get::<Option<String>>(name).ok().flatten();
            if let Some(error) = text("err") {
                return Reply::Error(error);
            }
            if let Some(status) = text("ok") {
                return Reply::Simple(status);
            }
            let items = (1..).map_while(|at| match table.raw_get(at) {
                Ok(Value::Nil) | Err(_) => None,
                Ok(item) => Some(from_lua(&item)),
            });
            Reply::Array(items.collect())
        }
        _ => Reply::Nil,
    }
}
