//! Property tests: the parser always returns a result, and always the same one.

use proptest::prelude::*;

use super::*;
use crate::jwt::compact::CompactToken;
use crate::jwt::rejection::Rejection;

fn config() -> ProptestConfig {
    // More cases on demand: PROPTEST_CASES=100000.
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Text that resembles a token.
fn nearly_token() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        any::<Vec<u8>>().prop_map(|bytes| b64(&bytes)),
        "[A-Za-z0-9_=+/-]{0,40}",
        r#"\{("(alg|kid|typ|exp|iss)":("HS256"|"none"|[0-9]{1,20}|null|\[\]),?){0,3}\}"#
            .prop_map(|json| b64(json.as_bytes())),
    ];
    proptest::collection::vec(part, 0..7).prop_map(|parts| parts.join("."))
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_text_is_answered_without_a_panic(text in any::<String>()) {
        prop_assert!(verifier().verify(&text, now()).is_err());
    }

    #[test]
    fn what_is_nearly_a_token_is_answered_without_a_panic(text in nearly_token()) {
        prop_assert!(verifier().verify(&text, now()).is_err());
    }

    /// A token has a single spelling: whatever parses consists of exactly its own parts.
    #[test]
    fn what_parses_is_spelled_in_the_one_way(text in nearly_token()) {
        if let Ok(token) = CompactToken::parse(&text) {
            prop_assert_eq!(format!("{}.{}", token.signing_input, token.signature), text);
        }
    }

    /// A change of one byte anywhere is never accepted, and only refused for a reason that such a change can
    /// have.
    #[test]
    fn no_change_to_a_token_goes_unnoticed(at in any::<prop::sample::Index>(), byte in 0x20..0x7f_u8) {
        let token = good_token("EdDSA");
        let mut changed = token.clone().into_bytes();
        let at = at.index(changed.len());
        prop_assume!(changed[at] != byte);
        changed[at] = byte;
        let changed = String::from_utf8(changed).unwrap();
        prop_assert!(verifier().verify(&changed, now()).is_err());
    }

    /// Any JSON as the value of any claim that we read is accepted or refused, for a reason that claims can
    /// have.
    #[test]
    fn any_json_for_a_claim_is_judged(
        claim in prop::sample::select(vec!["exp", "nbf", "iat", "aud", "jti", "sub", "sid", "azp", "type"]),
        value in json_value(),
    ) {
        use Rejection::*;
        let verdict = verifier().verify(&token("HS256", &claims_but(claim, value)), now());
        let possible = [MissingClaim, InvalidClaim, Expired, NotYetValid, IssuedInFuture, WrongAudience];
        prop_assert!(reason(verdict).is_none_or(|reason| possible.contains(&reason)));
    }
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec(("[a-z]{0,4}", inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}
