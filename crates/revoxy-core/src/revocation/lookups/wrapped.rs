//! Unwraps values: removes the wrapper that a library adds to a value before it writes the value, so that the
//! application's own value is read.

use std::borrow::Cow;

use serde_json::Value;

/// The maximum number of layers to remove: for example, a cache may wrap the output of a serializer.
const MOST_LAYERS: usize = 3;

/// Returns the text or number inside; the text itself if it is not wrapped in a known way.
///
/// - A JSON text, `"…"`: Jackson, and caches that serialize to JSON.
/// - A class and a value, `["java.lang.Long", 1]`: Spring's `GenericJackson2JsonRedisSerializer`.
/// - An object with `value` and `expires` and nothing else: Keyv.
pub(super) fn unwrapped(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    for _ in 0..MOST_LAYERS {
        match within(&text) {
            Some(inner) => text = Cow::Owned(inner),
            None => break,
        }
    }
    text
}

fn within(text: &str) -> Option<String> {
    if !text.trim_start().starts_with(['"', '[', '{']) {
        return None;
    }
    match serde_json::from_str(text).ok()? {
        Value::String(inner) => Some(inner),
        Value::Array(pair) => match pair.as_slice() {
            [Value::String(class), value] if class.contains('.') => plain(value),
            _ => None,
        },
        Value::Object(members) => {
            let is_keyv = members.keys().all(|m| m == "value" || m == "expires");
            members.get("value").filter(|_| is_keyv).and_then(plain)
        }
        _ => None,
    }
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_wrapper_is_taken_off() {
        for (wrapped, expected) in [
            (
                r#"{"value":1700000000,"expires":1700000060000}"#,
                "1700000000",
            ),
            (r#"{"value":"1700000000","expires":null}"#, "1700000000"),
            (r#"{"value":true}"#, "true"),
            (r#""1700000000""#, "1700000000"),
            (r#""\"2023-11-14T22:13:20Z\"""#, "2023-11-14T22:13:20Z"),
            (r#"["java.lang.Long",1700000000000]"#, "1700000000000"),
            (r#"["java.util.Date", 1700000000000]"#, "1700000000000"),
            (r#"{"value":"[\"java.lang.Long\",7]"}"#, "7"),
        ] {
            assert_eq!(unwrapped(wrapped), expected, "{wrapped}");
        }
    }

    #[test]
    fn anything_else_stays_as_it_is() {
        for text in [
            "",
            "1700000000",
            "true",
            "\"",
            "[1]",
            r#"["a","b"]"#,
            r#"["java.lang.Long",1,2]"#,
            r#"["java.util.Arrays$ArrayList",[1]]"#,
            r#"{"value":null}"#,
            r#"{"value":{"a":1}}"#,
            r#"{"value":1,"at":2}"#,
            r#"{"revokedAt":1}"#,
            r#"{"value":1}x"#,
        ] {
            assert_eq!(unwrapped(text), text);
        }
    }
}
