//! `POST /v1/tokens/unrevoke`: takes a revocation back.

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::revocation::{KeyKind, RevocationKey};

use super::super::Api;
use super::super::answer::{Failure, counted};
use super::named::{self, IdKind, required, unwanted};
use super::{body, in_time};

/// `issuer` and `id`; or `issuer`, `sub` and `all`: as in the revocation.
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
    let done = async {
        let (result, answer) = api.unrevoke(body(request)?).await?;
        Ok((result, Json(answer)))
    };
    counted(done.await, |result| {
        api.metrics.unrevocation_request(result)
    })
}

impl Api {
    /// Returns the result for metrics, and the answer.
    async fn unrevoke(&self, request: Request) -> Result<(&'static str, Value), Failure> {
        let issuer = required(request.issuer, "`issuer`")?;
        self.leeway_of(&issuer)?;
        let key = if request.all {
            unwanted(request.id.as_ref(), "id", "`all`")?;
            unwanted(request.id_kind.as_ref(), "id_kind", "`all`")?;
            RevocationKey::new(KeyKind::Subject, &issuer, &required(request.sub, "`sub`")?)
        } else {
            // `sub` is accepted next to a single token, as when revoking: it names the token's owner.
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
