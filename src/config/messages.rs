//! Messages about wrong values and keys, in the terms of the configuration and not of the program.

use serde_json::Value;

use crate::spelling::nearest;

/// Every key of the configuration is a field in one of these files.
const FIELDS: [&str; 2] = [include_str!("raw.rs"), include_str!("raw_claims.rs")];

/// Converts `issuers[0].name` and `issuers.0.?.name` to `issuers.0.name`, to unify the spellings of two
/// crates.
pub(super) fn plain(path: &str) -> String {
    let path = path.replace('[', ".").replace([']', '?'], "");
    path.split('.')
        .filter(|s| !s.is_empty())
        .collect::<Vec<_>>()
        .join(".")
}

/// Makes the message about an unknown key.
pub(super) fn unknown_key(path: &str) -> String {
    let key = path.rsplit('.').next().unwrap_or(path);
    match nearest(&key.to_ascii_lowercase(), known_keys()) {
        Some(meant) => format!("unknown key; did you mean `{meant}`?"),
        None => "unknown key".to_owned(),
    }
}

/// Makes the message about a value that its key does not permit. `said` is the message of the library.
pub(super) fn wrong_value(said: &str, value: Option<&Value>) -> String {
    let found = || value.map_or_else(String::new, |value| format!(", not {}", shown(value)));
    let scalar = || match value {
        Some(Value::String(text)) if is_plain(text) => text.clone(),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
        _ => "one, two".to_owned(),
    };
    if let Some((_, names)) = said.split_once("unknown variant ") {
        return choice(names).unwrap_or_else(|| said.to_owned());
    }
    let Some((_, expected)) = said.split_once("expected ") else {
        return said.to_owned();
    };
    match expected {
        "a sequence" => format!("must be a list, such as [{}]", scalar()),
        "a boolean" => format!("must be true or false{}", found()),
        "a string" => match value {
            Some(Value::Number(_) | Value::Bool(_)) => {
                format!("must be a text: write \"{}\", with quotes", scalar())
            }
            _ => format!("must be a text{}", found()),
        },
        "a map" => format!("must have keys below it{}", found()),
        "newtype variant" => "needs a value of its own, such as { serve_stale: 5s }".to_owned(),
        "unit variant" => "stands alone, without a value".to_owned(),
        "u8" | "u16" | "u32" | "u64" | "usize" => {
            format!("must be a whole number, 0 or more{}", found())
        }
        "i64" => format!("must be a whole number{}", found()),
        "f64" => format!("must be a number{}", found()),
        "path string" => format!("must be the path of a file{}", found()),
        other if other.starts_with("struct ") || other.starts_with("enum ") => {
            format!("must have keys below it{}", found())
        }
        _ => said.to_owned(),
    }
}

/// Rewords "`vieww`, expected `view` or `store`".
fn choice(names: &str) -> Option<String> {
    let (given, names) = names.split_once(", expected ")?;
    let names: Vec<&str> = names.split('`').skip(1).step_by(2).collect();
    let lower = given.trim_matches('`').to_ascii_lowercase();
    let meant = nearest(&lower, names.iter().copied());
    let meant = meant.map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    Some(format!("{given} is none of {}{meant}", names.join(", ")))
}

fn known_keys() -> impl Iterator<Item = &'static str> {
    let lines = FIELDS.into_iter().flat_map(str::lines);
    lines.filter_map(|line| {
        let (name, _) = line.trim_start().strip_prefix("pub ")?.split_once(": ")?;
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        name.chars().all(is_name).then_some(name)
    })
}

fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 40
        && !text.contains(|c: char| c.is_control() || "[]{},:".contains(c))
}

/// Describes a value in a message, without showing what could be a secret.
fn shown(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "several keys",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_with_a_typing_mistake_is_told_what_it_may_have_meant() {
        for (path, expected) in [
            ("isuers", "unknown key; did you mean `issuers`?"),
            (
                "revocation.store.reddis",
                "unknown key; did you mean `redis`?",
            ),
            (
                "issuers.0.audience",
                "unknown key; did you mean `audiences`?",
            ),
            (
                "revocation.max_stalenes",
                "unknown key; did you mean `max_staleness`?",
            ),
            ("server.nonsense", "unknown key"),
        ] {
            assert_eq!(unknown_key(path), expected, "{path}");
        }
    }

    #[test]
    fn what_a_value_must_be_is_told_without_the_names_of_types() {
        let text = |text: &str| Value::String(text.to_owned());
        for (said, value, expected) in [
            (
                "invalid type: string \"shop\", expected a sequence",
                text("shop"),
                "must be a list, such as [shop]",
            ),
            (
                "invalid type: integer `22001`, expected a string",
                Value::from(22001),
                "must be a text: write \"22001\", with quotes",
            ),
            (
                "invalid type: string \"yes\", expected a boolean",
                text("yes"),
                "must be true or false, not a text",
            ),
            (
                "invalid type: unit variant, expected newtype variant",
                text("serve_stale"),
                "needs a value of its own, such as { serve_stale: 5s }",
            ),
            (
                "unknown variant `vieww`, expected `view` or `store`",
                text("vieww"),
                "`vieww` is none of `view`, `store`; did you mean `view`?",
            ),
            ("50: no unit", text("50"), "50: no unit"),
        ] {
            assert_eq!(wrong_value(said, Some(&value)), expected);
        }
    }
}
