//! Tests of the names by which a key can be revoked: its `kid` in the key set, and its thumbprint.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;
use crate::jwt::key::VerificationKey;

fn thumbprint(jwk: Value, algorithm: Algorithm) -> Option<String> {
    install_crypto().unwrap();
    let keys = key_set(&[jwk]);
    let key: &VerificationKey = keys.select(None, algorithm).unwrap();
    key.thumbprint().map(|thumbprint| thumbprint.to_string())
}

#[test]
fn a_thumbprint_is_that_of_the_standard() {
    // RFC 7638 §3.1.
    let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3\
             oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZ\
             Hzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kE\
             gU8awapJzKnqDKgw";
    let rsa = |n: &str| json!({ "kty": "RSA", "n": n, "e": "AQAB", "kid": "2011-04-29", "alg": "RS256", "use": "sig" });
    let expected = Some("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs".to_owned());
    assert_eq!(thumbprint(rsa(n), Algorithm::RS256), expected);
    // A leading zero does not make another key.
    let mut modulus = vec![0];
    modulus.extend(URL_SAFE_NO_PAD.decode(n).unwrap());
    assert_eq!(thumbprint(rsa(&b64(&modulus)), Algorithm::RS256), expected);
    // RFC 8037 appendix A.3.
    let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    let ed25519 = json!({ "kty": "OKP", "crv": "Ed25519", "x": x });
    let expected = Some("kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k".to_owned());
    assert_eq!(thumbprint(ed25519, Algorithm::EdDSA), expected);
    // RFC 9449 §6.1.
    let (x, y) = (
        "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
        "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA",
    );
    let p256 = json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y });
    let expected = Some("0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I".to_owned());
    assert_eq!(thumbprint(p256, Algorithm::ES256), expected);
}

#[test]
fn a_secret_has_no_thumbprint() {
    let secret = Signer::of("HS256").jwk(Some("secret"));
    assert_eq!(thumbprint(secret, Algorithm::HS256), None);
}

#[test]
fn the_key_that_verified_has_the_kid_of_the_set_whatever_the_token_says() {
    let kid_of = |kid_in_set: Option<&str>, header: Value| {
        let keys = key_set(&[Signer::of("ES256").jwk(kid_in_set)]);
        let token = Signer::of("ES256").token(
            "ES256",
            &header.to_string(),
            &Value::Object(claims()).to_string(),
        );
        let verified = verifier_with(profile(), keys).verify(&token, now());
        verified.map(|claims| claims.kid().map(str::to_owned))
    };
    let (named, nameless) = (
        json!({ "alg": "ES256", "kid": "k1" }),
        json!({ "alg": "ES256" }),
    );
    let k1 = || Ok(Some("k1".to_owned()));
    assert_eq!(kid_of(Some("k1"), named.clone()), k1());
    assert_eq!(kid_of(Some("k1"), nameless.clone()), k1());
    // The key set does not name the key, so only the token does.
    assert_eq!(kid_of(None, named), k1());
    assert_eq!(kid_of(None, nameless), Ok(None));
}

#[test]
fn a_token_is_of_the_same_key_whichever_way_it_is_chosen() {
    let jwk = Signer::of("EdDSA").jwk(Some("ed25519"));
    let expected = thumbprint(jwk.clone(), Algorithm::EdDSA);
    assert!(expected.is_some());
    for kid in [Some("ed25519"), None] {
        let header = match kid {
            Some(kid) => json!({ "alg": "EdDSA", "kid": kid }),
            None => json!({ "alg": "EdDSA" }),
        };
        let token = Signer::of("EdDSA").token(
            "EdDSA",
            &header.to_string(),
            &Value::Object(claims()).to_string(),
        );
        let verified = verifier().verify(&token, now()).unwrap();
        assert_eq!(verified.key_thumbprint(), expected.as_deref(), "{kid:?}");
    }
}
