//! `/v1/tokens`: individual tokens.

mod list;
mod named;
mod register;
mod revoke;
mod revoke_all;
mod shown;
mod unrevoke;

use axum::Json;
use axum::extract::rejection::JsonRejection;

use crate::revocation::{StoreError, TokenRegistry};

use super::answer::Failure;
use super::{Api, STORE_DEADLINE};

pub(super) use list::handle as list;
pub(super) use register::handle as register;
pub(super) use revoke::handle as revoke;
pub(super) use unrevoke::handle as unrevoke;

/// Returns the body, or what is wrong with it.
fn body<T>(body: Result<Json<T>, JsonRejection>) -> Result<T, Failure> {
    match body {
        Ok(Json(body)) => Ok(body),
        Err(rejection) => Err(Failure::Refused {
            status: rejection.status(),
            code: "invalid_request",
            why: rejection.body_text(),
        }),
    }
}

/// Returns the answer of the store, if it arrives within the timeout.
async fn in_time<T>(call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let answer = tokio::time::timeout(STORE_DEADLINE, call).await;
    answer.unwrap_or(Err(StoreError::Timeout))
}

impl Api {
    fn registry(&self) -> Result<&dyn TokenRegistry, Failure> {
        self.store.registry().ok_or_else(|| Failure::Refused {
            status: axum::http::StatusCode::NOT_IMPLEMENTED,
            code: "not_supported",
            why: "this store keeps no records of tokens".to_owned(),
        })
    }
}
