//! Tests of what is accepted: every algorithm, and every variation that the RFCs permit.

use super::*;
use crate::jwt::TokenType;

#[test]
fn every_algorithm_verifies_what_its_key_signed() {
    let verifier = verifier();
    for algorithm in ALGORITHMS {
        let claims = verifier.verify(&good_token(algorithm), now());
        assert!(claims.is_ok(), "{algorithm}: {claims:?}");
        let claims = claims.unwrap();
        assert_eq!(claims.token_id(), Some("t1"), "{algorithm}");
        assert_eq!(claims.subject(), Some("alice"), "{algorithm}");
        assert_eq!(claims.kid(), Some(kid_for(algorithm)), "{algorithm}");
    }
}

#[test]
#[rustfmt::skip]
fn what_the_rfcs_leave_open_is_accepted() {
    let verifier = verifier();
    let cases: &[(&str, String)] = &[
        ("aud is a list with ours in it", claims_but("aud", json!(["a", "shop"]))),
        ("no nbf", claims_without("nbf")),
        ("no iat", claims_without("iat")),
        ("no sub", claims_without("sub")),
        ("no jti", claims_without("jti")),
        ("exp with a fraction", claims_but("exp", json!(NOW as f64 + 0.5))),
        ("exp with an exponent", claims_but("exp", json!(1.9e9))),
        ("nbf within the leeway", claims_but("nbf", json!(NOW + LEEWAY))),
        ("iat within the leeway", claims_but("iat", json!(NOW + LEEWAY))),
        ("exp within the leeway", claims_but("exp", json!(NOW - LEEWAY + 1))),
        ("a claim nobody knows", claims_but("x", json!({ "a": [1, null] }))),
        ("a jti with everything in it", claims_but("jti", json!("*{}:\n\u{0}ü"))),
        ("an empty sub", claims_but("sub", json!(""))),
    ];
    for (name, claims) in cases {
        let verdict = verifier.verify(&token("HS256", claims), now());
        assert!(verdict.is_ok(), "{name}: {verdict:?}");
    }
}

#[test]
fn headers_may_say_more_than_we_read_and_say_it_in_any_case() {
    let verifier = verifier();
    for header in [
        json!({ "alg": "HS256", "kid": "secret" }),
        json!({ "alg": "HS256", "kid": "secret", "typ": "jwt" }),
        json!({ "alg": "HS256", "kid": "secret", "typ": "AT+JWT" }),
        json!({ "alg": "HS256", "kid": "secret", "typ": "application/at+jwt" }),
        json!({ "alg": "HS256", "kid": "secret", "x": 1, "y": true, "z": { "a": [] } }),
        json!({ "alg": "HS256", "kid": "secret", "cty": "text/plain" }),
        // Only one key can be meant.
        json!({ "alg": "HS256" }),
    ] {
        let claims = Value::Object(claims()).to_string();
        let token = Signer::of("HS256").token("HS256", &header.to_string(), &claims);
        let verdict = verifier.verify(&token, now());
        assert!(verdict.is_ok(), "{header}: {verdict:?}");
    }
}

#[test]
fn rfc_9864_calls_eddsa_ed25519() {
    let header = json!({ "alg": "Ed25519", "kid": "ed25519" }).to_string();
    let claims = Value::Object(claims()).to_string();
    let token = Signer::of("EdDSA").token("EdDSA", &header, &claims);
    assert!(verifier().verify(&token, now()).is_ok());
}

#[test]
fn exp_has_no_leeway_where_the_type_is_to_have_none() {
    let profile = IssuerProfile {
        exact_exp: vec![TokenType::Access],
        ..profile()
    };
    let verifier = verifier_with(profile, all_keys());
    let verdict = |claims: &str, seconds| verifier.verify(&token("HS256", claims), at(seconds));
    let expired = Some(crate::jwt::Rejection::Expired.into());
    let access = claims_but("exp", json!(NOW));
    assert!(verdict(&access, -1).is_ok());
    assert_eq!(verdict(&access, 0).err(), expired);
    // A revocation still outlasts `exp` by the leeway.
    let dies_at = verdict(&access, -1).unwrap().dies_at();
    assert_eq!(dies_at, at(LEEWAY));
    let refresh = access.replace('}', r#","type":"refresh"}"#);
    assert!(verdict(&refresh, LEEWAY - 1).is_ok());
    assert_eq!(verdict(&refresh, LEEWAY).err(), expired);
    // `nbf` and `iat` keep the leeway.
    for claim in ["nbf", "iat"] {
        assert!(verdict(&claims_but(claim, json!(NOW + LEEWAY)), 0).is_ok());
    }
}

#[tokio::test]
async fn an_expired_token_still_proves_possession_but_a_forged_one_does_not() {
    let verifier = verifier();
    let expired = token("ES256", &claims_but("exp", json!(NOW - 1000)));
    assert!(verifier.verify(&expired, now()).is_err());
    let patience = Duration::from_secs(1);
    let proven = verifier.verify_possession(&expired, now(), patience);
    assert!(proven.await.is_ok());
    let forged = Signer::p256().token(
        "ES256",
        &header("ES256"),
        &Value::Object(claims()).to_string(),
    );
    let proven = verifier.verify_possession(&forged, now(), patience);
    let invalid = crate::jwt::Unrevocable::Invalid(crate::jwt::Rejection::BadSignature);
    assert_eq!(proven.await.err(), Some(invalid));
}

#[test]
fn the_same_token_id_of_two_issuers_is_two_tokens() {
    let other = IssuerProfile {
        name: Arc::from("other"),
        issuer: Some("https://other.example".to_owned()),
        ..profile()
    };
    let issuers = [
        issuer_with(profile(), all_keys()),
        issuer_with(other, all_keys()),
    ];
    let verifier = Verifier::new(issuers);
    let foreign = token("HS256", &claims_but("iss", json!("https://other.example")));
    let names: Vec<_> = [good_token("HS256"), foreign]
        .iter()
        .map(|t| verifier.verify(t, now()).unwrap().issuer().to_string())
        .collect();
    assert_eq!(names, ["shop", "other"]);
}

/// RFC 8037, appendix A.4: made by somebody else, with a payload that is not JSON.
#[test]
fn the_example_of_rfc_8037_verifies_and_is_refused_only_for_its_payload() {
    use base64::Engine as _;
    let key = json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
    let input = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let signature =
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    let keys = key_set(&[key]);
    let key = keys.select(None, Algorithm::EdDSA).unwrap();
    install_crypto().unwrap();
    assert!(key.verifies(input, signature, Algorithm::EdDSA));
    assert!(!key.verifies(&input[1..], signature, Algorithm::EdDSA));
    let refused = verifier().verify(&format!("{input}.{signature}"), now());
    assert_eq!(refused.err(), Some(crate::jwt::Rejection::Malformed.into()));
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(&input[21..]);
    assert_eq!(payload.unwrap(), b"Example of Ed25519 signing");
}
