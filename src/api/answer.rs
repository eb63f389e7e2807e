//! Error answers of the API, and the metrics of its requests.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::revocation::{Durability, StoreError};

/// Makes an error as in RFC 6749 §5.2.
pub(super) fn error(status: StatusCode, code: &str, description: &str) -> Response {
    let body = json!({ "error": code, "error_description": description });
    (status, Json(body)).into_response()
}

/// After how many seconds to retry when the store is unavailable.
const STORE_RETRY: &str = "1";
/// After how many seconds to retry when a key is unknown: the interval at which key files are read again.
const KEYS_RETRY: &str = "5";

/// The request failed, and may be retried.
fn unavailable(description: &str) -> Response {
    try_again(description, STORE_RETRY)
}

/// The key that signed the token is unknown.
fn unknown_key() -> Response {
    let why = "the key that the token was signed with is not known here, or not yet; the token may be accepted";
    try_again(why, KEYS_RETRY)
}

fn try_again(description: &str, after: &'static str) -> Response {
    let answer = error(
        StatusCode::SERVICE_UNAVAILABLE,
        "temporarily_unavailable",
        description,
    );
    ([(header::RETRY_AFTER, after)], answer).into_response()
}

/// Answers a request, and counts its result.
pub(super) fn counted(
    done: Result<(&'static str, impl IntoResponse), Failure>,
    count: impl FnOnce(&'static str),
) -> Response {
    match done {
        Ok((result, answer)) => {
            count(result);
            answer.into_response()
        }
        Err(failure) => {
            count(failure.result());
            failure.into_response()
        }
    }
}

/// Adds how durable the writes are to an answer, if the store is configured to wait for that.
pub(super) fn durability(answer: &mut Value, reached: Durability) {
    if let Some(replicas) = reached.replicas {
        answer["durable"] = json!({ "replicas": replicas, "flushed": reached.flushed });
    }
}

/// Why a token cannot be revoked if its type is not configured.
pub(super) const UNCHECKED_TYPE: &str = "tokens of this type are not checked for revocation";

/// Why a request was not carried out.
#[derive(Debug)]
pub(super) enum Failure {
    /// The request is invalid.
    Refused {
        status: StatusCode,
        code: &'static str,
        why: String,
    },
    /// The store is not available. The token is accepted or refused as before.
    Unavailable(String),
    /// The key that signed the token is unknown. The token is accepted or refused as before.
    UnknownKey,
}

impl Failure {
    pub fn bad_request(why: impl Into<String>) -> Self {
        Self::Refused {
            status: StatusCode::BAD_REQUEST,
            code: "invalid_request",
            why: why.into(),
        }
    }

    /// Refuses to revoke a token that may be valid, but cannot be revoked here (RFC 7009 §2.2.1). An answer
    /// of 200 would promise a revocation that no check enforces.
    pub fn unsupported_token_type(why: &str) -> Self {
        Self::Refused {
            status: StatusCode::BAD_REQUEST,
            code: "unsupported_token_type",
            why: why.to_owned(),
        }
    }

    /// Returns the metric label.
    pub fn result(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "refused",
            Self::Unavailable(_) => "failed",
            Self::UnknownKey => "unknown_key",
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "a request to the API failed");
        Self::Unavailable("the store could not be read or written; try again".to_owned())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self {
            Self::Refused { status, code, why } => error(status, code, &why),
            Self::Unavailable(why) => unavailable(&why),
            Self::UnknownKey => unknown_key(),
        }
    }
}
