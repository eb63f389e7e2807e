//! Tests of what is refused, one case per line, each with the reason that is expected.
//!
//! The cases come from the RFCs (7515, 7518, 7519, 7797, 8725, 9068) and from the security advisories of
//! other verifiers.

use super::*;
use crate::jwt::rejection::Rejection::{self, *};

/// A valid payload, to be signed with an unusual header.
fn good() -> String {
    Value::Object(claims()).to_string()
}

/// The claims with a text inserted before the last brace.
fn with(text: &str) -> String {
    good().replace('}', &format!(",{text}}}"))
}

fn refuse(cases: Vec<(&str, String, Rejection)>) {
    let verifier = verifier();
    for (name, token, expected) in cases {
        let verdict = verifier.verify(&token, now());
        assert_eq!(reason(verdict), Some(expected), "{name}");
    }
}

#[test]
#[rustfmt::skip]
fn claims_that_break_a_rule_are_refused_under_a_good_signature() {
    let cases: Vec<(&str, String, Rejection)> = vec![
        ("no exp", claims_without("exp"), MissingClaim),
        ("exp null", claims_but("exp", json!(null)), InvalidClaim),
        ("exp a string", claims_but("exp", json!((NOW + 600).to_string())), InvalidClaim),
        ("exp true", claims_but("exp", json!(true)), InvalidClaim),
        ("exp a list", claims_but("exp", json!([NOW + 600])), InvalidClaim),
        ("exp zero", claims_but("exp", json!(0)), Expired),
        ("exp negative", claims_but("exp", json!(-1)), InvalidClaim),
        ("exp 1e300", claims_but("exp", json!(1e300)), InvalidClaim),
        ("exp 2^64 - 1", claims_but("exp", json!(u64::MAX)), InvalidClaim),
        ("exp in milliseconds", claims_but("exp", json!((NOW + 600) * 1000)), InvalidClaim),
        ("exp past the leeway", claims_but("exp", json!(NOW - LEEWAY - 1)), Expired),
        ("exp at the end of the leeway", claims_but("exp", json!(NOW - LEEWAY)), Expired),
        ("nbf ahead", claims_but("nbf", json!(NOW + 3600)), NotYetValid),
        ("nbf past the leeway", claims_but("nbf", json!(NOW + LEEWAY + 1)), NotYetValid),
        ("nbf a string", claims_but("nbf", json!("0")), InvalidClaim),
        ("nbf null", claims_but("nbf", json!(null)), InvalidClaim),
        ("nbf negative", claims_but("nbf", json!(-5.5)), InvalidClaim),
        ("iat ahead", claims_but("iat", json!(NOW + LEEWAY + 1)), IssuedInFuture),
        ("iat a string", claims_but("iat", json!("1")), InvalidClaim),
        ("iat an object", claims_but("iat", json!({})), InvalidClaim),
        ("iat 1e300", claims_but("iat", json!(1e300)), InvalidClaim),
        ("no iss", claims_without("iss"), MissingClaim),
        ("iss a number", claims_but("iss", json!(5)), InvalidClaim),
        ("iss a list", claims_but("iss", json!([ISS])), InvalidClaim),
        ("iss null", claims_but("iss", json!(null)), InvalidClaim),
        ("iss with a slash more", claims_but("iss", json!(format!("{ISS}/"))), UnknownIssuer),
        ("iss in capitals", claims_but("iss", json!(ISS.to_uppercase())), UnknownIssuer),
        ("iss empty", claims_but("iss", json!("")), UnknownIssuer),
        ("no aud", claims_without("aud"), MissingClaim),
        ("aud another", claims_but("aud", json!("other")), WrongAudience),
        ("aud in capitals", claims_but("aud", json!("SHOP")), WrongAudience),
        ("aud a list of others", claims_but("aud", json!(["a", "b"])), WrongAudience),
        ("aud an empty list", claims_but("aud", json!([])), MissingClaim),
        ("aud an object", claims_but("aud", json!({})), InvalidClaim),
        ("aud a number", claims_but("aud", json!(1)), InvalidClaim),
        ("aud null", claims_but("aud", json!(null)), InvalidClaim),
        ("aud a list with a number", claims_but("aud", json!(["shop", 1])), InvalidClaim),
        ("jti zero", claims_but("jti", json!(0)), InvalidClaim),
        ("jti empty", claims_but("jti", json!("")), InvalidClaim),
        ("jti a list", claims_but("jti", json!(["t1"])), InvalidClaim),
        ("jti null", claims_but("jti", json!(null)), InvalidClaim),
        ("sub a number", claims_but("sub", json!(7)), InvalidClaim),
        ("sub null", claims_but("sub", json!(null)), InvalidClaim),
        ("sid empty", claims_but("sid", json!("")), InvalidClaim),
        ("sid a number", claims_but("sid", json!(1)), InvalidClaim),
        ("azp a list", claims_but("azp", json!(["a"])), InvalidClaim),
        ("client_id a number", claims_but("client_id", json!(1)), InvalidClaim),
        ("type a number", claims_but("type", json!(1)), InvalidClaim),
        ("exp twice", with(r#""exp":9999999999"#), Malformed),
        ("jti twice", with(r#""jti":"t2""#), Malformed),
        ("jti twice, once escaped", with(r#""\u006ati":"t2""#), Malformed),
        ("type twice", with(r#""type":"access","type":"refresh""#), Malformed),
        ("a member twice, further down", with(r#""x":[{"a":1,"a":2}]"#), Malformed),
        ("no JSON", "exp=1".to_owned(), Malformed),
        ("JSON and more", good() + "x", Malformed),
        ("a list", "[]".to_owned(), Malformed),
        ("a byte order mark", format!("\u{feff}{}", good()), Malformed),
        ("nothing", String::new(), Malformed),
        ("a number that overflows", with(r#""x":1e999"#), Malformed),
        ("half a surrogate pair", with(r#""x":"\ud800""#), Malformed),
        ("too deep", with(&format!(r#""x":{}{}"#, "[".repeat(200), "]".repeat(200))), Malformed),
    ];
    let cases = cases.into_iter();
    refuse(
        cases
            .map(|(name, claims, r)| (name, token("HS256", &claims), r))
            .collect(),
    );
}

#[test]
#[rustfmt::skip]
fn headers_that_break_a_rule_are_refused_under_a_good_signature() {
    let jwk = Signer::of("HS256").jwk(Some("secret")).to_string();
    let long_kid = "k".repeat(513);
    let h = |members: &str| format!(r#"{{"alg":"HS256","kid":"secret"{members}}}"#);
    let alg = |value: &str| format!(r#"{{"alg":{value},"kid":"secret"}}"#);
    let kid = |value: &str| format!(r#"{{"alg":"HS256","kid":{value}}}"#);
    let cases: Vec<(&str, String, Rejection)> = vec![
        ("no alg", r#"{"kid":"secret"}"#.to_owned(), Malformed),
        ("alg a number", alg("1"), Malformed),
        ("alg null", alg("null"), Malformed),
        ("alg a list", alg(r#"["HS256"]"#), Malformed),
        ("alg none", alg(r#""none""#), Unsupported),
        ("alg None", alg(r#""None""#), Unsupported),
        ("alg nOnE", alg(r#""nOnE""#), Unsupported),
        ("alg empty", alg(r#""""#), AlgorithmNotAllowed),
        ("alg in lower case", alg(r#""hs256""#), AlgorithmNotAllowed),
        ("alg with a blank", alg(r#""HS256 ""#), AlgorithmNotAllowed),
        ("alg of another library", alg(r#""ES256K""#), AlgorithmNotAllowed),
        ("alg of a JWE", alg(r#""RSA-OAEP""#), AlgorithmNotAllowed),
        ("alg twice", r#"{"alg":"none","alg":"HS256"}"#.to_owned(), Malformed),
        ("kid twice", h(r#","kid":"secret""#), Malformed),
        ("kid null", kid("null"), Malformed),
        ("kid a number", kid("1"), Malformed),
        ("kid too long", kid(&format!("\"{long_kid}\"")), Malformed),
        ("kid a path", kid(r#""../../dev/null""#), UnknownKey),
        ("kid with SQL", kid(r#""x' UNION SELECT 'k'--""#), UnknownKey),
        ("kid with a line end", kid(r#""secret\r\nX: y""#), UnknownKey),
        ("kid empty", kid(r#""""#), UnknownKey),
        ("kid with a blank more", kid(r#""secret ""#), UnknownKey),
        ("crit unknown", h(r#","crit":["bork"],"bork":1"#), Unsupported),
        ("crit empty", h(r#","crit":[]"#), Unsupported),
        ("crit no list", h(r#","crit":"exp""#), Unsupported),
        ("crit with b64", h(r#","crit":["b64"],"b64":true"#), Unsupported),
        ("b64 without crit", h(r#","b64":false"#), Unsupported),
        ("enc", h(r#","enc":"A128GCM""#), Unsupported),
        ("zip", h(r#","zip":"DEF""#), Unsupported),
        ("typ of a logout token", h(r#","typ":"logout+jwt""#), Unsupported),
        ("typ of a security event", h(r#","typ":"secevent+jwt""#), Unsupported),
        ("typ of a proof of possession", h(r#","typ":"dpop+jwt""#), Unsupported),
        ("typ of an introspection", h(r#","typ":"token-introspection+jwt""#), Unsupported),
        ("typ of a JWE", h(r#","typ":"JWE""#), Unsupported),
        ("typ empty", h(r#","typ":"""#), Unsupported),
        ("typ a number", h(r#","typ":1"#), Malformed),
        ("a key of its own, beside an unknown kid", format!(r#"{{"alg":"HS256","kid":"x","jwk":{jwk}}}"#), UnknownKey),
        ("jku", r#"{"alg":"HS256","kid":"x","jku":"https://evil.example/jwks"}"#.to_owned(), UnknownKey),
        ("x5u", r#"{"alg":"RS256","kid":"x","x5u":"https://evil.example/cert"}"#.to_owned(), UnknownKey),
        ("x5c", r#"{"alg":"RS256","kid":"x","x5c":["MIIB"]}"#.to_owned(), UnknownKey),
        ("no JSON", "{".to_owned(), Malformed),
        ("a list", "[]".to_owned(), Malformed),
    ];
    let cases = cases.into_iter();
    refuse(
        cases
            .map(|(name, header, r)| {
                (
                    name,
                    Signer::of("HS256").token("HS256", &header, &good()),
                    r,
                )
            })
            .collect(),
    );
}

#[test]
fn a_key_of_its_own_in_the_header_verifies_nothing() {
    let attacker = Signer::ed25519();
    let header = json!({ "alg": "EdDSA", "jwk": attacker.jwk(None) }).to_string();
    let token = attacker.token("EdDSA", &header, &good());
    refuse(vec![("embedded jwk", token, BadSignature)]);
}

#[test]
fn signatures_that_are_not_the_keys_own_are_refused() {
    let mut cases = Vec::new();
    for algorithm in ALGORITHMS {
        let token = good_token(algorithm);
        let (input, signature) = token.rsplit_once('.').unwrap();
        let altered = input.replacen("ey", "eY", 1);
        let other = if signature.starts_with('A') { "B" } else { "A" };
        let flipped = format!("{input}.{other}{}", &signature[1..]);
        cases.push((algorithm, flipped, BadSignature));
        cases.push((
            algorithm,
            format!("{input}.{}", b64(&[0; 64])),
            BadSignature,
        ));
        cases.push((
            algorithm,
            format!("{input}.{}", b64(&[0; 96])),
            BadSignature,
        ));
        cases.push((
            algorithm,
            format!("{input}.{}", b64(&[0; 256])),
            BadSignature,
        ));
        cases.push((
            algorithm,
            format!("{input}.{}", b64(&[0xff; 64])),
            BadSignature,
        ));
        cases.push((algorithm, format!("{input}.AA"), BadSignature));
        cases.push((algorithm, format!("{altered}.{signature}"), Malformed));
    }
    // The ASN.1 form instead of the fixed-length form (RFC 7518 §3.4).
    let input = good_token("ES256");
    let input = input.rsplit_once('.').unwrap().0;
    cases.push((
        "ES256 in ASN.1",
        format!("{input}.{}", b64(&[0x30, 6, 2, 1, 1, 2, 1, 1])),
        BadSignature,
    ));
    refuse(cases);
}

#[test]
#[rustfmt::skip]
fn no_key_serves_an_algorithm_of_another_kind() {
    let of = |algorithm: &str, kid: &str, signer: &Signer, real: &str| {
        let header = json!({ "alg": algorithm, "kid": kid }).to_string();
        signer.token(real, &header, &good())
    };
    let public = |alg: &str| Signer::Secret(Signer::of(alg).jwk(None).to_string().into_bytes());
    let rsa = Signer::of("RS256");
    refuse(vec![
        // The classic attack: a public key used as an HMAC secret (CVE-2016-10555).
        ("HS256 under the RSA key", of("HS256", "rsa", &public("RS256"), "HS256"), UnknownKey),
        ("HS256 under the EC key", of("HS256", "p256", &public("ES256"), "HS256"), UnknownKey),
        ("HS256 under the Ed25519 key", of("HS256", "ed25519", &public("EdDSA"), "HS256"), UnknownKey),
        ("RS256 under the EC key", of("RS256", "p256", rsa, "RS256"), UnknownKey),
        ("ES256 under the P-384 key", of("ES256", "p384", Signer::of("ES256"), "ES256"), UnknownKey),
        ("ES384 under the P-256 key", of("ES384", "p256", Signer::of("ES256"), "ES256"), UnknownKey),
        ("EdDSA under the EC key", of("EdDSA", "p256", Signer::of("EdDSA"), "EdDSA"), UnknownKey),
        ("PS256 in the header, RS256 in truth", of("PS256", "rsa", rsa, "RS256"), BadSignature),
        ("RS256 in the header, PS256 in truth", of("RS256", "rsa", rsa, "PS256"), BadSignature),
        ("RS512 in the header, RS256 in truth", of("RS512", "rsa", rsa, "RS256"), BadSignature),
        ("HS512 in the header, HS256 in truth", of("HS512", "secret", Signer::of("HS256"), "HS256"), BadSignature),
    ]);
}

#[test]
fn an_algorithm_that_is_not_configured_is_refused_before_any_cryptography() {
    let profile = IssuerProfile {
        algorithms: vec![Algorithm::ES256],
        ..profile()
    };
    let verifier = verifier_with(profile, all_keys());
    for algorithm in ALGORITHMS.into_iter().filter(|a| *a != "ES256") {
        let verdict = verifier.verify(&good_token(algorithm), now());
        assert_eq!(
            verdict.err(),
            Some(AlgorithmNotAllowed.into()),
            "{algorithm}"
        );
    }
}

#[test]
#[rustfmt::skip]
fn every_other_spelling_of_a_good_token_is_refused() {
    let token = good_token("HS256");
    let parts: Vec<&str> = token.split('.').collect();
    let [header, payload, signature] = [parts[0], parts[1], parts[2]];
    // The last character of 43 has two meaningless bits.
    let trailing = format!("{}{}", &signature[..42], next_char(&signature[42..]));
    refuse(vec![
        ("padding", format!("{header}.{payload}.{signature}="), Malformed),
        ("padding in the header", format!("{header}==.{payload}.{signature}"), Malformed),
        ("a blank in front", format!(" {token}"), Malformed),
        ("a line end behind", format!("{token}\n"), Malformed),
        ("a blank within", format!("{header}.{payload} .{signature}"), Malformed),
        ("trailing bits", format!("{header}.{payload}.{trailing}"), Malformed),
        ("the other alphabet", format!("{header}.{payload}.{}", signature.replacen(['-', '_'], "+", 1) + "+"), Malformed),
        ("a part more", format!("{token}.{signature}"), Malformed),
        ("five parts", format!("{token}.{signature}.{signature}"), Unsupported),
        ("an empty part in front", format!(".{token}"), Malformed),
        ("no signature", format!("{header}.{payload}."), Unsupported),
        ("two parts", format!("{header}.{payload}"), Malformed),
        ("one part", header.to_owned(), Malformed),
        ("nothing", String::new(), Malformed),
        ("two dots", "..".to_owned(), Malformed),
        ("not ASCII", format!("{header}.{payload}.ü"), Malformed),
        ("a null byte", format!("{token}\0"), Malformed),
        ("65 KiB", "A".repeat(65 << 10), TooLarge),
        ("65 KiB of dots", ".".repeat(65 << 10), TooLarge),
    ]);
}

fn next_char(last: &str) -> char {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let at = ALPHABET
        .iter()
        .position(|c| last.as_bytes() == [*c])
        .unwrap();
    char::from(ALPHABET[at + 1])
}

/// RFC 7515 appendix A.1, A.5 and RFC 7519 §3.1, §6.1: valid signatures of 2011, long expired.
#[test]
fn the_examples_of_the_rfcs_are_refused_for_what_they_are() {
    let payload = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let hs256 = format!(
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{payload}.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    );
    let key = json!({ "kty": "oct", "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow" });
    let joe = IssuerProfile {
        issuer: Some("joe".to_owned()),
        audiences: Vec::new(),
        ..profile()
    };
    let verifier = verifier_with(joe, key_set(&[key]));
    let verdict = |token: &str, now| verifier.verify(token, now).err();
    assert_eq!(verdict(&hs256, now()), Some(Expired.into()));
    // It was valid at the time.
    assert_eq!(verdict(&hs256, Timestamp::from_secs(1_300_819_379)), None);
    let unsecured = format!("eyJhbGciOiJub25lIn0.{payload}.");
    assert_eq!(verdict(&unsecured, now()), Some(Unsupported.into()));
    // RFC 7519 appendix A.1 is an encrypted token.
    let encrypted = "eyJhbGciOiJSU0ExXzUiLCJlbmMiOiJBMTI4Q0JDLUhTMjU2In0.QR1Owv2ug2WyPBnbQrRARTeEk9kDO2w8qDcjiHnSJflSdv1iNqhWXaKH4MqAkQtM.AxY8DCtDaGlsbGljb3RoZQ.MKOle7UQrG6nSxTLX6Mqwt0orbHvAKeWnDYvpIAeZ72deHxz3roJDXQyhxx0wKaM.fiK51VwhsxJ-siBMR-YFiA";
    assert_eq!(verdict(encrypted, now()), Some(Unsupported.into()));
}

/// If (r, s) verifies, so does (r, n − s): ECDSA allows that, and RFC 7518 does not forbid it. Both spellings
/// are the same token to revocation, whose digest excludes the signature.
#[test]
fn the_twin_of_an_ecdsa_signature_is_the_same_token_to_revocation() {
    let claims = claims_without("jti");
    let token = token("ES256", &claims);
    let twin = twin(&token);
    assert_ne!(token, twin);
    let verifier = verifier();
    let digests: Vec<_> = [token, twin]
        .iter()
        .map(|t| *verifier.verify(t, now()).unwrap().digest())
        .collect();
    assert_eq!(digests[0], digests[1]);
}

fn twin(token: &str) -> String {
    use base64::Engine as _;
    let order = "FFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551";
    let (input, signature) = token.rsplit_once('.').unwrap();
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let mut signature = engine.decode(signature).unwrap();
    let mut borrow = 0;
    for at in (0..32).rev() {
        let n = i32::from_str_radix(&order[2 * at..2 * at + 2], 16).unwrap();
        let difference = n - i32::from(signature[32 + at]) - borrow;
        borrow = i32::from(difference < 0);
        signature[32 + at] = u8::try_from(difference.rem_euclid(256)).unwrap();
    }
    format!("{input}.{}", b64(&signature))
}
