//! Tests of token types, with the tokens of libraries and identity providers according to their documentation
//! or source.

use super::*;
use crate::jwt::rejection::Rejection;
use crate::jwt::{TokenType, TokenTypeNames, TokenTypeRule};

const ACCESS: TokenType = TokenType::Access;
const REFRESH: TokenType = TokenType::Refresh;
const OTHER: TokenType = TokenType::Other;

/// The type of a valid token with these additional claims, and with this `typ` in its header.
fn type_of(rule: &TokenTypeRule, typ: Value, more: &Value) -> Result<TokenType, Rejection> {
    let mut claims = claims();
    claims.extend(more.as_object().unwrap().clone());
    let header = json!({ "alg": "HS256", "kid": "secret", "typ": typ }).to_string();
    let token = Signer::of("HS256").token("HS256", &header, &Value::Object(claims).to_string());
    let profile = IssuerProfile {
        token_type: rule.clone(),
        ..profile()
    };
    match verifier_with(profile, all_keys()).verify(&token, now()) {
        Ok(claims) => Ok(claims.token_type()),
        Err(crate::jwt::VerifyError::Rejected(refusal)) => Err(refusal.reason),
        Err(other) => unreachable!("{other:?}"),
    }
}

#[test]
#[rustfmt::skip]
fn tokens_of_every_provider_are_what_they_say() {
    let logout = json!({ "http://schemas.openid.net/event/backchannel-logout": {} });
    for (shape, typ, claims, expected) in [
        ("nothing said", "JWT", json!({}), ACCESS),
        ("flask-jwt-extended", "JWT", json!({ "type": "access", "fresh": false }), ACCESS),
        ("flask-jwt-extended, refresh", "JWT", json!({ "type": "refresh" }), REFRESH),
        ("simplejwt", "JWT", json!({ "token_type": "access", "user_id": 1 }), ACCESS),
        ("simplejwt, refresh", "JWT", json!({ "token_type": "refresh", "user_id": 1 }), REFRESH),
        ("simplejwt, sliding", "JWT", json!({ "token_type": "sliding", "refresh_exp": 1 }), ACCESS),
        ("Keycloak", "JWT", json!({ "typ": "Bearer", "azp": "shop", "sid": "s", "acr": "1" }), ACCESS),
        ("Keycloak, at+jwt", "at+jwt", json!({ "typ": "Bearer", "azp": "shop" }), ACCESS),
        ("Keycloak, refresh", "JWT", json!({ "typ": "Refresh", "azp": "shop" }), REFRESH),
        ("Keycloak, offline", "JWT", json!({ "typ": "Offline", "azp": "shop" }), REFRESH),
        ("Keycloak, ID", "JWT", json!({ "typ": "ID", "at_hash": "x", "azp": "shop" }), OTHER),
        ("Keycloak, logout", "JWT", json!({ "typ": "Logout", "events": logout }), OTHER),
        ("Keycloak, serialized ID", "JWT", json!({ "typ": "Serialized-ID" }), OTHER),
        ("Keycloak, DPoP", "JWT", json!({ "typ": "DPoP", "cnf": { "jkt": "x" } }), OTHER),
        ("Cognito", "JWT", json!({ "token_use": "access", "client_id": "c", "origin_jti": "o" }), ACCESS),
        ("Cognito, ID", "JWT", json!({ "token_use": "id", "cognito:username": "a" }), OTHER),
        ("Auth0", "JWT", json!({ "azp": "c", "scope": "openid", "gty": "password" }), ACCESS),
        ("Auth0, profile of RFC 9068", "at+jwt", json!({ "client_id": "c" }), ACCESS),
        ("Okta", "JWT", json!({ "ver": 1, "cid": "c", "uid": "u", "scp": ["openid"] }), ACCESS),
        ("Okta, application/okta-internal-at+jwt", "application/okta-internal-at+jwt", json!({ "cid": "c" }), OTHER),
        ("Azure v1", "JWT", json!({ "ver": "1.0", "appid": "c", "idtyp": "user" }), ACCESS),
        ("Azure v2", "JWT", json!({ "ver": "2.0", "azp": "c", "uti": "x" }), ACCESS),
        ("Supabase", "JWT", json!({ "role": "authenticated", "session_id": "s", "aal": "aal1" }), ACCESS),
        ("IdentityServer", "at+jwt", json!({ "client_id": "c" }), ACCESS),
        ("Guardian", "JWT", json!({ "typ": "access" }), ACCESS),
        ("Guardian, refresh", "JWT", json!({ "typ": "refresh" }), REFRESH),
        ("the claims of an OAuth answer", "JWT", json!({ "token_type": "Bearer" }), ACCESS),
        ("JWT in the claims", "JWT", json!({ "typ": "JWT" }), ACCESS),
        ("camel case", "JWT", json!({ "tokenType": "REFRESH_TOKEN" }), REFRESH),
        ("RFC 8693", "JWT", json!({ "token_type": "urn:ietf:params:oauth:token-type:refresh_token" }), REFRESH),
        ("header of a refresh token", "refresh+jwt", json!({}), REFRESH),
        ("header of a refresh token, short", "application/rt+jwt", json!({}), REFRESH),
        ("logout token without typ", "JWT", json!({ "events": logout, "sid": "s" }), OTHER),
        ("events of another kind", "JWT", json!({ "events": { "login": 1 } }), ACCESS),
        ("a word nobody knows", "JWT", json!({ "type": "password-reset" }), OTHER),
        ("an empty word", "JWT", json!({ "type": "" }), OTHER),
        ("null", "JWT", json!({ "token_use": null }), ACCESS),
        ("two that agree", "JWT", json!({ "type": "refresh", "token_type": "refresh" }), REFRESH),
        ("access and refresh", "JWT", json!({ "type": "access", "token_use": "refresh" }), REFRESH),
        ("access and ID", "JWT", json!({ "type": "access", "token_use": "id" }), OTHER),
        ("refresh and ID", "JWT", json!({ "type": "refresh", "typ": "ID" }), OTHER),
        ("ID and refresh", "JWT", json!({ "type": "id", "typ": "Refresh" }), OTHER),
        ("an access header and a refresh claim", "at+jwt", json!({ "typ": "Refresh" }), REFRESH),
        ("a refresh header and an access claim", "refresh+jwt", json!({ "type": "access" }), REFRESH),
    ] {
        let found = type_of(&TokenTypeRule::Usual, json!(typ), &claims);
        // A `typ` that no access token has is refused in the header, before anything else is looked at.
        let expected = match typ.contains("okta-internal") {
            true => Err(Rejection::Unsupported),
            false => Ok(expected),
        };
        assert_eq!(found, expected, "{shape}");
    }
}

#[test]
fn a_type_that_is_no_text_is_refused() {
    for claim in ["type", "typ", "token_type", "token_use", "tokenType"] {
        for value in [json!(1), json!(true), json!(["access"]), json!({})] {
            let mut claims = Map::new();
            claims.insert(claim.to_owned(), value);
            let found = type_of(&TokenTypeRule::Usual, json!("JWT"), &Value::Object(claims));
            assert_eq!(found, Err(Rejection::InvalidClaim), "{claim}");
        }
    }
}

#[test]
fn a_configured_claim_is_read_alone_and_word_for_word_beside_the_header() {
    let rule = TokenTypeRule::Named(TokenTypeNames {
        claim: "kind".to_owned(),
        access: vec!["a".to_owned()],
        refresh: vec!["r".to_owned()],
    });
    for (typ, claims, expected) in [
        ("JWT", json!({ "type": "customer" }), ACCESS),
        ("JWT", json!({ "kind": "a", "token_use": "id" }), ACCESS),
        ("JWT", json!({ "kind": "r" }), REFRESH),
        ("JWT", json!({ "kind": "R" }), OTHER),
        ("JWT", json!({ "kind": "access" }), OTHER),
        ("refresh+jwt", json!({ "kind": "a" }), REFRESH),
        ("refresh+jwt", json!({ "kind": "x" }), OTHER),
    ] {
        let found = type_of(&rule, json!(typ), &claims);
        assert_eq!(found, Ok(expected), "{typ} {claims}");
    }
    let found = type_of(&rule, json!("JWT"), &json!({ "kind": 1 }));
    assert_eq!(found, Err(Rejection::InvalidClaim));
}
