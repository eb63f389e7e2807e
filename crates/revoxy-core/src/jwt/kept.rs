//! Claims that are kept after a token has been judged, because application keys are made from them.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::claim_path::ClaimPath;
use super::identifiers::whole;

/// The maximum length of a claim that is kept as a text. Application keys contain no longer values, and every
/// cached token stores the text.
const MAX_BYTES: usize = 1024;

/// The kept claims of one token.
#[derive(Clone)]
pub(super) struct KeptClaims {
    names: Arc<[ClaimPath]>,
    values: Box<[Option<ClaimText>]>,
}

/// The value of a claim that may become part of a key.
#[derive(Clone, PartialEq, Eq)]
pub enum ClaimText {
    /// A string, or a whole number in decimal.
    Text(String),
    /// A value that two programs would spell differently (a fraction, a boolean, a list), or that is too
    /// long.
    Unspellable,
}

impl KeptClaims {
    /// Keeps the claims with these names. `doubles` is whether the proxy has converted every number to a
    /// double.
    pub(super) fn of(claims: &Map<String, Value>, names: &Arc<[ClaimPath]>, doubles: bool) -> Self {
        let keep = |name: &ClaimPath| name.find(claims).map(|v| ClaimText::of(v, doubles));
        Self {
            values: names.iter().map(keep).collect(),
            names: Arc::clone(names),
        }
    }

    /// Returns the claim with this name; `None` if the token lacks it, or if the claim is not kept.
    pub(super) fn find(&self, name: &ClaimPath) -> Option<&ClaimText> {
        let at = self.names.iter().position(|kept| kept == name)?;
        self.values[at].as_ref()
    }
}

impl ClaimText {
    fn of(value: &Value, doubles: bool) -> Self {
        match value {
            Value::String(text) if text.len() <= MAX_BYTES => Self::Text(text.clone()),
            Value::Number(number) if number.is_i64() || number.is_u64() => {
                Self::Text(number.to_string())
            }
            Value::Number(number) if doubles => {
                let whole = number.as_f64().and_then(whole);
                whole.map_or(Self::Unspellable, Self::Text)
            }
            _ => Self::Unspellable,
        }
    }
}

/// The values of claims that policies make demands on, or that are forwarded.
#[derive(Clone, Debug)]
pub(super) struct KeptValues {
    names: Arc<[ClaimPath]>,
    values: Box<[Option<Value>]>,
}

impl KeptValues {
    pub(super) fn of(claims: &Map<String, Value>, names: &Arc<[ClaimPath]>) -> Self {
        Self {
            values: names.iter().map(|n| n.find(claims).cloned()).collect(),
            names: Arc::clone(names),
        }
    }

    pub(super) fn find(&self, name: &str) -> Option<&Value> {
        let at = self.names.iter().position(|kept| kept.0 == name)?;
        self.values[at].as_ref()
    }

    /// Returns an upper bound on the memory of the values.
    pub(super) fn bytes(&self) -> usize {
        self.values.iter().flatten().map(bytes_of).sum()
    }
}

/// An object is a `BTreeMap`, which allocates room for so many members at a time, of so many bytes each: a name, a
/// value, and a share of the pointers.
const NODE_MEMBERS: usize = 11;
const NODE_MEMBER: usize = size_of::<(String, Value)>() + 8;

fn bytes_of(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
            Value::String(text) => text.capacity(),
            Value::Array(list) => {
                let unused = list.capacity() - list.len();
                unused * size_of::<Value>() + list.iter().map(bytes_of).sum::<usize>()
            }
            Value::Object(members) => {
                // A node may be half empty.
                let nodes = members.len().div_ceil(NODE_MEMBERS / 2);
                let names_and_values = members
                    .iter()
                    .map(|(name, value)| name.capacity() + bytes_of(value));
                nodes * NODE_MEMBERS * NODE_MEMBER + names_and_values.sum::<usize>()
            }
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn kept(claims: Value, name: &str, doubles: bool) -> Option<ClaimText> {
        let name = ClaimPath(name.to_owned());
        let names = Arc::from([name.clone()]);
        let kept = KeptClaims::of(claims.as_object().unwrap(), &names, doubles);
        kept.find(&name).cloned()
    }

    #[test]
    fn texts_and_whole_numbers_are_kept_as_they_stand() {
        let text = |text: &str| Some(ClaimText::Text(text.to_owned()));
        assert!(kept(json!({"a": "x y"}), "a", false) == text("x y"));
        assert!(kept(json!({"a": {"b": 7}}), "/a/b", false) == text("7"));
        assert!(kept(json!({"a": -7}), "a", false) == text("-7"));
        assert!(kept(json!({"a": null}), "a", false).is_none());
        assert!(kept(json!({}), "a", false).is_none());
    }

    #[test]
    fn what_programs_spell_differently_is_not_spelled_at_all() {
        for value in [
            json!(1.5),
            json!(1_700_000_000.0),
            json!(true),
            json!([1]),
            json!({}),
            json!("x".repeat(MAX_BYTES + 1)),
        ] {
            let kept = kept(json!({"a": value}), "a", false);
            assert!(kept == Some(ClaimText::Unspellable), "{value}");
        }
    }

    #[test]
    fn a_whole_number_that_has_been_a_double_is_taken_for_what_it_was() {
        let text = ClaimText::Text("1700000000".to_owned());
        assert!(kept(json!({"a": 1_700_000_000.0}), "a", true) == Some(text));
        for value in [json!(1.5), json!(1e300), json!(9_007_199_254_740_992.0)] {
            let kept = kept(json!({"a": value}), "a", true);
            assert!(kept == Some(ClaimText::Unspellable), "{value}");
        }
    }

    #[test]
    fn the_size_of_values_counts_what_a_short_text_becomes_in_memory() {
        let claims = json!({ "small": "a", "many": vec![1; 5_000], "other": "x".repeat(9_000) });
        let names = Arc::from(["small", "many"].map(|n| ClaimPath(n.to_owned())));
        let values = KeptValues::of(claims.as_object().unwrap(), &names);
        assert_eq!(values.find("small"), Some(&json!("a")));
        assert_eq!(values.find("other"), None);
        let least = 5_000 * size_of::<Value>();
        assert!(
            (least..2 * least).contains(&values.bytes()),
            "{}",
            values.bytes()
        );
    }
}
