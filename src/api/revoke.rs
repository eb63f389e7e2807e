//! `POST /oauth2/revoke` (RFC 7009).
//!
//! Possession of the token is the authorization: a configured issuer must have signed it, and it can only
//! revoke itself. 200 means that no replica accepts the token any more, because it was recorded as revoked
//! now or can never be valid (§2.2). 503 means that the token may still be accepted. That includes a token
//! whose key is unknown to this replica: another replica may have the key, and this replica may load it soon.

use axum::Json;
use axum::extract::rejection::FormRejection;
use axum::extract::{Form, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use crate::jwt::{Rejection, Unrevocable, VerifiedClaims};
use crate::revocation::{CLOCK_MARGIN, Revocation, StoreError};

use super::answer::{Failure, UNCHECKED_TYPE, counted, durability};
use super::{Api, KEYS_DEADLINE, STORE_DEADLINE};

/// The actor in the store's record.
const ACTOR: &str = "token holder";

pub(super) async fn handle(
    State(api): State<Api>,
    form: Result<Form<Vec<(String, String)>>, FormRejection>,
) -> Response {
    let done = api.revoke_shown(form).await;
    counted(done, |result| api.metrics.revocation_request(result))
}

/// The result for metrics, and the answer.
type Done = Result<(&'static str, Response), Failure>;

impl Api {
    async fn revoke_shown(&self, form: Result<Form<Vec<(String, String)>>, FormRejection>) -> Done {
        let token = match form {
            Ok(Form(parameters)) => single(parameters, "token"),
            Err(rejection) => Err(rejection.body_text()),
        };
        let token = token.map_err(Failure::bad_request)?;
        let now = self.clock.now();
        let verified = self.verifier.verify_possession(&token, now, KEYS_DEADLINE);
        match verified.await {
            Ok(claims) if !self.types.includes(claims.token_type()) => {
                Err(Failure::unsupported_token_type(UNCHECKED_TYPE))
            }
            Ok(claims) => self.revoke(&claims).await,
            // Only the proxy can verify the token.
            Err(Unrevocable::Invalid(Rejection::NotVerifiedByProxy)) => {
                Err(Failure::unsupported_token_type(
                    "tokens of this issuer are verified by the proxy and cannot be revoked here",
                ))
            }
            Err(Unrevocable::Invalid(rejection)) => Ok(ignored(rejection)),
            Err(Unrevocable::Unknown) => {
                let over_by = now.minus(CLOCK_MARGIN);
                if self.verifier.claims_to_be_over(&token, over_by) {
                    return Ok(ignored(Rejection::Expired));
                }
                tracing::info!(
                    "a token to be revoked was signed with a key that is not known here"
                );
                Err(Failure::UnknownKey)
            }
        }
    }

    async fn revoke(&self, claims: &VerifiedClaims) -> Done {
        let now = self.clock.now();
        let revocation = Revocation::of_token(claims, ACTOR, now);
        // Not as soon as the token has ended by our clock: the clock of another replica may be behind.
        if !revocation.is_live(now) {
            return Ok(("ignored", StatusCode::OK.into_response()));
        }
        let recorded = tokio::time::timeout(STORE_DEADLINE, self.store.revoke(&revocation)).await;
        let reached = recorded
            .unwrap_or(Err(StoreError::Timeout))
            .map_err(|error| {
                tracing::error!(%error, "a revocation could not be recorded");
                // RFC 7009 §2.2.1: the client must assume that the token still exists.
                let why = "the revocation could not be recorded; the token may still be accepted";
                Failure::Unavailable(why.to_owned())
            })?;
        let (kind, issuer) = (revocation.key.kind().as_str(), &**claims.issuer());
        tracing::info!(kind, issuer, "revoked");
        // RFC 7009 §2.2: the client ignores the body. If durability is configured, the body reports the
        // durability that was reached.
        let answer = match reached.replicas {
            Some(_) => {
                let mut body = json!({});
                durability(&mut body, reached);
                Json(body).into_response()
            }
            None => StatusCode::OK.into_response(),
        };
        Ok(("recorded", answer))
    }
}

/// RFC 7009 §2.2: an invalid token is not an error. The log says why it was ignored, to help with debugging.
fn ignored(rejection: Rejection) -> (&'static str, Response) {
    let reason = rejection.as_str();
    tracing::info!(reason, "a token to be revoked is invalid");
    ("ignored", StatusCode::OK.into_response())
}

/// Returns the only value of a parameter (RFC 6749 §3.2: none may occur twice).
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
