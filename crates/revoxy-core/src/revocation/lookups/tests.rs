//! Tests of the names that are rendered for tokens, and of how the feed maps names to lookups.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::*;
use crate::jwt::testing::{self, Signer};
use crate::jwt::{ClaimPath, Issuer, IssuerProfile, Verifier};
use crate::revocation::Effect;

/// The digest in hexadecimal, computed differently from the template.
fn sha256_hex(text: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    let digits = digest.as_ref().iter().flat_map(|b| [b >> 4, b & 15]);
    let digits = digits.filter_map(|d| char::from_digit(u32::from(d), 16));
    digits.collect()
}

/// A token with these claims in addition to those of a valid token, and its verified claims, with `kept`
/// kept.
fn verified(more: Value, kept: &[&str]) -> (String, VerifiedClaims) {
    let mut claims: Map<String, Value> = testing::claims();
    claims.extend(more.as_object().unwrap().clone());
    claims.retain(|_, value| !value.is_null());
    let claims = Value::Object(claims).to_string();
    let token = Signer::of("EdDSA").token("EdDSA", r#"{"alg":"EdDSA","kid":"ed25519"}"#, &claims);
    crate::jwt::install_crypto().unwrap();
    let profile = IssuerProfile {
        kept_claims: kept
            .iter()
            .map(|name| ClaimPath((*name).to_owned()))
            .collect(),
        ..testing::profile()
    };
    let verifier = Verifier::new([Arc::new(Issuer::new(profile, testing::all_keys()))]);
    let claims = verifier.verify(&token, testing::now()).unwrap();
    (token, claims)
}

fn rule(key: &str) -> KeyRule {
    KeyRule::named(key, Match::Exists).unwrap()
}

fn names(rules: Vec<KeyRule>, more: Value, kept: &[&str]) -> Option<Vec<String>> {
    let (token, claims) = verified(more, kept);
    let keys = TokenKeys::of(&claims);
    let keys = Lookups::new(rules).add_to(keys, &claims, Some(&token));
    let names = keys
        .foreign()
        .iter()
        .map(|key| key.name().escape_ascii().to_string());
    keys.is_identified().then(|| names.collect())
}

fn name(key: &str, more: Value, kept: &[&str]) -> Option<String> {
    names(vec![rule(key)], more, kept).map(|names| names.concat())
}

#[test]
fn every_variable_stands_for_what_the_token_says() {
    let more = json!({"sid": "s", "azp": "app", "dept": {"id": 7}, "iat": 1_699_999_990});
    let kept = ["iss", "iat", "exp", "/dept/id"];
    let (token, _) = verified(more.clone(), &kept);
    let exp = testing::claims()["exp"].to_string();
    for (template, expected) in [
        ("{jti}", "t1".to_owned()),
        ("a:{sub}:z", "a:alice:z".to_owned()),
        ("{sid}/{client}", "s/app".to_owned()),
        ("{iss}", testing::ISS.to_owned()),
        ("{iat}-{exp}", format!("1699999990-{exp}")),
        ("{claim:/dept/id}", "7".to_owned()),
        ("{{{jti}}}", "{t1}".to_owned()),
        ("bl:{token}", format!("bl:{token}")),
        ("{signature}", token.rsplit('.').next().unwrap().to_owned()),
        ("{token_sha256_hex}", sha256_hex(&token)),
    ] {
        let made = name(template, more.clone(), &kept);
        assert_eq!(made.as_deref(), Some(&*expected), "{template}");
    }
    let base64url = name("{token_sha256_base64url}", more, &kept).unwrap();
    assert_eq!(base64url.len(), 43);
}

#[test]
fn a_mistake_in_a_template_says_what_to_do() {
    for (template, part) in [
        ("a{", "not closed"),
        ("a{jti", "not closed"),
        ("}", "written `}}`"),
        ("{jit}", "no variable `{jit}`; there are {jti}"),
        ("{}", "no variable"),
        ("{claim:}", "without the name"),
    ] {
        let why = Template::parse(template).unwrap_err();
        assert!(why.contains(part), "{template}: {why}");
    }
}

#[test]
fn a_token_that_lacks_a_claim_is_unidentified_unless_the_lookup_is_to_be_skipped() {
    let skipping = KeyRule {
        without_claim: WithoutClaim::Skip,
        ..rule("s:{sid}")
    };
    assert_eq!(name("s:{sid}", json!({}), &[]), None);
    let made = names(vec![skipping.clone(), rule("{jti}")], json!({}), &[]);
    assert_eq!(made, Some(vec!["t1".to_owned()]));
    let made = names(vec![skipping], json!({"sid": "1"}), &[]);
    assert_eq!(made, Some(vec!["s:1".to_owned()]));
}

#[test]
fn what_cannot_be_part_of_a_key_is_never_skipped() {
    let long = "x".repeat(1025);
    for value in [
        json!("a\nb"),
        json!("\u{0}"),
        json!("\u{85}"),
        json!(""),
        json!(long),
        json!(1.5),
        json!(true),
        json!(["a"]),
    ] {
        let rule = KeyRule {
            without_claim: WithoutClaim::Skip,
            ..rule("u:{claim:x}")
        };
        let more = json!({"x": value});
        assert_eq!(names(vec![rule], more.clone(), &["x"]), None, "{more}");
    }
    // Our own keys are not application keys.
    let ours = json!({"jti": "revoxy:jti:shop:1"});
    assert_eq!(name("{jti}", ours, &[]), None);
}

#[test]
fn a_token_that_the_proxy_verified_has_no_text_to_make_a_key_of() {
    let (_, claims) = verified(json!({}), &[]);
    let lookups = Lookups::new(vec![rule("{token}")]);
    let keys = lookups.add_to(TokenKeys::of(&claims), &claims, None);
    assert!(!keys.is_identified());
}

#[test]
fn a_lookup_is_for_the_tokens_of_its_issuers() {
    let of = |issuer: &str| KeyRule {
        issuers: vec![issuer.to_owned()],
        ..rule("{jti}")
    };
    assert_eq!(names(vec![of("shop")], json!({}), &[]).unwrap(), ["t1"]);
    assert!(names(vec![of("other")], json!({}), &[]).unwrap().is_empty());
}

#[test]
fn a_java_key_is_serialized() {
    let java = KeyRule {
        encoding: KeyEncoding::Java,
        ..rule("BL:{jti}")
    };
    let made = names(vec![java.clone()], json!({}), &[]).unwrap();
    assert_eq!(made, [r"\xac\xed\x00\x05t\x00\x05BL:t1"]);
    let lookups = Lookups::new(vec![java]);
    let name = b"\xac\xed\x00\x05t\x00\x05BL:t1";
    assert_eq!(lookups.named(name).count(), 1);
    assert_eq!(lookups.named(b"BL:t1").count(), 0);
    assert_eq!(lookups.named(b"\xac\xed\x00\x05t\x00\x05XL:t1").count(), 0);
}

#[test]
fn a_name_concerns_the_lookups_that_may_have_made_it() {
    let cutoffs = KeyRule {
        matching: Match::IssuedBefore(TimeUnit::Auto),
        ..rule("revoked:user:{sub}")
    };
    let lookups = Lookups::new(vec![rule("revoked:{jti}"), cutoffs, rule("{jti}:off")]);
    for (name, count) in [
        ("revoked:1", 1),
        ("revoked:user:bob", 2),
        ("revoked:", 0),
        ("other:1", 0),
        ("1:off", 1),
        (":off", 0),
        ("revoked:1:off", 2),
        ("revoked:\n", 0),
        ("revoxy:jti:shop:1:off", 0),
    ] {
        assert_eq!(lookups.named(name.as_bytes()).count(), count, "{name}");
    }
    // Each lookup has its own meaning.
    let mut hashes: Vec<_> = lookups.named(b"revoked:user:bob").map(|(h, _)| h).collect();
    hashes.dedup();
    assert_eq!(hashes.len(), 2);
}

#[test]
fn what_is_made_of_a_token_is_found_again_by_its_name() {
    let rules = vec![rule("b:{jti}"), rule("{sub}"), rule("{{{jti}}}x")];
    let (token, claims) = verified(json!({}), &[]);
    let lookups = Lookups::new(rules);
    let keys = lookups.add_to(TokenKeys::of(&claims), &claims, Some(&token));
    for key in keys.foreign() {
        let mut named = lookups.named(key.name());
        assert!(named.any(|(hash, _)| Some(hash) == key.rule().hash(key.name())));
    }
}

#[test]
fn a_template_that_no_name_could_be_told_from_is_refused() {
    for template in ["a\t{jti}", "{iss}\n{jti}", "{jti}\0", "\u{85}{jti}"] {
        let refused = Template::parse(template).unwrap_err();
        assert!(refused.contains("control character"), "{refused}");
    }
}

#[test]
fn our_own_keys_are_nobody_else_s() {
    let lookups = Lookups::new(vec![rule("{jti}")]);
    for name in ["revoxy:jti:shop:1", "revoxy-tokens:record:{shop:alice}"] {
        assert_eq!(lookups.named(name.as_bytes()).count(), 0, "{name}");
        assert_eq!(
            names(vec![rule("{jti}")], json!({ "jti": name }), &[]),
            None
        );
    }
    assert_eq!(lookups.named(b"revoxy-to").count(), 1);
}

#[test]
fn no_followed_prefix_begins_with_another() {
    let java = KeyRule {
        encoding: KeyEncoding::Java,
        ..rule("BL:{jti}")
    };
    let set = KeyRule {
        matching: Match::Member(Template::parse("{jti}").unwrap()),
        ..rule("revoked_jti")
    };
    let prefixes = |rules: &[&KeyRule]| {
        let rules = rules.iter().map(|rule| (*rule).clone()).collect();
        Lookups::new(rules).prefixes()
    };
    let (a, b) = (rule("revoked:{jti}"), rule("revoked:user:{sub}"));
    assert_eq!(prefixes(&[]), [b"revoxy:"]);
    assert_eq!(
        prefixes(&[&b, &a, &a, &set]),
        [&b"revoked:"[..], b"revoxy:"]
    );
    assert_eq!(prefixes(&[&java]), [&b"revoxy:"[..], &java::HEAD]);
    assert_eq!(prefixes(&[&a, &rule("{jti}")]), [b""]);
    assert_eq!(prefixes(&[&rule("rev{jti}")]), [b"rev"]);
}

#[test]
fn debug_output_never_shows_a_name() {
    let (token, claims) = verified(json!({}), &[]);
    let lookups = Lookups::new(vec![rule("b:{jti}")]);
    let keys = lookups.add_to(TokenKeys::of(&claims), &claims, Some(&token));
    let shown = format!("{:?}", keys.foreign());
    assert!(
        shown.contains("b:{jti}") && !shown.contains("t1"),
        "{shown}"
    );
}

#[test]
fn the_same_name_with_another_meaning_is_another_entry() {
    let mut rules = [Match::Exists, Match::Equals(vec!["1".to_owned()])].map(|matching| KeyRule {
        matching,
        ..rule("{jti}")
    });
    rules[1].required = true;
    let content = Content::Text(b"0");
    let now = testing::now();
    assert_eq!(
        rules[0].meaning(content, now).effect,
        Some(Effect::REVOKES_ALL)
    );
    assert_eq!(rules[1].meaning(content, now).effect, Some(Effect::Admits));
    let lookups = Lookups::new(rules.to_vec());
    let hashes: Vec<_> = lookups.named(b"x").map(|(hash, _)| hash).collect();
    assert_ne!(hashes[0], hashes[1]);
}
