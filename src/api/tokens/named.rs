//! Parses what a request names: a token of an issuer, a time, a reason.

use std::time::Duration;

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use crate::clock::Timestamp;
use crate::jwt::{MAX_TOKEN_BYTES, Rejection, Unrevocable, VerifiedClaims};
use crate::revocation::{KeyKind, RevocationKey};

use super::super::answer::Failure;
use super::super::{Api, KEYS_DEADLINE};

/// The maximum length of reason and actor, in bytes.
const LONGEST_NOTE: usize = 1024;
/// A time in seconds that no correct clock shows: the year 10000.
const LATEST: f64 = 253_402_300_800.0;

/// What identifies a token within its issuer.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum IdKind {
    /// `jti`.
    #[default]
    Jti,
    /// For a token without `jti`: the SHA-256 of its signing input, in base64url.
    Digest,
}

impl IdKind {
    fn key_kind(self) -> KeyKind {
        match self {
            Self::Jti => KeyKind::TokenId,
            Self::Digest => KeyKind::Digest,
        }
    }
}

/// Returns a required value.
pub(super) fn required<T>(value: Option<T>, name: &str) -> Result<T, Failure> {
    value.ok_or_else(|| Failure::bad_request(format!("{name} is missing")))
}

/// Refuses a value that has no meaning next to another one.
pub(super) fn unwanted<T>(value: Option<&T>, name: &str, with: &str) -> Result<(), Failure> {
    match value {
        None => Ok(()),
        Some(_) => Err(Failure::bad_request(format!(
            "`{name}` has no place beside {with}"
        ))),
    }
}

/// Makes the key of the token with this id.
pub(super) fn token(issuer: &str, kind: IdKind, id: &str) -> Result<RevocationKey, Failure> {
    if id.is_empty() {
        return Err(Failure::bad_request(
            "`id` is empty: no token has such a one",
        ));
    }
    let decoded = || URL_SAFE_NO_PAD.decode(id).map(|bytes| bytes.len());
    if matches!(kind, IdKind::Digest) && !matches!(decoded(), Ok(32)) {
        let why = "`id` is no digest: it must be a SHA-256 in base64url without padding";
        return Err(Failure::bad_request(why));
    }
    identifier(Some(id), "id")?;
    Ok(RevocationKey::new(kind.key_kind(), issuer, id))
}

/// Checks an identifier as it may occur in a token.
pub(super) fn identifier(value: Option<&str>, name: &str) -> Result<(), Failure> {
    match value {
        Some(value) if value.len() > MAX_TOKEN_BYTES => Err(Failure::bad_request(format!(
            "`{name}` is longer than any token"
        ))),
        _ => Ok(()),
    }
}

/// Parses a time in seconds since the epoch.
pub(super) fn time(seconds: f64, name: &str) -> Result<Timestamp, Failure> {
    if !(0.0..LATEST).contains(&seconds) {
        let why = format!("`{name}` is not a time in seconds since 1970");
        return Err(Failure::bad_request(why));
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the range was checked above"
    )]
    Ok(Timestamp::from_millis((seconds * 1000.0).floor() as i64))
}

/// Checks a reason or an actor, which people will read.
pub(super) fn note(value: Option<String>, name: &str) -> Result<Option<String>, Failure> {
    match value {
        Some(value) if value.len() > LONGEST_NOTE => Err(Failure::bad_request(format!(
            "`{name}` is longer than {LONGEST_NOTE} bytes"
        ))),
        other => Ok(other),
    }
}

impl Api {
    /// Returns the leeway of an issuer, which must be configured.
    pub(super) fn leeway_of(&self, issuer: &str) -> Result<Duration, Failure> {
        self.verifier.leeway_of(issuer).ok_or_else(|| {
            let why = "`issuer` is none of the `name`s under `issuers` in the configuration";
            Failure::bad_request(why)
        })
    }

    /// Returns the claims of a token, expired or not.
    pub(super) async fn claims(&self, token: &str) -> Result<VerifiedClaims, Failure> {
        let now = self.clock.now();
        let refused = |why: String| Failure::Refused {
            status: StatusCode::BAD_REQUEST,
            code: "invalid_token",
            why,
        };
        let verified = self.verifier.verify_possession(token, now, KEYS_DEADLINE);
        match verified.await {
            Ok(claims) => Ok(claims),
            Err(Unrevocable::Invalid(Rejection::NotVerifiedByProxy)) => Err(refused(
                "tokens of this issuer are verified by the proxy: name them by `issuer` and `id`"
                    .to_owned(),
            )),
            Err(Unrevocable::Invalid(rejection)) => Err(refused(format!(
                "the token does not verify: {}",
                rejection.as_str()
            ))),
            Err(Unrevocable::Unknown) => Err(Failure::UnknownKey),
        }
    }
}
