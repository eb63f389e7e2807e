//! `POST /v1/tokens/unrevoke`: takes a revocation back.

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::revocation::{KeyKind, RevocationKey};

use super::super::Api;
use super::super::answer::Failure;
use super::named::{self, IdKind, required, unwanted};
use super::{body, in_time};

/// `issuer` and `id`, or `issuer`, `sub` and `all`, as they were revoked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Request {
    issuer: Option<String>,
    #[serde(alias = "jti")]
    id: Option<String>,
    id_kind: Option<IdKind>,
    sub: Option<String>,
    #[serde(default)]
    all: bool,
}

pub(in super::super) async fn handle(
    State(api): State<Api>,
    request: Result<Json<Request>, JsonRejection>,
) -> Response {
    let done = async { api.unrevoke(body(request)?).await };
    match done.await {
        Ok((result, answer)) => {
            api.metrics.unrevocation_request(result);
            Json(answer).into_response()
        }
        Err(failure) => {
            api.metrics.unrevocation_request(failure.result());
            failure.into_response()
        }
    }
}

impl Api {
    /// What came of it, for metrics and for the caller.
    async fn unrevoke(&self, request: Request) -> Result<(&'static str, Value), Failure> {
        let issuer = required(request.issuer, "`issuer`")?;
        self.leeway_of(&issuer)?;
        let key = if request.all {
            unwanted(request.id.as_ref(), "id", "`all`")?;
            unwanted(request.id_kind.as_ref(), "id_kind", "`all`")?;
            RevocationKey::new(KeyKind::Subject, &issuer, &required(request.sub, "`sub`")?)
        } else {
            // `sub` is taken beside a single token, as it is where one is revoked: it says whose token it is.
            let id = required(request.id, "`id` (or `all` with `sub`)")?;
            named::token(&issuer, request.id_kind.unwrap_or_default(), &id)?
        };
        let unrevoked = in_time(self.store.unrevoke(&key)).await?;
        if unrevoked {
            tracing::info!(kind = key.kind().as_str(), issuer, "taken back");
        }
        let answer = json!({
            "unrevoked": unrevoked,
            "enforced_within": self.enforced_within.as_secs_f64(),
        });
        Ok((if unrevoked { "recorded" } else { "ignored" }, answer))
    }
}
