//! From a verdict to a `CheckResponse`: the only place that determines the HTTP status codes of checks.
//!
//! | decision | status | client sees |
//! |---|---|---|
//! | allow | `OK` | the application's answer |
//! | deny | `UNAUTHENTICATED`, 401, `WWW-Authenticate` | 401 |
//! | deny, because of path or method | `PERMISSION_DENIED`, 403 | 403 |
//! | error | `UNAVAILABLE`, 503, `Retry-After` | 503 |
//!
//! Envoy treats any status but `OK` as a denial, so a denial always names its HTTP status: without one,
//! clients see 403 whatever the reason. An error is a denial to Envoy, too, unless `error_response` is
//! enabled: Envoy then counts it as an error, and `failure_mode_allow` applies. Older versions of Envoy do
//! not know that field and answer 403.

use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_types::pb::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{DeniedHttpResponse, OkHttpResponse};
use envoy_types::pb::envoy::r#type::v3::HttpStatus;
use envoy_types::pb::google::rpc;
use prost::bytes::Bytes;
use serde_json::json;
use tonic::Code;

use crate::authz::{DenyReason, Forwarded, OnAllow, Outcome, Stripped, Verdict};
use crate::jwt::Rejection;

use super::wire::{CheckResponse, Field, Kind, Struct, Value};

/// How denials and errors are worded.
#[derive(Clone, Debug)]
pub struct Answers {
    /// `realm` of the `WWW-Authenticate` header (RFC 9110 §11.5).
    pub realm: String,
    /// The format of the JSON body.
    pub body: BodyFormat,
    /// Whether errors (as opposed to denials) are sent as `error_response`.
    pub error_response: bool,
}

/// The format of the JSON body of a denial.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BodyFormat {
    /// `{"error", "error_description", "reason"}` with the error codes of RFC 6750 §3.1.
    #[default]
    Oauth,
    /// `{"msg"}`, worded like flask-jwt-extended.
    FlaskJwtExtended,
}

const INSUFFICIENT_SCOPE: &str = "insufficient_scope";
/// How many seconds a client should wait before it retries after an error of ours.
const RETRY_AFTER: &str = "1";

impl Answers {
    /// Encodes the answer to Envoy. For a request that may pass, `changes` is what Envoy has to change in it.
    /// `claims` are names and values of claims for the metadata.
    pub(super) fn encode(
        &self,
        verdict: &Verdict<'_>,
        claims: &[(&str, &serde_json::Value)],
        changes: impl FnOnce() -> (Stripped, Forwarded),
    ) -> CheckResponse {
        let (code, http_response) = match verdict.outcome {
            Outcome::Allow(_) => (Code::Ok, HttpResponse::OkResponse(allowed(changes()))),
            Outcome::Deny(reason) => self.denied(verdict, reason),
            Outcome::Error(_) => self.error(verdict),
        };
        CheckResponse {
            status: Some(rpc::Status {
                code: code as i32,
                ..rpc::Status::default()
            }),
            dynamic_metadata: Some(metadata(verdict, claims)),
            http_response: Some(http_response),
        }
    }

    fn denied(&self, verdict: &Verdict<'_>, reason: DenyReason) -> (Code, HttpResponse) {
        let claim = verdict.claim.as_deref().filter(|claim| is_quotable(claim));
        let description = described(reason, claim);
        let (code, status, error) = match reason {
            // RFC 6750 §3.1: for a request without credentials, no error code is returned.
            DenyReason::NoToken => (Code::Unauthenticated, 401, None),
            DenyReason::AmbiguousToken => (Code::Unauthenticated, 401, Some("invalid_request")),
            DenyReason::Rejected(_)
            | DenyReason::WrongTokenType
            | DenyReason::IssuerNotAccepted
            | DenyReason::AudienceNotAccepted
            | DenyReason::Revoked
            | DenyReason::Unidentified => (Code::Unauthenticated, 401, Some("invalid_token")),
            // RFC 9470 §3.
            DenyReason::NotFresh
            | DenyReason::InsufficientAcr
            | DenyReason::AuthenticationTooOld => (
                Code::Unauthenticated,
                401,
                Some("insufficient_user_authentication"),
            ),
            // RFC 6750 §3.1: "The request requires higher privileges than provided by the access token."
            DenyReason::InsufficientScope | DenyReason::InsufficientClaims => {
                (Code::PermissionDenied, 403, Some(INSUFFICIENT_SCOPE))
            }
            DenyReason::AmbiguousPath | DenyReason::AmbiguousMethod => {
                (Code::PermissionDenied, 403, Some("invalid_request"))
            }
        };
        let mut headers = Vec::with_capacity(2);
        // RFC 6750 §3 demands a challenge wherever a token does not suffice.
        if status == 401 || error == Some(INSUFFICIENT_SCOPE) {
            let challenge = self.challenge(error, &description) + &wanted(verdict, reason);
            headers.push(header("www-authenticate", challenge));
        }
        headers.push(header("content-type", "application/json".to_owned()));
        let body = match self.body {
            BodyFormat::Oauth => json!({
                "error": error.unwrap_or("unauthorized"),
                "error_description": description,
                "reason": verdict.outcome.reason(),
            }),
            BodyFormat::FlaskJwtExtended => json!({ "msg": flask_message(reason, claim) }),
        };
        (
            code,
            HttpResponse::DeniedResponse(response(status, headers, &body)),
        )
    }

    fn error(&self, verdict: &Verdict<'_>) -> (Code, HttpResponse) {
        let outcome = verdict.outcome;
        let headers = vec![
            header("retry-after", RETRY_AFTER.to_owned()),
            header("content-type", "application/json".to_owned()),
        ];
        let description = "authorization is temporarily unavailable";
        let body = match self.body {
            BodyFormat::Oauth => json!({
                "error": "temporarily_unavailable",
                "error_description": description,
                "reason": outcome.reason(),
            }),
            BodyFormat::FlaskJwtExtended => json!({ "msg": description }),
        };
        let response = response(503, headers, &body);
        // A logout that was not recorded must not pass, whatever `failure_mode_allow` says.
        let acts = verdict.policy.is_some_and(|p| p.on_allow != OnAllow::None);
        if self.error_response && !acts {
            (Code::Unavailable, HttpResponse::ErrorResponse(response))
        } else {
            (Code::Unavailable, HttpResponse::DeniedResponse(response))
        }
    }

    /// Returns the `WWW-Authenticate` header (RFC 6750 §3). No value contains a quote or a backslash.
    fn challenge(&self, error: Option<&str>, description: &str) -> String {
        let realm = &self.realm;
        match error {
            None => format!("Bearer realm=\"{realm}\""),
            Some(error) => format!(
                "Bearer realm=\"{realm}\", error=\"{error}\", error_description=\"{description}\""
            ),
        }
    }
}

/// Returns the parameters of a challenge that say what would suffice: the scopes (RFC 6750 §3), or the authentication
/// (RFC 9470 §3). The configuration permits no quotes and backslashes in them.
fn wanted(verdict: &Verdict<'_>, reason: DenyReason) -> String {
    let Some(demands) = verdict.policy.map(|policy| &policy.demands) else {
        return String::new();
    };
    match reason {
        DenyReason::InsufficientScope => {
            let scopes: Vec<_> = demands.sufficient_scopes().collect();
            format!(", scope=\"{}\"", scopes.join(" "))
        }
        DenyReason::InsufficientAcr | DenyReason::AuthenticationTooOld => {
            let acr = match demands.acr.is_empty() {
                true => String::new(),
                false => format!(", acr_values=\"{}\"", demands.acr.join(" ")),
            };
            let max_age = demands.max_age.map(|age| age.as_secs());
            acr + &max_age.map_or(String::new(), |age| format!(", max_age=\"{age}\""))
        }
        _ => String::new(),
    }
}

/// Returns the message of flask-jwt-extended 4 for the same case.
fn flask_message(reason: DenyReason, claim: Option<&str>) -> String {
    match reason {
        DenyReason::NoToken => "Missing Authorization Header".to_owned(),
        DenyReason::Revoked => "Token has been revoked".to_owned(),
        DenyReason::Rejected(Rejection::Expired) => "Token has expired".to_owned(),
        DenyReason::WrongTokenType => "Only tokens of another type are allowed".to_owned(),
        DenyReason::NotFresh => "Fresh token required".to_owned(),
        DenyReason::Rejected(_)
        | DenyReason::AmbiguousToken
        | DenyReason::IssuerNotAccepted
        | DenyReason::AudienceNotAccepted
        | DenyReason::InsufficientScope
        | DenyReason::InsufficientClaims
        | DenyReason::InsufficientAcr
        | DenyReason::AuthenticationTooOld
        | DenyReason::Unidentified
        | DenyReason::AmbiguousPath
        | DenyReason::AmbiguousMethod => described(reason, claim),
    }
}

/// Describes what is wrong, and names the claim at fault.
fn described(reason: DenyReason, claim: Option<&str>) -> String {
    match claim {
        None => reason.description(),
        Some(claim) => format!("{}: {claim}", reason.description()),
    }
}

/// Returns whether the name of a claim, which may come from the configuration, is permitted in an
/// `error_description` (RFC 6750 §3).
fn is_quotable(claim: &str) -> bool {
    let may_stand = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
    claim.bytes().all(may_stand)
}

fn allowed((strip, forwarded): (Stripped, Forwarded)) -> OkHttpResponse {
    let is_set = |name: &String| forwarded.set.iter().any(|(set, _)| set == name);
    let mut headers_to_remove = strip.headers;
    // Envoy removes last.
    headers_to_remove.retain(|name| !is_set(name));
    headers_to_remove.extend(forwarded.remove);
    let mut response = OkHttpResponse {
        headers_to_remove,
        query_parameters_to_remove: strip.query,
        ..OkHttpResponse::default()
    };
    match strip.cookie {
        None => {}
        Some(rest) if rest.is_empty() => response.headers_to_remove.push("cookie".to_owned()),
        Some(rest) => response.headers.push(overwriting("cookie", rest)),
    }
    let set = forwarded.set.into_iter();
    let set = set.map(|(name, value)| overwriting(&name, value));
    response.headers.extend(set);
    response
}

fn response(
    status: i32,
    headers: Vec<HeaderValueOption>,
    body: &serde_json::Value,
) -> DeniedHttpResponse {
    DeniedHttpResponse {
        status: Some(HttpStatus { code: status }),
        headers,
        body: body.to_string(),
    }
}

fn overwriting(key: &str, value: String) -> HeaderValueOption {
    HeaderValueOption {
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd as i32,
        ..header(key, value)
    }
}

fn header(key: &str, value: String) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue {
            key: key.to_owned(),
            value,
            ..HeaderValue::default()
        }),
        ..HeaderValueOption::default()
    }
}

/// Returns the metadata that Envoy's access log can show:
/// `%DYNAMIC_METADATA(envoy.filters.http.ext_authz:reason)%`.
///
/// `claims` are names and values of claims to add.
fn metadata(verdict: &Verdict<'_>, claims: &[(&str, &serde_json::Value)]) -> Struct {
    let field = |name: &'static str, text: Bytes| Field {
        key: Bytes::from_static(name.as_bytes()),
        value: Some(Value::text(text)),
    };
    let constant = |text: &'static str| Bytes::from_static(text.as_bytes());
    let mut fields = Vec::with_capacity(6);
    fields.push(field("decision", constant(verdict.outcome.decision())));
    fields.push(field("reason", constant(verdict.outcome.reason())));
    if let Some(policy) = verdict.policy {
        let name = Bytes::copy_from_slice(policy.name.as_bytes());
        fields.push(field("policy", name));
    }
    if let Some(issuer) = &verdict.issuer {
        fields.push(field("issuer", Bytes::copy_from_slice(issuer.as_bytes())));
    }
    if let Some(claim) = &verdict.claim {
        fields.push(field("claim", Bytes::copy_from_slice(claim.as_bytes())));
    }
    if !claims.is_empty() {
        let claim = |(name, value): &(&str, &serde_json::Value)| Field {
            key: Bytes::copy_from_slice(name.as_bytes()),
            value: Some(Value::of(value)),
        };
        let claims = Struct {
            fields: claims.iter().map(claim).collect(),
        };
        fields.push(Field {
            key: Bytes::from_static(b"claims"),
            value: Some(Value {
                kind: Some(Kind::Struct(claims)),
            }),
        });
    }
    Struct { fields }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_stripped_is_taken_out_of_the_request_that_goes_on() {
        let strip = |cookie: Option<&str>| Stripped {
            headers: vec!["authorization".to_owned()],
            query: vec!["access_token".to_owned()],
            cookie: cookie.map(str::to_owned),
        };
        let allowed = |strip| allowed((strip, Forwarded::default()));
        let response = allowed(strip(Some("a=1")));
        assert_eq!(response.headers_to_remove, ["authorization"]);
        assert_eq!(response.query_parameters_to_remove, ["access_token"]);
        let cookie = &response.headers[0];
        let overwrite = HeaderAppendAction::OverwriteIfExistsOrAdd as i32;
        assert_eq!(cookie.append_action, overwrite);
        assert_eq!(cookie.header.as_ref().unwrap().value, "a=1");
        assert_eq!(
            allowed(strip(Some(""))).headers_to_remove,
            ["authorization", "cookie"]
        );
        assert!(allowed(Stripped::default()).headers.is_empty());
    }
}
