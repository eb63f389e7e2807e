//! Claims that are kept beyond the judging of a token, because keys of applications are made of them.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::issuer::ClaimPath;

/// The longest claim that is kept as a text. Nobody names a key by more, and every remembered token holds it.
const MAX_BYTES: usize = 1024;
/// Beyond it neighbouring whole numbers are one double.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0; // 2^53

/// The kept claims of one token.
#[derive(Clone)]
pub(super) struct KeptClaims {
    names: Arc<[ClaimPath]>,
    values: Box<[Option<ClaimText>]>,
}

/// What a claim says, where it can stand in a text.
#[derive(Clone, PartialEq, Eq)]
pub enum ClaimText {
    /// A text, or a whole number in decimal.
    Text(String),
    /// Something that two programs would not spell alike (a fraction, a truth value, a list), or that is too long.
    Unspellable,
}

impl KeptClaims {
    /// Keeps the claims of these names. `doubles` says that every number has gone through a double on its way.
    pub(super) fn of(claims: &Map<String, Value>, names: &Arc<[ClaimPath]>, doubles: bool) -> Self {
        let keep = |name: &ClaimPath| name.find(claims).map(|v| ClaimText::of(v, doubles));
        Self {
            values: names.iter().map(keep).collect(),
            names: Arc::clone(names),
        }
    }

    /// The claim of this name; `None` where the token does not have it, or where it is not among those kept.
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
            Value::Number(number) if doubles => match number.as_f64() {
                Some(n) if n.fract() == 0.0 && n.abs() < MAX_EXACT => Self::Text(format!("{n:.0}")),
                _ => Self::Unspellable,
            },
            _ => Self::Unspellable,
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
        for value in [json!(1.5), json!(1e300), json!(MAX_EXACT)] {
            let kept = kept(json!({"a": value}), "a", true);
            assert!(kept == Some(ClaimText::Unspellable), "{value}");
        }
    }
}
