//! Tests of what an issuer's profile adds to the rules for all tokens.

use super::*;
use crate::jwt::RequiredClaim;
use crate::jwt::claim_path::ClaimPath;
use crate::jwt::rejection::Rejection;

fn signed(typ: Option<&str>, claims: &str) -> String {
    let mut header = json!({ "alg": "HS256", "kid": "secret" });
    if let Some(typ) = typ {
        header["typ"] = typ.into();
    }
    Signer::of("HS256").token("HS256", &header.to_string(), claims)
}

#[test]
fn an_access_token_of_rfc_9068_says_so_and_has_all_that_it_must_have() {
    let verifier = verifier_with(
        IssuerProfile {
            form: TokenForm::Rfc9068,
            ..profile()
        },
        all_keys(),
    );
    let whole = claims_but("client_id", json!("app"));
    let without = |claim: &str| {
        let mut claims: Map<String, Value> = serde_json::from_str(&whole).unwrap();
        claims.remove(claim);
        Value::Object(claims).to_string()
    };
    let verdict = |typ, claims: &str| verifier.verify(&signed(typ, claims), now()).err();
    for typ in ["at+jwt", "AT+JWT", "application/at+jwt"] {
        assert_eq!(verdict(Some(typ), &whole), None, "{typ}");
    }
    for typ in [None, Some("JWT"), Some("application/jwt"), Some("at")] {
        assert_eq!(
            verdict(typ, &whole),
            Some(Rejection::Unsupported.into()),
            "{typ:?}"
        );
    }
    for claim in ["iss", "exp", "aud", "sub", "client_id", "iat", "jti"] {
        let missing = verdict(Some("at+jwt"), &without(claim));
        let expected = Rejection::MissingClaim.because_of(claim);
        assert_eq!(missing, Some(expected.into()), "{claim}");
    }
}

#[test]
fn required_claims_must_be_there_and_not_null() {
    let required = |path: &str| {
        let profile = IssuerProfile {
            required_claims: vec![RequiredClaim::present(ClaimPath(path.to_owned()))],
            ..profile()
        };
        verifier_with(profile, all_keys())
    };
    let claims = json!({
        "email": "a@shop.example", "none": null, "empty": "", "a/b": 1, "https://x.example/c": 1,
        "realm": { "roles": ["admin"], "m~n": 1, "": 2 },
    });
    let mut all = super::claims();
    all.extend(claims.as_object().unwrap().clone());
    let token = token("HS256", &Value::Object(all).to_string());
    for (path, there) in [
        ("email", true),
        ("none", false),
        ("empty", true),
        ("missing", false),
        ("https://x.example/c", true),
        ("/email", true),
        ("/realm/roles", true),
        ("/realm/roles/0", true),
        ("/realm/roles/1", false),
        ("/realm/missing", false),
        ("/email/x", false),
        ("/a~1b", true),
        ("/realm/m~0n", true),
        ("/realm/", true),
        ("realm.roles", false),
    ] {
        let verdict = required(path).verify(&token, now());
        let expected = (!there).then(|| Rejection::MissingClaim.because_of(path).into());
        assert_eq!(verdict.err(), expected, "{path}");
    }
}

#[test]
fn without_configured_audiences_any_will_do_but_it_must_be_one() {
    let verifier = verifier_with(
        IssuerProfile {
            audiences: Vec::new(),
            ..profile()
        },
        all_keys(),
    );
    let verdict = |claims: &str| verifier.verify(&token("HS256", claims), now()).err();
    assert_eq!(verdict(&claims_but("aud", json!("anybody"))), None);
    assert_eq!(verdict(&claims_without("aud")), None);
    let wrong = verdict(&claims_but("aud", json!(1)));
    assert_eq!(
        wrong,
        Some(Rejection::InvalidClaim.because_of("aud").into())
    );
}

#[test]
fn a_token_without_iss_belongs_to_the_one_issuer_that_takes_such() {
    let key = Signer::of("HS256");
    let other = key_set(&[Signer::of("ES256").jwk(Some("p256"))]);
    let issuers = |iss: Option<&str>| {
        let app = IssuerProfile {
            name: Arc::from("app"),
            issuer: iss.map(str::to_owned),
            missing_iss: true,
            ..profile()
        };
        let keys = key_set(&[key.jwk(Some("secret"))]);
        Verifier::new([
            issuer_with(app, keys),
            issuer_with(profile(), other.clone()),
        ])
    };
    let bare = token("HS256", &claims_without("iss"));
    let named = token("HS256", &claims_but("iss", json!("app")));
    let verdict = |verifier: &Verifier, token: &str| {
        let verified = verifier.verify(token, now());
        verified.map(|claims| claims.issuer().to_string())
    };
    let with = issuers(Some("app"));
    assert_eq!(verdict(&with, &bare), Ok("app".to_owned()));
    assert_eq!(verdict(&with, &named), Ok("app".to_owned()));
    let without = issuers(None);
    assert_eq!(verdict(&without, &bare), Ok("app".to_owned()));
    assert_eq!(
        verdict(&without, &named),
        Err(Rejection::UnknownIssuer.into())
    );
    for verifier in [&with, &without] {
        // Only its own keys count for such a token, and other issuers' tokens are not affected.
        let stranger = token("ES256", &claims_without("iss"));
        assert_eq!(
            verdict(verifier, &stranger),
            Err(Rejection::UnknownKey.into())
        );
        assert_eq!(
            verdict(verifier, &good_token("ES256")),
            Ok("shop".to_owned())
        );
        assert_eq!(
            verdict(verifier, &good_token("HS256")),
            Err(Rejection::UnknownKey.into())
        );
        // A value of another type than string does not count as a missing `iss`.
        for iss in [json!(null), json!([]), json!({}), json!(1)] {
            let token = token("HS256", &claims_but("iss", iss.clone()));
            let expected = Err(Rejection::InvalidClaim.because_of("iss").into());
            assert_eq!(verdict(verifier, &token), expected, "{iss}");
        }
        let token = token("HS256", &claims_but("iss", json!("")));
        assert_eq!(
            verdict(verifier, &token),
            Err(Rejection::UnknownIssuer.into())
        );
    }
    let neither = verifier_with(profile(), all_keys());
    assert_eq!(
        verdict(&neither, &bare),
        Err(Rejection::MissingClaim.because_of("iss").into())
    );
}
