//! What a check makes of a store's answers: the same with every store, whether it keeps a view or is asked.

use std::sync::Arc;

use revoxy::clock::Clock as _;
use revoxy::clock::{SystemClock, Timestamp};
use revoxy::jwt::{Algorithm, Issuer, IssuerProfile, KeyFile, TokenType, VerifiedClaims, Verifier};
use revoxy::metrics::{CheckLabels, Metrics};
use revoxy::revocation::{
    CheckedTypes, Checker, CheckerSettings, Cutoff, KeyKind, Lookup, Revocation, RevocationKey,
    RevokedBy, StoreError, TokenKeys,
};

use super::contract::{HOUR, revocation};
use super::fixture::Fixture;
use crate::support::tokens::{AUDIENCE, ISSUER};
use crate::support::{PATIENCE, Scratch, SigningKey, Token};

/// The claims of a good token, by way of the only maker of verified claims.
pub fn verified(token: Token) -> VerifiedClaims {
    let scratch = Scratch::new();
    let key = SigningKey::generate(jsonwebtoken::Algorithm::ES256);
    let options = key.write(&scratch);
    let path = options.split('"').nth(1).unwrap();
    let algorithms = vec![Algorithm::ES256];
    let (keys, _) = KeyFile::Pem(path.into()).load(&algorithms).unwrap();
    let profile = IssuerProfile {
        name: Arc::from("shop"),
        issuer: Some(ISSUER.to_owned()),
        audiences: vec![AUDIENCE.to_owned()],
        algorithms,
        leeway: PATIENCE,
        exact_exp: Vec::new(),
        ..IssuerProfile::default()
    };
    let verifier = Verifier::new([Arc::new(Issuer::new(profile, keys))]);
    verifier
        .verify(&token.sign(&key), SystemClock.now())
        .unwrap()
}

pub fn full() -> Token {
    let token = Token::access("the-jti").with("sub", "the-sub");
    let token = token.with("sid", "the-sid").with("azp", "the-client");
    token.header("kid", "the-kid")
}

/// The checker of a service over the store.
pub fn checker(f: &impl Fixture) -> Checker {
    let labels = CheckLabels {
        outcomes: &[],
        policies: &[],
    };
    let metrics = Metrics::new(&labels, &StoreError::LABELS).unwrap();
    let settings = CheckerSettings {
        types: CheckedTypes {
            access: true,
            refresh: true,
        },
        deadline: PATIENCE,
        max_staleness: PATIENCE,
    };
    Checker::new(f.store(), settings, metrics.store.clone())
}

/// By what a check finds a token of these keys revoked.
pub async fn judge(f: &impl Fixture, keys: &TokenKeys) -> Option<RevokedBy> {
    let checker = checker(f);
    match checker.check(TokenType::Access, keys, f.now()) {
        Lookup::Clear => None,
        Lookup::Revoked(by) => Some(by),
        Lookup::Unidentified => panic!("nothing is lacking"),
        Lookup::Ask => checker.ask(keys, f.now()).await.unwrap(),
    }
}

/// By which key of ours a check finds the token revoked.
async fn revoked_by(f: &impl Fixture, claims: &VerifiedClaims) -> Option<KeyKind> {
    let revoked_by = judge(f, &TokenKeys::of(claims)).await;
    revoked_by.map(|by| match by {
        RevokedBy::Key(kind) => kind,
        RevokedBy::Application | RevokedBy::Unregistered => panic!("not a key of ours: {by:?}"),
    })
}

async fn revoke(f: &impl Fixture, kind: KeyKind, value: &str, cutoff: Cutoff) -> RevocationKey {
    let key = RevocationKey::new(kind, "shop", value);
    let plain = revocation(key.clone(), f.now().plus(HOUR));
    let entry = Revocation { cutoff, ..plain };
    f.store().revoke(&entry).await.unwrap();
    key
}

/// In the order in which a check names them.
fn values(claims: &VerifiedClaims) -> [(KeyKind, &str); 7] {
    [
        (KeyKind::TokenId, "the-jti"),
        (KeyKind::Subject, "the-sub"),
        (KeyKind::Session, "the-sid"),
        (KeyKind::Client, "the-client"),
        (KeyKind::SigningKey, "the-kid"),
        (KeyKind::KeyThumbprint, claims.key_thumbprint().unwrap()),
        (KeyKind::Issuer, "all"),
    ]
}

pub async fn every_kind_of_key_revokes_the_token_that_it_names(f: impl Fixture) {
    let claims = verified(full());
    for (kind, value) in values(&claims) {
        revoke(&f, kind, "another", Cutoff::All).await;
        assert_eq!(revoked_by(&f, &claims).await, None, "{kind:?}");
        let key = revoke(&f, kind, value, Cutoff::All).await;
        assert_eq!(revoked_by(&f, &claims).await, Some(kind));
        assert!(f.store().unrevoke(&key).await.unwrap());
        assert_eq!(revoked_by(&f, &claims).await, None, "{kind:?}");
    }
}

pub async fn of_two_revocations_the_more_specific_is_named(f: impl Fixture) {
    let claims = verified(full());
    for (kind, value) in values(&claims).into_iter().rev() {
        revoke(&f, kind, value, Cutoff::All).await;
        assert_eq!(revoked_by(&f, &claims).await, Some(kind));
    }
}

pub async fn a_token_issued_after_the_cutoff_is_clear(f: impl Fixture) {
    let login = f.now().secs() - 100;
    let claims = |iat: i64| verified(full().with("iat", iat));
    let cutoff = Cutoff::IssuedUpTo(Timestamp::from_secs(login));
    revoke(&f, KeyKind::Subject, "the-sub", cutoff).await;
    let by_subject = Some(KeyKind::Subject);
    assert_eq!(revoked_by(&f, &claims(login - 1)).await, by_subject);
    assert_eq!(revoked_by(&f, &claims(login)).await, by_subject);
    assert_eq!(revoked_by(&f, &claims(login + 1)).await, None);
    let timeless = verified(full().without("iat"));
    assert_eq!(revoked_by(&f, &timeless).await, by_subject);
    // A cutoff that spares the token hides no revocation that does not.
    revoke(&f, KeyKind::Session, "the-sid", Cutoff::All).await;
    let by_session = Some(KeyKind::Session);
    assert_eq!(revoked_by(&f, &claims(login + 1)).await, by_session);
}

pub async fn a_token_without_jti_is_revoked_by_its_digest(f: impl Fixture) {
    let claims = verified(full().without("jti"));
    let key = RevocationKey::of_token(&claims);
    assert_eq!(key.kind(), KeyKind::Digest);
    f.store()
        .revoke(&revocation(key, f.now().plus(HOUR)))
        .await
        .unwrap();
    assert_eq!(revoked_by(&f, &claims).await, Some(KeyKind::Digest));
    let twin = verified(full().without("jti").with("nonce", "another"));
    assert_eq!(revoked_by(&f, &twin).await, None);
}
