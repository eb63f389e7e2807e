//! Tests of tokens as widely used applications and identity providers make them, each with and without the
//! relaxation that accepts it.

use super::*;
use crate::jwt::rejection::Rejection;
use crate::jwt::{
    ClaimPath, IdentifierRules, IssPattern, MissingExp, NO_EXP, RequiredClaim, TokenType,
    VerifiedClaims, VerifyError,
};

fn signed(payload: &Value) -> String {
    token("HS256", &payload.to_string())
}

fn verdict(profile: IssuerProfile, payload: &Value) -> Result<VerifiedClaims, Rejection> {
    let verified = verifier_with(profile, all_keys()).verify(&signed(payload), now());
    verified.map_err(|error| match error {
        VerifyError::Rejected(refusal) => refusal.reason,
        other => unreachable!("{other:?}"),
    })
}

/// The profile without audiences, which most applications do not set.
fn plain() -> IssuerProfile {
    IssuerProfile {
        audiences: Vec::new(),
        ..profile()
    }
}

fn paths(names: &[&str]) -> Vec<ClaimPath> {
    names.iter().map(|n| ClaimPath((*n).to_owned())).collect()
}

fn with_identifiers(identifiers: IdentifierRules) -> IssuerProfile {
    IssuerProfile {
        identifiers,
        ..plain()
    }
}

fn numeric() -> IssuerProfile {
    with_identifiers(IdentifierRules {
        numeric: true,
        ..IdentifierRules::default()
    })
}

#[test]
fn numbers_of_the_nestjs_sample_are_their_decimal_text() {
    // sample/19-auth-jwt: `{ sub: user.userId, username: user.username }`.
    let nest = json!({
        "iss": ISS, "sub": 1, "username": "john", "jti": 42, "iat": NOW, "exp": NOW + 60,
    });
    assert_eq!(verdict(plain(), &nest).err(), Some(Rejection::InvalidClaim));
    let claims = verdict(numeric(), &nest).unwrap();
    assert_eq!(
        (claims.subject(), claims.token_id()),
        (Some("1"), Some("42"))
    );
}

#[test]
fn a_number_that_two_programs_could_write_in_two_ways_is_refused() {
    let with = |number: &str| {
        let text = json!({ "iss": ISS, "exp": NOW + 60, "sub": "X" }).to_string();
        let claims = text.replace("\"X\"", number);
        let verified = verifier_with(numeric(), all_keys()).verify(&token("HS256", &claims), now());
        verified
            .ok()
            .and_then(|claims| claims.subject().map(str::to_owned))
    };
    for (number, expected) in [
        ("0", Some("0")),
        ("-7", Some("-7")),
        ("9007199254740991", Some("9007199254740991")),
        ("-9007199254740991", Some("-9007199254740991")),
        // JavaScript would look up another key.
        ("9007199254740992", None),
        ("-9007199254740992", None),
        ("18446744073709551615", None),
        ("18446744073709551616", None),
        ("1.0", None),
        ("1e0", None),
        ("1.5", None),
        ("-0", None),
        ("true", None),
        ("null", None),
        ("[1]", None),
    ] {
        assert_eq!(with(number).as_deref(), expected, "{number}");
    }
}

#[test]
fn a_number_that_has_gone_through_the_proxy_is_what_it_was() {
    let rules = IdentifierRules {
        numeric: true,
        ..IdentifierRules::default()
    };
    let subject = |number: f64| {
        let claims = json!({ "sub": number });
        let read = rules.read(claims.as_object().unwrap(), true);
        read.map(|found| found.subject.unwrap_or_default())
            .map_err(|refusal| refusal.reason)
    };
    for (number, expected) in [
        (1.0, Ok("1")),
        (-7.0, Ok("-7")),
        (0.0, Ok("0")),
        (-0.0, Ok("0")),
        (9_007_199_254_740_991.0, Ok("9007199254740991")),
        (9_007_199_254_740_992.0, Err(Rejection::InvalidClaim)),
        (1.5, Err(Rejection::InvalidClaim)),
    ] {
        let expected = expected.map(str::to_owned);
        assert_eq!(subject(number), expected, "{number}");
    }
}

#[test]
fn clients_and_sessions_are_found_where_providers_put_them() {
    let rules = |client: &[&str], session: &[&str]| IdentifierRules {
        client: paths(client),
        session: paths(session),
        ..IdentifierRules::default()
    };
    let usual = IdentifierRules::default();
    let tenant = "https://sts.windows.net/72f988bf-86f1-41af-91ab-2d7cd011db47/";
    for (shape, identifiers, claims, client, session) in [
        (
            "Okta",
            rules(&["cid"], &["sid"]),
            json!({ "ver": 1, "cid": "0oa1", "uid": "00u1", "scp": ["openid"], "sub": "a@b.example" }),
            Some("0oa1"),
            None,
        ),
        (
            "Azure v1",
            rules(&["appid", "azp"], &["sid"]),
            json!({ "ver": "1.0", "appid": "6e74", "appidacr": "1", "tid": tenant, "oid": "o" }),
            Some("6e74"),
            None,
        ),
        (
            "Azure v2, the same issuer",
            rules(&["appid", "azp"], &["sid"]),
            json!({ "ver": "2.0", "azp": "6e74", "azpacr": "0", "sid": "s1" }),
            Some("6e74"),
            Some("s1"),
        ),
        (
            "Supabase",
            rules(&["azp"], &["session_id"]),
            json!({ "role": "authenticated", "aal": "aal1", "session_id": "b1", "is_anonymous": false }),
            None,
            Some("b1"),
        ),
        (
            "Cognito",
            rules(&["client_id"], &["origin_jti"]),
            json!({ "token_use": "access", "client_id": "7p", "origin_jti": "aaaa", "event_id": "e" }),
            Some("7p"),
            Some("aaaa"),
        ),
        (
            "by JSON pointer",
            rules(&["/act/client"], &["/session/id"]),
            json!({ "act": { "client": "c" }, "session": { "id": "s" } }),
            Some("c"),
            Some("s"),
        ),
        (
            "as usual",
            usual.clone(),
            json!({ "azp": "a", "client_id": "b" }),
            Some("a"),
            None,
        ),
        (
            "as usual",
            usual.clone(),
            json!({ "client_id": "b", "sid": "s" }),
            Some("b"),
            Some("s"),
        ),
        (
            "not configured",
            usual,
            json!({ "cid": "c", "session_id": "s" }),
            None,
            None,
        ),
    ] {
        let mut payload = json!({ "iss": ISS, "exp": NOW + 60 });
        payload
            .as_object_mut()
            .unwrap()
            .extend(claims.as_object().unwrap().clone());
        let claims = verdict(with_identifiers(identifiers), &payload).unwrap();
        assert_eq!(
            (claims.client(), claims.session()),
            (client, session),
            "{shape}"
        );
    }
}

#[test]
fn an_identifier_that_is_no_text_is_refused_wherever_it_stands() {
    let rules = IdentifierRules {
        session: paths(&["session_id"]),
        client: paths(&["cid", "appid"]),
        subject: paths(&["/user/id"]),
        ..IdentifierRules::default()
    };
    for claims in [
        json!({ "session_id": 1 }),
        json!({ "session_id": "" }),
        json!({ "session_id": null }),
        json!({ "cid": ["a"] }),
        json!({ "cid": "a", "appid": 1 }),
        json!({ "user": { "id": {} } }),
    ] {
        let mut payload = json!({ "iss": ISS, "exp": NOW + 60 });
        payload
            .as_object_mut()
            .unwrap()
            .extend(claims.as_object().unwrap().clone());
        let verdict = verdict(with_identifiers(rules.clone()), &payload);
        assert_eq!(verdict.err(), Some(Rejection::InvalidClaim), "{claims}");
    }
}

#[test]
fn a_token_of_ruoyi_has_no_exp_and_lives_as_long_as_is_configured() {
    // RuoYi-Vue, TokenService: `claims.put("login_user_key", token)`, and the user's name; neither `exp` nor
    // `iat`.
    let ruoyi = json!({ "iss": ISS, "login_user_key": "8f3c", "sub": "admin" });
    assert_eq!(
        verdict(plain(), &ruoyi).err(),
        Some(Rejection::MissingClaim)
    );
    let never = IssuerProfile {
        missing_exp: Some(MissingExp::Never),
        exact_exp: TokenType::ALL.to_vec(),
        ..plain()
    };
    let claims = verdict(never.clone(), &ruoyi).unwrap();
    // A revocation lasts as long as the token.
    assert_eq!(claims.expires_at(), NO_EXP);
    assert!(claims.dies_at() >= NO_EXP);
    // A token with `exp` still expires at that time.
    let ended = json!({ "iss": ISS, "sub": "admin", "exp": NOW });
    assert_eq!(
        verdict(never.clone(), &ended).err(),
        Some(Rejection::Expired)
    );
    for exp in [json!(null), json!("never"), json!(-1)] {
        let odd = json!({ "iss": ISS, "sub": "admin", "exp": exp });
        assert_eq!(
            verdict(never.clone(), &odd).err(),
            Some(Rejection::InvalidClaim)
        );
    }
}

#[test]
fn a_token_without_exp_may_end_some_time_after_it_was_issued() {
    let for_a_day = IssuerProfile {
        missing_exp: Some(MissingExp::AfterIssue(Duration::from_secs(86_400))),
        ..plain()
    };
    let issued = |iat: i64| json!({ "iss": ISS, "sub": "a", "iat": iat });
    let claims = verdict(for_a_day.clone(), &issued(NOW - 1000)).unwrap();
    assert_eq!(claims.expires_at(), at(86_400 - 1000));
    assert_eq!(claims.dies_at(), at(86_400 - 1000 + LEEWAY));
    let old = verdict(for_a_day.clone(), &issued(NOW - 86_400 - LEEWAY));
    assert_eq!(old.err(), Some(Rejection::Expired));
    let undated = json!({ "iss": ISS, "sub": "a" });
    assert_eq!(
        verdict(for_a_day, &undated).err(),
        Some(Rejection::MissingClaim)
    );
}

#[test]
fn laravel_s_tokens_name_the_url_that_issued_them() {
    let laravel = |iss: &str| {
        json!({
            "iss": iss, "iat": NOW, "exp": NOW + 3600, "nbf": NOW, "jti": "q1", "sub": "1",
            "prv": "23bd5c8949f600adb39e701c400872db7a5976f7",
        })
    };
    let listed = IssuerProfile {
        issuer: Some("https://shop.example/api/login".to_owned()),
        more_issuers: vec!["https://shop.example/api/refresh".to_owned()],
        ..plain()
    };
    let pattern = IssPattern::parse("https://shop.example/api/{segment}").unwrap();
    let by_pattern = IssuerProfile {
        issuer: None,
        issuer_patterns: vec![pattern],
        ..plain()
    };
    for profile in [listed, by_pattern] {
        for path in ["login", "refresh"] {
            let token = laravel(&format!("https://shop.example/api/{path}"));
            let claims = verdict(profile.clone(), &token).unwrap();
            // The issuer is the same, whichever `iss` the token has: a revocation finds both.
            assert_eq!(&**claims.issuer(), "shop");
        }
        let other = laravel("https://evil.example/api/login");
        assert_eq!(
            verdict(profile, &other).err(),
            Some(Rejection::UnknownIssuer)
        );
    }
}

#[test]
fn azure_has_an_issuer_for_each_tenant_and_a_fixed_value_goes_before_patterns() {
    let of_all = IssuerProfile {
        name: Arc::from("azure"),
        issuer: None,
        issuer_patterns: vec![
            IssPattern::parse("https://login.microsoftonline.com/{uuid}/v2.0").unwrap(),
        ],
        ..plain()
    };
    let ours = "https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47/v2.0";
    let theirs = "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0";
    let own = IssuerProfile {
        name: Arc::from("own"),
        issuer: Some(ours.to_owned()),
        ..plain()
    };
    let twice = IssuerProfile {
        name: Arc::from("twice"),
        issuer: None,
        issuer_patterns: vec![
            IssPattern::parse("https://login.microsoftonline.com/{segment}/v2.0").unwrap(),
        ],
        ..plain()
    };
    let token = |iss: &str| signed(&json!({ "iss": iss, "exp": NOW + 60, "tid": "x" }));
    let name = |verifier: &Verifier, iss: &str| {
        let verified = verifier.verify(&token(iss), now());
        verified.map(|claims| claims.issuer().to_string())
    };
    let with = |profiles: &[&IssuerProfile]| {
        let issuer = |profile: &&IssuerProfile| issuer_with((*profile).clone(), all_keys());
        Verifier::new(profiles.iter().map(issuer).collect::<Vec<_>>())
    };
    let verifier = with(&[&of_all, &own]);
    assert_eq!(name(&verifier, ours), Ok("own".to_owned()));
    assert_eq!(name(&verifier, theirs), Ok("azure".to_owned()));
    let unknown = Err(Rejection::UnknownIssuer.into());
    assert_eq!(
        name(&verifier, "https://login.microsoftonline.com/common/v2.0"),
        unknown
    );
    // The issuer must be unambiguous.
    let ambiguous = with(&[&of_all, &twice]);
    assert_eq!(name(&ambiguous, theirs), unknown);
    let common = "https://login.microsoftonline.com/common/v2.0";
    assert_eq!(name(&ambiguous, common), Ok("twice".to_owned()));
    assert_eq!(verifier.leeway_of("azure"), Some(Duration::from_secs(30)));
}

#[test]
fn an_issuer_s_value_may_be_the_user_as_in_bugzkit() {
    // while1618/BootstrapBugZ: `.withIssuer(userId)`, no `sub`.
    let profile = IssuerProfile {
        issuer: None,
        issuer_patterns: vec![IssPattern::parse("{digits}").unwrap()],
        ..with_identifiers(IdentifierRules {
            subject: paths(&["iss"]),
            ..IdentifierRules::default()
        })
    };
    let token = json!({ "iss": "17", "iat": NOW, "exp": NOW + 60, "type": "ACCESS_TOKEN" });
    let claims = verdict(profile, &token).unwrap();
    assert_eq!(claims.subject(), Some("17"));
    assert_eq!(claims.token_type(), TokenType::Access);
}

#[test]
fn claims_must_have_the_values_that_are_wanted() {
    let wanted = |claim: &str, values: Value| IssuerProfile {
        required_claims: vec![RequiredClaim {
            claim: ClaimPath(claim.to_owned()),
            values: values.as_array().unwrap().clone(),
        }],
        ..plain()
    };
    let payload = json!({
        "iss": ISS, "exp": NOW + 60, "client_id": "abc", "email_verified": true, "level": 2,
        "realm_access": { "roles": ["user", "admin"] }, "nothing": null,
    });
    let wrong = Some(Rejection::WrongClaim);
    for (claim, values, expected) in [
        ("client_id", json!(["abc"]), None),
        ("client_id", json!(["x", "abc"]), None),
        ("client_id", json!(["ABC"]), wrong),
        ("client_id", json!(["ab"]), wrong),
        ("email_verified", json!([true]), None),
        ("email_verified", json!(["true"]), wrong),
        ("email_verified", json!([1]), wrong),
        ("level", json!([2]), None),
        ("level", json!([2.0]), None),
        ("level", json!(["2"]), wrong),
        ("/realm_access/roles", json!(["admin"]), None),
        ("/realm_access/roles", json!(["root"]), wrong),
        ("realm_access", json!(["admin"]), wrong),
        ("nothing", json!(["x"]), Some(Rejection::MissingClaim)),
        ("absent", json!(["x"]), Some(Rejection::MissingClaim)),
    ] {
        let verdict = verdict(wanted(claim, values.clone()), &payload);
        assert_eq!(verdict.err(), expected, "{claim} {values}");
    }
}

#[test]
fn refresh_tokens_may_have_a_secret_of_their_own() {
    let (access, refresh) = (Signer::Secret(vec![1; 32]), Signer::Secret(vec![2; 32]));
    let of = |signer: &Signer, type_of_keys| {
        let profile = IssuerProfile {
            type_of_keys: Some(type_of_keys),
            algorithms: vec![Algorithm::HS256],
            ..plain()
        };
        install_crypto().unwrap();
        Issuer::new(profile, key_set(&[signer.jwk(None)]))
    };
    let companion = Arc::new(of(&refresh, TokenType::Refresh));
    let issuer = of(&access, TokenType::Access).with_refresh_keys(companion);
    let verifier = Verifier::new([Arc::new(issuer)]);
    let verdict = |signer: &Signer, more: Value| {
        let mut claims = json!({ "iss": ISS, "exp": NOW + 60, "userId": 1 });
        claims
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let token = signer.token(
            "HS256",
            r#"{"alg":"HS256","typ":"JWT"}"#,
            &claims.to_string(),
        );
        verifier.verify(&token, now()).map(|claims| {
            assert_eq!(&**claims.issuer(), "shop");
            claims.token_type()
        })
    };
    for (signer, more, expected) in [
        // Most applications of this kind name the type only by the key.
        (&access, json!({}), TokenType::Access),
        (&refresh, json!({}), TokenType::Refresh),
        (&access, json!({ "type": "access" }), TokenType::Access),
        (&refresh, json!({ "type": "refresh" }), TokenType::Refresh),
        // A token whose key implies one type and whose claims name a different type is `Other`.
        (&access, json!({ "type": "refresh" }), TokenType::Other),
        (&refresh, json!({ "type": "access" }), TokenType::Other),
        (&refresh, json!({ "token_use": "id" }), TokenType::Other),
    ] {
        assert_eq!(verdict(signer, more.clone()), Ok(expected), "{more}");
    }
    let stranger = Signer::Secret(vec![3; 32]);
    let bad = Err(Rejection::BadSignature.into());
    assert_eq!(verdict(&stranger, json!({})), bad);
    assert_eq!(verdict(&stranger, json!({ "type": "refresh" })), bad);
}

#[test]
fn a_refusal_names_the_claim_that_is_missing_or_wrong() {
    let required = |claim: &str| RequiredClaim {
        claim: ClaimPath(claim.to_owned()),
        values: vec![json!("abc")],
    };
    let profile = IssuerProfile {
        required_claims: vec![required("client_id"), required("/a/b")],
        identifiers: IdentifierRules {
            subject: paths(&["/user/id"]),
            ..IdentifierRules::default()
        },
        ..plain()
    };
    let good = json!({ "iss": ISS, "exp": NOW + 60, "client_id": "abc", "a": { "b": "abc" } });
    let refusal = |more: Value| {
        let mut payload = good.clone();
        for (name, value) in more.as_object().unwrap() {
            match value {
                Value::String(gone) if gone == "gone" => {
                    payload.as_object_mut().unwrap().remove(name)
                }
                value => payload
                    .as_object_mut()
                    .unwrap()
                    .insert(name.clone(), value.clone()),
            };
        }
        let verifier = verifier_with(profile.clone(), all_keys());
        let error = verifier.verify(&signed(&payload), now()).err();
        error.map(|error| error.to_string())
    };
    assert_eq!(refusal(json!({})), None);
    for (more, expected) in [
        (json!({ "exp": "gone" }), "a required claim is missing: exp"),
        (
            json!({ "client_id": "gone" }),
            "a required claim is missing: client_id",
        ),
        (json!({ "a": 1 }), "a required claim is missing: /a/b"),
        (
            json!({ "client_id": "x" }),
            "a claim does not have a required value: client_id",
        ),
        (json!({ "nbf": "x" }), "a claim has an invalid value: nbf"),
        (json!({ "aud": 1 }), "a claim has an invalid value: aud"),
        (json!({ "jti": "" }), "a claim has an invalid value: jti"),
        (
            json!({ "user": { "id": 1 } }),
            "a claim has an invalid value: /user/id",
        ),
        (
            json!({ "token_use": 1 }),
            "a claim has an invalid value: token_use",
        ),
    ] {
        assert_eq!(refusal(more).as_deref(), Some(expected));
    }
}
