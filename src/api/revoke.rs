//! `POST /oauth2/revoke` (RFC 7009).
//!
//! Possession of the token is the authorization: it must be one that a configured issuer signed, and only itself can
//! be revoked with it. 200 means that the token is not accepted any more by any replica, whether it was recorded as revoked now
//! or can never be any good (§2.2); 503 means that it may still be accepted. That is so too while nobody here knows the key that it
//! was signed with: another replica may know it, and this one in a moment.

use axum::Json;
use axum::extract::rejection::FormRejection;
use axum::extract::{Form, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use crate::jwt::{Rejection, Unrevocable, VerifiedClaims};
use crate::revocation::{Cutoff, Revocation, RevocationKey, StoreError};

use super::answer::{durability, error};
use super::{Api, CLOCK_MARGIN, KEYS_DEADLINE, STORE_DEADLINE, answer};

/// Who revoked, in the store.
const ACTOR: &str = "token holder";

pub(super) async fn handle(
    State(api): State<Api>,
    form: Result<Form<Vec<(String, String)>>, FormRejection>,
) -> Response {
    let token = match form {
        Ok(Form(parameters)) => single(parameters, "token"),
        Err(rejection) => Err(rejection.body_text()),
    };
    let token = match token {
        Ok(token) => token,
        Err(why) => {
            api.metrics.revocation_request("refused");
            return error(StatusCode::BAD_REQUEST, "invalid_request", &why);
        }
    };
    let now = api.clock.now();
    let verified = api.verifier.verify_possession(&token, now, KEYS_DEADLINE);
    match verified.await {
        Ok(claims) if !api.types.includes(claims.token_type()) => {
            // RFC 7009 §2.2.1. To say 200 would promise what no check keeps.
            api.metrics.revocation_request("refused");
            let why = "tokens of this type are not checked for revocation";
            error(StatusCode::BAD_REQUEST, "unsupported_token_type", why)
        }
        Ok(claims) => api.revoke(&claims).await,
        Err(Unrevocable::Invalid(Rejection::NotVerifiedByProxy)) => {
            // It may be good, but nobody here can tell. To say 200 would promise what no check keeps.
            api.metrics.revocation_request("refused");
            let why = "tokens of this issuer are verified by the proxy and cannot be revoked here";
            error(StatusCode::BAD_REQUEST, "unsupported_token_type", why)
        }
        Err(Unrevocable::Invalid(rejection)) => api.ignore(rejection),
        Err(Unrevocable::Unknown) => {
            let over_by = now.minus(CLOCK_MARGIN);
            if api.verifier.claims_to_be_over(&token, over_by) {
                return api.ignore(Rejection::Expired);
            }
            tracing::info!("a token to be revoked was signed with a key that is not known here");
            api.metrics.revocation_request("unknown_key");
            answer::unknown_key()
        }
    }
}

impl Api {
    /// RFC 7009 §2.2: an invalid token is no error. The log says it, for whoever wonders.
    fn ignore(&self, rejection: Rejection) -> Response {
        let reason = rejection.as_str();
        tracing::info!(reason, "a token to be revoked is invalid");
        self.metrics.revocation_request("ignored");
        StatusCode::OK.into_response()
    }

    async fn revoke(&self, claims: &VerifiedClaims) -> Response {
        let now = self.clock.now();
        let revocation = Revocation {
            key: RevocationKey::of_token(claims),
            cutoff: Cutoff::All,
            expires_at: claims.dies_at().plus(CLOCK_MARGIN),
            reason: None,
            actor: Some(ACTOR.to_owned()),
            revoked_at: now,
        };
        // Not when it dies by our clock: that of another replica may be behind.
        if !revocation.is_live(now) {
            self.metrics.revocation_request("ignored");
            return StatusCode::OK.into_response();
        }
        let recorded = tokio::time::timeout(STORE_DEADLINE, self.store.revoke(&revocation)).await;
        match recorded.unwrap_or(Err(StoreError::Timeout)) {
            Ok(reached) => {
                let (kind, issuer) = (revocation.key.kind().as_str(), &**claims.issuer());
                tracing::info!(kind, issuer, "revoked");
                self.metrics.revocation_request("recorded");
                // RFC 7009 §2.2: the client ignores the body. Whoever has asked for durability finds there what was reached.
                match reached.replicas {
                    Some(_) => {
                        let mut body = json!({});
                        durability(&mut body, reached);
                        Json(body).into_response()
                    }
                    None => StatusCode::OK.into_response(),
                }
            }
            Err(error) => {
                tracing::error!(%error, "a revocation could not be recorded");
                self.metrics.revocation_request("failed");
                unavailable()
            }
        }
    }
}

/// The one value of a parameter (RFC 6749 §3.2: none may occur twice).
fn single(parameters: Vec<(String, String)>, name: &str) -> Result<String, String> {
    let mut values = parameters
        .into_iter()
        .filter(|(n, _)| n == name)
        .map(|(_, v)| v);
    match (values.next(), values.next()) {
        (Some(value), None) if !value.is_empty() => Ok(value),
        (Some(_), Some(_)) => Err(format!("the parameter `{name}` occurs more than once")),
        _ => Err(format!("the parameter `{name}` is missing")),
    }
}

/// RFC 7009 §2.2.1: the client must assume that the token still exists.
fn unavailable() -> Response {
    answer::unavailable("the revocation could not be recorded; the token may still be accepted")
}
