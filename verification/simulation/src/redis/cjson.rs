//! `cjson` as scripts on the server have it: numbers with 14 digits, an empty table as an object.

use mlua::{Lua, Table, Value};
use serde_json::Value as Json;

/// The table `cjson`.
pub(super) fn library(lua: &Lua) -> mlua::Result<Table> {
    let library = lua.create_table()?;
    let decode = lua.create_function(|lua, text: mlua::String| {
        let json = serde_json::from_slice(&text.as_bytes());
        let json = json.map_err(|error| mlua::Error::RuntimeError(error.to_string()))?;
        decode(lua, &json)
    })?;
    let encode = lua.create_function(|lua, value: Value| {
        let mut out = Vec::new();
        encode(&value, &mut out)?;
        lua.create_string(out)
    })?;
    library.set("decode", decode)?;
    library.set("encode", encode)?;
    library.set("null", Value::NULL)?;
    Ok(library)
}

fn decode(lua: &Lua, json: &Json) -> mlua::Result<Value> {
    Ok(match json {
        Json::Null => Value::NULL,
        Json::Bool(is) => Value::Boolean(*is),
        Json::Number(number) => Value::Number(number.as_f64().unwrap_or_default()),
        Json::String(text) => Value::String(lua.create_string(text)?),
        Json::Array(items) => {
            let table = lua.create_table()?;
            for (at, item) in items.iter().enumerate() {
                table.raw_set(at + 1, decode(lua, item)?)?;
            }
            Value::Table(table)
        }
        Json::Object(members) => {
            let table = lua.create_table()?;
            for (name, value) in members {
                table.raw_set(name.as_str(), decode(lua, value)?)?;
            }
            Value::Table(table)
        }
    })
}

fn encode(value: &Value, out: &mut Vec<u8>) -> mlua::Result<()> {
    match value {
        Value::Nil => out.extend_from_slice(b"null"),
        Value::LightUserData(pointer) if pointer.0.is_null() => out.extend_from_slice(b"null"),
        Value::Boolean(is) => out.extend_from_slice(is.to_string().as_bytes()),
        Value::Integer(number) => {
            out.extend_from_slice(self::number(*number as f64, 14).as_bytes())
        }
        Value::Number(number) => out.extend_from_slice(self::number(*number, 14).as_bytes()),
        Value::String(text) => quote(&text.as_bytes(), out),
        Value::Table(table) => return encode_table(table, out),
        other => {
            let text = format!("Cannot serialise {}: type not supported", other.type_name());
            return Err(mlua::Error::RuntimeError(text));
        }
    }
    Ok(())
}

fn encode_table(table: &Table, out: &mut Vec<u8>) -> mlua::Result<()> {
    let mut pairs = Vec::new();
    for pair in table.pairs::<Value, Value>() {
        pairs.push(pair?);
    }
    if let Some(length) = length(&pairs)? {
        out.push(b'[');
        for at in 1..=length {
            if at > 1 {
                out.push(b',');
            }
            encode(&table.raw_get(at)?, out)?;
        }
        out.push(b']');
        return Ok(());
    }
    out.push(b'{');
    for (at, (name, value)) in pairs.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        match name {
            Value::String(text) => quote(&text.as_bytes(), out),
            Value::Integer(number) => quote(self::number(*number as f64, 14).as_bytes(), out),
            Value::Number(number) => quote(self::number(*number, 14).as_bytes(), out),
            _ => {
                let text = "Cannot serialise table: table key must be a number or string";
                return Err(mlua::Error::RuntimeError(text.to_owned()));
            }
        }
        out.push(b':');
        encode(value, out)?;
    }
    out.push(b'}');
    Ok(())
}

/// How long the array is that these are, where they are one: all names are numbers, and not too many are left out.
fn length(pairs: &[(Value, Value)]) -> mlua::Result<Option<i64>> {
    let index = |(name, _): &(Value, Value)| match name {
        Value::Integer(number) if *number > 0 => Some(*number),
        _ => None,
    };
    let indices: Option<Vec<i64>> = pairs.iter().map(index).collect();
    let Some(length) = indices.and_then(|indices| indices.into_iter().max()) else {
        return Ok(None);
    };
    if length > 10 && length > pairs.len() as i64 * 2 {
        let text = "Cannot serialise table: excessively sparse array";
        return Err(mlua::Error::RuntimeError(text.to_owned()));
    }
    Ok(Some(length))
}

fn quote(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'/' => out.extend_from_slice(b"\\/"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            8 => out.extend_from_slice(b"\\b"),
            12 => out.extend_from_slice(b"\\f"),
            0..32 | 127 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(*byte),
        }
    }
    out.push(b'"');
}

/// A number as `%.<digits>g` writes it.
pub(super) fn number(number: f64, digits: usize) -> String {
    if number == 0.0 {
        return "0".to_owned();
    }
    let scientific = format!("{number:.*e}", digits - 1);
    let Some((mantissa, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let trim = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if exponent < -4 || exponent >= digits as i32 {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trim(mantissa), exponent.abs());
    }
    let after = usize::try_from(digits as i32 - 1 - exponent).unwrap_or_default();
    trim(&format!("{number:.after$}"))
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_are_written_with_the_digits_that_c_gives_them() {
        for (given, text) in [
            (1_700_000_000.25, "1700000000.25"),
            (1.0, "1"),
            (-2.5, "-2.5"),
            (1e14, "1e+14"),
            (123_456_789_012_345_680.0, "1.2345678901235e+17"),
            (0.000_01, "1e-05"),
            (1_764_500_000_123.0, "1764500000123"),
        ] {
            assert_eq!(number(given, 14), text);
        }
    }
}
