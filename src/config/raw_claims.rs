//! The forms in which claims can be configured: one or several, with or without required values.

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::jwt::{ClaimPath, RequiredClaim};

/// One value, or a list of them.
#[derive(Clone, Debug)]
pub(super) struct OneOrMany<T>(pub Vec<T>);

impl<'de, T: DeserializeOwned> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let many = match Value::deserialize(deserializer)? {
            Value::Array(many) => many,
            one => vec![one],
        };
        let read = many.into_iter().map(serde_json::from_value);
        let read = read.collect::<Result<_, _>>().map(Self);
        read.map_err(|_| D::Error::custom("must be a text, or a list of texts"))
    }
}

/// Required claims: a list of names, or a mapping from names to permitted values.
#[derive(Clone, Debug, Default)]
pub(super) struct RawRequired(pub Vec<RequiredClaim>);

impl<'de> Deserialize<'de> for RawRequired {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut claims = Vec::new();
        match Value::deserialize(deserializer)? {
            Value::Array(entries) => {
                for entry in entries {
                    claims.extend(of_entry(entry).map_err(D::Error::custom)?);
                }
            }
            entry @ Value::Object(_) => claims = of_entry(entry).map_err(D::Error::custom)?,
            _ => return Err(D::Error::custom(FORM)),
        }
        Ok(Self(claims))
    }
}

const FORM: &str = "must be a list of names, such as [email], or name what claims must be, such as { email_verified: true, \
                    client_id: [web, app] }";

fn of_entry(entry: Value) -> Result<Vec<RequiredClaim>, String> {
    let members = match entry {
        Value::String(name) => return Ok(vec![RequiredClaim::present(ClaimPath(name))]),
        Value::Object(members) => members,
        _ => return Err(FORM.to_owned()),
    };
    let claim = |(name, wanted): (String, Value)| {
        let values = match wanted {
            Value::Array(many) if many.is_empty() => {
                return Err(format!("`{name}`: an empty list: no value would do"));
            }
            Value::Array(many) => many,
            one => vec![one],
        };
        let is_plain = |v: &Value| v.is_string() || v.is_number() || v.is_boolean();
        if !values.iter().all(is_plain) {
            return Err(format!(
                "`{name}`: must be a text, a number, true or false, or a list of such"
            ));
        }
        let claim = ClaimPath(name);
        Ok(RequiredClaim { claim, values })
    };
    members.into_iter().map(claim).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: Value) -> Result<Vec<(String, Vec<Value>)>, String> {
        let raw: RawRequired = serde_json::from_value(value).map_err(|e| e.to_string())?;
        let pairs = raw.0.into_iter().map(|c| (c.claim.0, c.values));
        Ok(pairs.collect())
    }

    #[test]
    fn names_and_values_may_be_mixed() {
        let of = |name: &str, values: Vec<Value>| (name.to_owned(), values);
        assert_eq!(read(json!(["a"])), Ok(vec![of("a", vec![])]));
        let expected = vec![
            of("a", vec![json!(true)]),
            of("/b/c", vec![json!("x"), json!(1)]),
        ];
        let mixed = json!([{ "a": true }, { "/b/c": ["x", 1] }]);
        assert_eq!(read(mixed), Ok(expected));
        assert_eq!(
            read(json!({ "a": "x" })),
            Ok(vec![of("a", vec![json!("x")])])
        );
    }

    #[test]
    fn what_no_claim_could_be_is_refused() {
        for value in [
            json!("a"),
            json!(1),
            json!([1]),
            json!({ "a": [] }),
            json!({ "a": null }),
            json!({ "a": {} }),
            json!({ "a": [["x"]] }),
        ] {
            assert!(read(value.clone()).is_err(), "{value}");
        }
    }
}
