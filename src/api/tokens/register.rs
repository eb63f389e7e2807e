//! `POST /v1/tokens`: registers a token at issue.

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;

use crate::jwt::TokenType;
use crate::revocation::TokenRecord;

use super::super::Api;
use super::super::answer::{Failure, counted};
use super::named::{self, IdKind, required, unwanted};
use super::{body, in_time, shown};

/// Either `token` alone, or its properties. Times are in seconds since the epoch.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Registration {
    token: Option<String>,
    issuer: Option<String>,
    #[serde(alias = "jti")]
    id: Option<String>,
    id_kind: Option<IdKind>,
    sub: Option<String>,
    sid: Option<String>,
    client: Option<String>,
    kid: Option<String>,
    r#type: Option<String>,
    issued_at: Option<f64>,
    expires_at: Option<f64>,
}

pub(in super::super) async fn handle(
    State(api): State<Api>,
    registration: Result<Json<Registration>, JsonRejection>,
) -> Response {
    let done = api.register(registration).await;
    let done = done.map(|answer| ("recorded", answer));
    counted(done, |result| api.metrics.registration_request(result))
}

impl Api {
    async fn register(
        &self,
        registration: Result<Json<Registration>, JsonRejection>,
    ) -> Result<Response, Failure> {
        let registry = self.registry()?;
        let record = self.record(body(registration)?).await?;
        if !record.is_live(self.clock.now()) {
            return Err(Failure::bad_request("the token has expired"));
        }
        in_time(registry.register(std::slice::from_ref(&record))).await?;
        tracing::info!(issuer = record.token.issuer(), "registered a token");
        Ok((StatusCode::CREATED, Json(shown::record(&record))).into_response())
    }

    async fn record(&self, said: Registration) -> Result<TokenRecord, Failure> {
        let now = self.clock.now();
        if let Some(token) = &said.token {
            let texts = [
                ("issuer", &said.issuer),
                ("id", &said.id),
                ("sub", &said.sub),
                ("sid", &said.sid),
                ("client", &said.client),
                ("kid", &said.kid),
                ("type", &said.r#type),
            ];
            for (name, value) in texts {
                unwanted(value.as_ref(), name, "`token`")?;
            }
            unwanted(said.id_kind.as_ref(), "id_kind", "`token`")?;
            unwanted(said.issued_at.as_ref(), "issued_at", "`token`")?;
            unwanted(said.expires_at.as_ref(), "expires_at", "`token`")?;
            let claims = self.claims(token).await?;
            return Ok(TokenRecord {
                registered: true,
                ..TokenRecord::of(&claims, now)
            });
        }
        let issuer = required(said.issuer, "`issuer`")?;
        let leeway = self.leeway_of(&issuer)?;
        let id = required(said.id, "`id`")?;
        let identifiers = [
            ("sub", &said.sub),
            ("sid", &said.sid),
            ("client", &said.client),
            ("kid", &said.kid),
        ];
        for (name, value) in identifiers {
            named::identifier(value.as_deref(), name)?;
        }
        let token_type = match &said.r#type {
            None => TokenType::Access,
            Some(name) => TokenType::from_name(name).ok_or_else(|| {
                Failure::bad_request("`type` is none of `access`, `refresh`, `other`")
            })?,
        };
        let issued_at = said.issued_at.map(|at| named::time(at, "issued_at"));
        let expires_at = named::time(required(said.expires_at, "`expires_at`")?, "expires_at")?;
        Ok(TokenRecord {
            token: named::token(&issuer, said.id_kind.unwrap_or_default(), &id)?,
            subject: said.sub,
            session: said.sid,
            client: said.client,
            kid: said.kid,
            token_type,
            issued_at: issued_at.transpose()?,
            expires_at: expires_at.plus(leeway),
            registered: true,
            noted_at: now,
        })
    }
}
