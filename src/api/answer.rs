//! Answers of the API that say what is wrong.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::revocation::{Durability, StoreError};

/// An error as RFC 6749 §5.2 words it.
pub(super) fn error(status: StatusCode, code: &str, description: &str) -> Response {
    let body = json!({ "error": code, "error_description": description });
    (status, Json(body)).into_response()
}

/// Seconds after which the store may be there again.
const STORE_RETRY: &str = "1";
/// Seconds after which a key may be known that is not known now: key files are read again so often.
const KEYS_RETRY: &str = "5";

/// It could not be done, and may be tried again.
pub(super) fn unavailable(description: &str) -> Response {
    try_again(description, STORE_RETRY)
}

/// The key is not known that the token was signed with.
pub(super) fn unknown_key() -> Response {
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

/// Adds to an answer how durable the writes are, where the store was told to wait for that.
pub(super) fn durability(answer: &mut Value, reached: Durability) {
    if let Some(replicas) = reached.replicas {
        answer["durable"] = json!({ "replicas": replicas, "flushed": reached.flushed });
    }
}

/// Why a request was not done.
#[derive(Debug)]
pub(super) enum Failure {
    /// The request is wrong.
    Refused {
        status: StatusCode,
        code: &'static str,
        why: String,
    },
    /// The store is not there. The token may be accepted, or refused, as before.
    Unavailable(String),
    /// The key is not known that the token was signed with. The token may be accepted, or refused, as before.
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

    /// The label of metrics.
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
        tracing::error!(%error, "a request to the API could not be done");
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
