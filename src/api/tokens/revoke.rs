//! `POST /v1/tokens/revoke`: revokes one token, or all tokens of a subject.

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::revocation::{CLOCK_MARGIN, Cutoff, Durability, Revocation, RevocationKey, TokenRecord};

use super::super::Api;
use super::super::answer::{Failure, UNCHECKED_TYPE, counted, durability};
use super::named::{self, IdKind, required, unwanted};
use super::{body, in_time};

/// The actor in the store's record if the request does not name one.
const ACTOR: &str = "admin";

/// `token`; or `issuer` and `id`; or `issuer`, `sub` and `all`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Request {
    pub(super) token: Option<String>,
    pub(super) issuer: Option<String>,
    #[serde(alias = "jti")]
    pub(super) id: Option<String>,
    pub(super) id_kind: Option<IdKind>,
    pub(super) sub: Option<String>,
    #[serde(default)]
    pub(super) all: bool,
    pub(super) except: Option<Vec<String>>,
    /// Seconds since the epoch.
    pub(super) expires_at: Option<f64>,
    pub(super) reason: Option<String>,
    pub(super) actor: Option<String>,
}

/// The parts of a revocation that do not depend on the token.
pub(super) struct Statement {
    pub(super) reason: Option<String>,
    pub(super) actor: String,
    pub(super) revoked_at: Timestamp,
}

impl Statement {
    pub(super) fn revocation(
        &self,
        key: RevocationKey,
        cutoff: Cutoff,
        expires_at: Timestamp,
    ) -> Revocation {
        Revocation {
            key,
            cutoff,
            expires_at,
            reason: self.reason.clone(),
            actor: Some(self.actor.clone()),
            revoked_at: self.revoked_at,
        }
    }

    /// Makes the revocation of a token that is on record.
    pub(super) fn of(&self, record: &TokenRecord) -> Revocation {
        let expires_at = record.expires_at.plus(CLOCK_MARGIN);
        self.revocation(record.token.clone(), Cutoff::All, expires_at)
    }
}

pub(in super::super) async fn handle(
    State(api): State<Api>,
    request: Result<Json<Request>, JsonRejection>,
) -> Response {
    let done = async {
        let (result, answer) = api.revoke_named(body(request)?).await?;
        Ok((result, Json(answer)))
    };
    counted(done.await, |result| api.metrics.revocation_request(result))
}

impl Api {
    /// Returns the result for metrics, and the answer.
    async fn revoke_named(&self, mut request: Request) -> Result<(&'static str, Value), Failure> {
        let statement = Statement {
            reason: named::note(request.reason.take(), "reason")?,
            actor: named::note(request.actor.take(), "actor")?.unwrap_or_else(|| ACTOR.to_owned()),
            revoked_at: self.clock.now(),
        };
        if request.all {
            return self.revoke_all(request, &statement).await;
        }
        unwanted(
            request.except.as_ref(),
            "except",
            "a single token: say `all`",
        )?;
        let (key, expires_at) = match &request.token {
            Some(token) => {
                unwanted(request.issuer.as_ref(), "issuer", "`token`")?;
                unwanted(request.id.as_ref(), "id", "`token`")?;
                unwanted(request.id_kind.as_ref(), "id_kind", "`token`")?;
                unwanted(request.sub.as_ref(), "sub", "`token`")?;
                unwanted(request.expires_at.as_ref(), "expires_at", "`token`")?;
                let claims = self.claims(token).await?;
                if !self.types.includes(claims.token_type()) {
                    return Err(Failure::unsupported_token_type(UNCHECKED_TYPE));
                }
                (RevocationKey::of_token(&claims), claims.dies_at())
            }
            None => self.named_for_revocation(&request).await?,
        };
        // The clock of another replica may be behind.
        let expires_at = expires_at.plus(CLOCK_MARGIN);
        if expires_at <= self.clock.now() {
            return Ok(("ignored", self.answer(0, Durability::default())));
        }
        let revocation = statement.revocation(key, Cutoff::All, expires_at);
        let reached = in_time(self.store.revoke(&revocation)).await?;
        let (kind, issuer) = (revocation.key.kind().as_str(), revocation.key.issuer());
        tracing::info!(kind, issuer, "revoked");
        Ok(("recorded", self.answer(1, reached)))
    }

    /// Returns the key of the token with this id, and when the token ends according to its record or the
    /// request.
    async fn named_for_revocation(
        &self,
        request: &Request,
    ) -> Result<(RevocationKey, Timestamp), Failure> {
        let issuer = required(request.issuer.as_deref(), "`issuer` (or `token`)")?;
        let leeway = self.leeway_of(issuer)?;
        let id = required(request.id.as_deref(), "`id` (or `all` with `sub`)")?;
        let key = named::token(issuer, request.id_kind.unwrap_or_default(), id)?;
        let said = request.expires_at.map(|at| named::time(at, "expires_at"));
        let said = said.transpose()?.map(|at| at.plus(leeway));
        let subject = request.sub.as_deref();
        let record = match self.store.registry() {
            Some(registry) => in_time(registry.find(&key, subject)).await?,
            None => None,
        };
        match (record, subject, said) {
            // The later of the two: the revocation must not end while the token lives.
            (Some(record), _, said) => Ok((key, said.unwrap_or(record.expires_at).max(record.expires_at))),
            // The subject is part of the request: an application may pass on an id that its user has chosen.
            (None, Some(_), _) => Err(Failure::Refused {
                status: StatusCode::NOT_FOUND,
                code: "unknown_token",
                why: "no such token of this `sub` is on record; without `sub`, and with `expires_at`, any can be revoked"
                    .to_owned(),
            }),
            (None, None, Some(said)) => Ok((key, said)),
            (None, None, None) => Err(Failure::bad_request(
                "`expires_at` is missing: no such token is on record, so nothing tells how long the revocation has to \
                 stand; say the token's `exp`, or a time that is surely later. A token that was only seen is found with \
                 its `sub`",
            )),
        }
    }

    /// Makes the answer: how many tokens were revoked, within how many seconds every replica refuses them,
    /// and how durable the revocations are, if the store is configured to confirm that.
    pub(super) fn answer(&self, revoked: u64, reached: Durability) -> Value {
        let mut answer =
            json!({ "revoked": revoked, "enforced_within": self.enforced_within.as_secs_f64() });
        durability(&mut answer, reached);
        answer
    }
}
