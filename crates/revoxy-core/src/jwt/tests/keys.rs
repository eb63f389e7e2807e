//! Tests of keys: how strong they must be, and which one a token is verified with.

use super::*;
use crate::jwt::error::VerifyError;
use crate::jwt::rejection::Rejection;
use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use crate::jwt::key_file::{KeyFile, SecretEncoding, SecretFile};

fn set(jwks: &Value) -> Result<(usize, Vec<String>), String> {
    set_for(jwks, &Algorithm::ALL)
}

fn set_for(jwks: &Value, allowed: &[Algorithm]) -> Result<(usize, Vec<String>), String> {
    install_crypto().unwrap();
    jwk::parse_set(jwks.to_string().as_bytes(), allowed)
        .map(|(keys, skipped)| (keys.len(), skipped))
}

fn but(mut jwk: Value, member: &str, value: Value) -> Value {
    jwk[member] = value;
    jwk
}

#[test]
#[rustfmt::skip]
fn a_key_that_cannot_be_used_is_left_out_and_the_others_stay() {
    let good = Signer::of("ES256").jwk(Some("good"));
    let rsa = || Signer::of("RS256").jwk(Some("bad"));
    let p256 = || Signer::of("ES256").jwk(Some("bad"));
    let cases: Vec<(&str, Value, &str)> = vec![
        ("an unknown type", json!({ "kty": "AKP", "kid": "bad" }), "not supported"),
        ("no type", json!({ "kid": "bad" }), "`kty` is missing"),
        ("a curve of Bitcoin", but(p256(), "crv", json!("secp256k1")), "not supported"),
        ("a key for agreement", json!({ "kty": "OKP", "crv": "X25519", "x": "AA" }), "not supported"),
        ("a key for encryption", but(rsa(), "use", json!("enc")), "`use`"),
        ("a key that only signs", but(rsa(), "key_ops", json!(["sign"])), "`key_ops`"),
        ("operations that are no list", but(rsa(), "key_ops", json!("verify")), "`key_ops`"),
        ("an algorithm for encryption", but(rsa(), "alg", json!("RSA-OAEP")), "`alg`"),
        ("an algorithm of another kind", but(rsa(), "alg", json!("ES256")), "serves none"),
        ("a point of another curve", but(p256(), "crv", json!("P-384")), "not a P-384"),
        ("a coordinate cut short", but(p256(), "x", json!("AAAA")), "not a P-256"),
        ("no coordinate", json!({ "kty": "EC", "crv": "P-256", "x": "AA" }), "`y` is missing"),
        ("a member that is no text", but(p256(), "x", json!(1)), "not a string"),
        ("padding", but(p256(), "x", json!("AA==")), "base64url"),
        ("RSA with 1024 bits", but(rsa(), "n", json!(b64(&[0xc3; 128]))), "1024 bits"),
        ("RSA with 2040 bits", but(rsa(), "n", json!(b64(&[0xc3; 255]))), "2040 bits"),
        ("RSA with zeros in front", but(rsa(), "n", json!(b64(&[&[0; 128][..], &[0xc3; 128]].concat()))), "1024 bits"),
        ("RSA with 16384 bits", but(rsa(), "n", json!(b64(&[0xc3; 2048]))), "16384 bits"),
        ("a secret of 31 bytes", json!({ "kty": "oct", "k": b64(&[1; 31]), "alg": "HS256" }), "at least 32"),
        ("a secret for HS512 of 63 bytes", json!({ "kty": "oct", "k": b64(&[1; 63]), "alg": "HS512" }), "at least 64"),
        ("an empty secret", json!({ "kty": "oct", "k": "" }), "0 bytes"),
        ("no object", json!("key"), "not an object"),
        ("the same kid again", but(good.clone(), "x", json!(b64(&[9; 32]))), "same kid"),
    ];
    for (name, bad, why) in cases {
        let (count, skipped) = set(&json!({ "keys": [good, bad] })).unwrap();
        assert_eq!((count, skipped.len()), (1, 1), "{name}: {skipped:?}");
        assert!(skipped[0].contains(why), "{name}: {skipped:?}");
    }
}

#[test]
fn a_set_without_a_usable_key_is_refused_as_a_whole() {
    let many = vec![Signer::of("ES256").jwk(None); 1001];
    for (set_of, why) in [
        (json!({ "keys": [] }), "empty"),
        (json!({ "keys": [{ "kty": "AKP" }] }), "not supported"),
        (json!({ "keys": {} }), "not a JWK set"),
        (json!([]), "not a JWK set"),
        (json!({}), "not a JWK set"),
        (json!({ "keys": many }), "at most 1000"),
    ] {
        let error = set(&set_of).unwrap_err();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn messages_about_keys_hold_no_key_material() {
    let secret = "c2VjcmV0LXNlY3JldC1zZWNyZXQ";
    let private = but(Signer::of("ES256").jwk(None), "d", json!(secret));
    for jwks in [
        json!({ "keys": [{ "kty": "oct", "k": secret }] }),
        json!({ "keys": [but(private, "crv", json!("P-256K"))] }),
        json!({ "keys": [], "k": secret }),
    ] {
        assert!(!set(&jwks).unwrap_err().contains(secret));
    }
    let broken = format!("{{\"keys\":[{{\"k\":\"{secret}\"]}}");
    let error = jwk::parse_set(broken.as_bytes(), &Algorithm::ALL).unwrap_err();
    assert!(!error.contains(secret), "{error}");
}

#[test]
fn a_jwk_serves_its_own_algorithm_only() {
    let jwk = but(Signer::of("RS256").jwk(Some("rsa")), "alg", json!("RS512"));
    let verifier = verifier_with(profile(), key_set(&[jwk]));
    assert!(verifier.verify(&good_token("RS512"), now()).is_ok());
    let refused = verifier.verify(&good_token("RS256"), now()).err();
    assert_eq!(refused, Some(Rejection::UnknownKey.into()));
}

#[test]
fn a_token_without_kid_is_verified_only_where_one_key_can_be_meant() {
    let header = json!({ "alg": "ES256" }).to_string();
    let claims = Value::Object(claims()).to_string();
    let token = Signer::of("ES256").token("ES256", &header, &claims);
    let (own, other) = (
        Signer::of("ES256").jwk(Some("a")),
        Signer::p256().jwk(Some("b")),
    );
    let one = verifier_with(profile(), key_set(std::slice::from_ref(&own)));
    assert!(one.verify(&token, now()).is_ok());
    let two = verifier_with(profile(), key_set(&[own, other]));
    let refused = two.verify(&token, now()).err();
    assert_eq!(refused, Some(Rejection::UnknownKey.into()));
}

#[test]
fn a_key_without_kid_serves_tokens_with_any() {
    let verifier = verifier_with(profile(), key_set(&[Signer::of("ES256").jwk(None)]));
    assert!(verifier.verify(&good_token("ES256"), now()).is_ok());
}

#[test]
fn two_keys_of_one_kid_serve_each_its_own_algorithm() {
    let (rsa, p256) = (
        Signer::of("RS256").jwk(Some("x")),
        Signer::of("ES256").jwk(Some("x")),
    );
    let verifier = verifier_with(profile(), key_set(&[rsa, p256]));
    for algorithm in ["RS256", "ES256"] {
        let header = json!({ "alg": algorithm, "kid": "x" }).to_string();
        let claims = Value::Object(claims()).to_string();
        let token = Signer::of(algorithm).token(algorithm, &header, &claims);
        assert!(verifier.verify(&token, now()).is_ok(), "{algorithm}");
    }
}

#[test]
fn without_any_key_it_is_our_fault_and_not_the_tokens() {
    let verifier = verifier_with(profile(), KeySet::default());
    let verdict = verifier.verify(&good_token("ES256"), now()).err();
    assert_eq!(verdict, Some(VerifyError::KeysUnavailable));
}

#[test]
fn a_symmetric_key_serves_the_algorithms_that_it_is_long_enough_for() {
    let serves = |bytes: usize| {
        let jwk = Signer::Secret(vec![7; bytes]).jwk(Some("secret"));
        let verifier = verifier_with(profile(), key_set(&[jwk, Signer::of("ES256").jwk(None)]));
        let verifies = |algorithm: &&str| {
            let claims = Value::Object(claims()).to_string();
            let token =
                Signer::Secret(vec![7; bytes]).token(algorithm, &header(algorithm), &claims);
            verifier.verify(&token, now()).is_ok()
        };
        let algorithms = ["HS256", "HS384", "HS512"];
        algorithms.iter().filter(|a| verifies(a)).count()
    };
    assert_eq!([32, 47, 48, 63, 64].map(serves), [1, 1, 2, 2, 3]);
}

#[test]
fn a_set_of_a_thousand_keys_is_read_and_the_right_one_is_found() {
    let others = (0..999).map(|n| {
        let mut jwk = Signer::of("ES256").jwk(Some("other"));
        jwk["kid"] = json!(format!("key-{n}"));
        jwk
    });
    let keys: Vec<_> = others
        .chain([Signer::of("EdDSA").jwk(Some("ed25519"))])
        .collect();
    let verifier = verifier_with(profile(), key_set(&keys));
    assert!(verifier.verify(&good_token("EdDSA"), now()).is_ok());
}

#[test]
fn a_pem_file_may_hold_a_key_on_p_521() {
    let Signer::P521(key) = Signer::of("ES512") else {
        unreachable!("ES512 has keys on P-521");
    };
    let der: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
    let lines = STANDARD.encode(der.as_ref());
    let lines: Vec<_> = lines
        .as_bytes()
        .chunks(64)
        .map(|l| str::from_utf8(l).unwrap())
        .collect();
    let pem = format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        lines.join("\n")
    );
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key.pem");
    std::fs::write(&path, pem).unwrap();
    let (keys, _) = KeyFile::Pem(path.clone())
        .load(&[Algorithm::ES512])
        .unwrap();
    let verifier = verifier_with(profile(), keys);
    assert!(verifier.verify(&good_token("ES512"), now()).is_ok());
    let other = KeyFile::Pem(path).load(&[Algorithm::ES384]);
    assert!(other.is_err());
}

#[test]
fn a_secret_is_read_in_every_encoding() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    // Bytes that are encoded differently in the two alphabets.
    let secret: Vec<u8> = (0..32).map(|n| 0xf8 | n).collect();
    let token = Signer::Secret(secret.clone()).token(
        "HS256",
        &header("HS256"),
        &Value::Object(claims()).to_string(),
    );
    let hex: String = secret.iter().map(|b| format!("{b:02x}")).collect();
    for (encoding, content, good) in [
        (SecretEncoding::Base64, STANDARD.encode(&secret), true),
        (
            SecretEncoding::Base64,
            format!("{}\n", STANDARD.encode(&secret)),
            true,
        ),
        (
            SecretEncoding::Base64,
            STANDARD_NO_PAD.encode(&secret),
            true,
        ),
        (SecretEncoding::Base64url, b64(&secret), true),
        (
            SecretEncoding::Base64url,
            format!("{}=", b64(&secret)),
            true,
        ),
        (SecretEncoding::Hex, hex.clone(), true),
        (
            SecretEncoding::Hex,
            format!("{}\r\n", hex.to_uppercase()),
            true,
        ),
        (SecretEncoding::Base64, b64(&secret), false),
        (SecretEncoding::Hex, hex[1..].to_owned(), false),
        (SecretEncoding::Hex, hex.replace('f', "g"), false),
        (SecretEncoding::Raw, STANDARD.encode(&secret), false),
    ] {
        std::fs::write(&path, &content).unwrap();
        let file = SecretFile {
            encoding,
            ..SecretFile::from(path.clone())
        };
        let loaded = KeyFile::Secret(file).load(&[Algorithm::HS256]);
        let verifies =
            loaded.map(|(keys, _)| verifier_with(profile(), keys).verify(&token, now()).is_ok());
        assert_eq!(verifies.unwrap_or(false), good, "{encoding:?} {content}");
    }
}

#[test]
fn a_short_secret_has_to_be_allowed_and_must_not_be_empty() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    for (content, allow_short, allowed, good) in [
        ("abcdefghijklmnopqrstuvwxyz", false, Algorithm::HS256, false),
        // The default secret of RuoYi.
        ("abcdefghijklmnopqrstuvwxyz", true, Algorithm::HS512, true),
        ("secret", true, Algorithm::HS256, true),
        ("", true, Algorithm::HS256, false),
        ("\n", true, Algorithm::HS256, false),
        ("secret", true, Algorithm::RS256, false),
    ] {
        std::fs::write(&path, content).unwrap();
        let file = SecretFile {
            allow_short,
            ..SecretFile::from(path.clone())
        };
        let loaded = KeyFile::Secret(file).load(&[allowed]);
        assert_eq!(loaded.is_ok(), good, "{content:?} {allow_short}");
    }
}

#[test]
fn a_secret_file_loses_one_line_end_and_must_be_long_enough() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    for (content, allowed, good) in [
        (vec![b'k'; 32], Algorithm::HS256, true),
        (
            [vec![b'k'; 31], b"\n".to_vec()].concat(),
            Algorithm::HS256,
            false,
        ),
        (
            [vec![b'k'; 32], b"\r\n".to_vec()].concat(),
            Algorithm::HS256,
            true,
        ),
        (vec![b'k'; 47], Algorithm::HS384, false),
        (vec![b'k'; 48], Algorithm::HS384, true),
        (vec![b'k'; 63], Algorithm::HS512, false),
        (Vec::new(), Algorithm::HS256, false),
        (vec![b'k'; 64], Algorithm::RS256, false),
    ] {
        std::fs::write(&path, &content).unwrap();
        let loaded = KeyFile::Secret(path.clone().into()).load(&[allowed]);
        assert_eq!(
            loaded.is_ok(),
            good,
            "{} bytes for {allowed:?}",
            content.len()
        );
    }
}
