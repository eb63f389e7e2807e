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

/// It could not be done, and may be tried again.
pub(super) fn unavailable(description: &str) -> Response {
    let answer = error(
        StatusCode::SERVICE_UNAVAILABLE,
        "temporarily_unavailable",
        description,
    );
    ([(header::RETRY_AFTER, "1")], answer).into_response()
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
    /// The store or the keys are not there. The token may be accepted, or refused, as before.
    Unavailable(String),
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
        }
    }
}
