//! The same checks over plain HTTP, for proxies that do not speak Envoy's protocol: nginx (`auth_request`), Traefik
//! (`ForwardAuth`), Caddy (`forward_auth`), and Envoy's own HTTP mode.
//!
//! The proxy describes the request, in headers or by sending it on. The answer is 200 with the headers to set in the
//! request, or the status, headers and body for the client. The description becomes the message that Envoy would send,
//! so decisions, log, metrics and answers are those of the gRPC service.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use envoy_types::pb::envoy::config::core::v3::HeaderValueOption;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use prost::bytes::Bytes;
use tonic::codegen::http::StatusCode;
use tonic::codegen::http::header::{HOST, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use tonic::codegen::http::request::Parts;

use crate::authz::normal_path;

use super::service::ExtAuthz;
use super::wire::{
    Attributes, CheckRequest, CheckResponse, Extension, Header, HeaderMap as WireHeaders,
    HttpRequest, Kind, Request as WireRequest,
};

/// The path of a check under the default policy or the routes; below it, each policy has a path.
const CHECK: &str = "/check";
/// Why the request may or may not pass, for the log of the proxy.
const REASON: HeaderName = HeaderName::from_static("x-revoxy-reason");

/// Where the proxy describes the request to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DescribedBy {
    /// `X-Original-Method`, `X-Original-Host` and `X-Original-URI`, as nginx can be configured to send.
    XOriginal,
    /// `X-Forwarded-Method`, `X-Forwarded-Host` and `X-Forwarded-Uri`, as Traefik and Caddy send.
    XForwarded,
    /// The request itself: Envoy's HTTP mode sends it on, without its body.
    Itself,
}

/// A request as its proxy describes it.
struct Described<'r> {
    method: &'r [u8],
    host: &'r [u8],
    path: &'r [u8],
}

/// The headers that Envoy's HTTP mode is to remove from the request.
const TO_REMOVE: HeaderName = HeaderName::from_static("x-envoy-auth-headers-to-remove");

#[derive(Clone)]
struct Front {
    service: Arc<ExtAuthz>,
    described_by: DescribedBy,
}

/// Returns the routes of the HTTP check.
pub fn router(service: Arc<ExtAuthz>, described_by: DescribedBy) -> Router {
    Router::new().fallback(check).with_state(Front {
        service,
        described_by,
    })
}

async fn check(State(front): State<Front>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let by = front.described_by;
    let described = described(&parts, by);
    // Such a proxy chooses its route by one reading of the path, and sends the application another. So the path has to
    // be in normal form even where no route of ours looks at it.
    if let Some(Described { path, .. }) = &described
        && normal_path(&String::from_utf8_lossy(path)).is_none()
    {
        return response(front.service.ambiguous_path());
    }
    let (described, policy) = match (by, policy(parts.uri.path())) {
        (DescribedBy::Itself, _) => (described, None),
        (_, Some(policy)) => (described, policy),
        // None of our paths: the proxy is not configured as it should be.
        (_, None) => (None, None),
    };
    let message = message(&parts, described, policy);
    match front.service.check(&message).await {
        Ok(answer) => response(answer),
        Err(_) => unavailable(),
    }
}

/// Returns the policy that the path names, if it names one; `None` for a path that is none of ours.
fn policy(path: &str) -> Option<Option<&str>> {
    match path.strip_prefix(CHECK)? {
        "" => Some(None),
        rest => {
            let name = rest.strip_prefix('/')?;
            (!name.is_empty()).then_some(Some(name))
        }
    }
}

/// Makes the message that Envoy would send. A request that is not described has no HTTP attributes: `bad_check_request`.
fn message(parts: &Parts, described: Option<Described<'_>>, policy: Option<&str>) -> CheckRequest {
    let bytes = Bytes::copy_from_slice;
    let http = described.map(|described| HttpRequest {
        id: Bytes::new(),
        method: bytes(described.method),
        headers: Vec::new(),
        path: bytes(described.path),
        host: bytes(described.host),
        header_map: Some(WireHeaders {
            headers: parts
                .headers
                .iter()
                .map(|(name, value)| Header {
                    key: bytes(name.as_str().as_bytes()),
                    value: Bytes::new(),
                    raw_value: bytes(value.as_bytes()),
                })
                .collect(),
        }),
    });
    let policy = policy.map(|name| Extension {
        key: Bytes::from_static(b"policy"),
        value: bytes(name.as_bytes()),
    });
    CheckRequest {
        attributes: Some(Attributes {
            request: Some(WireRequest { http }),
            context_extensions: policy.into_iter().collect(),
            metadata_context: None,
        }),
    }
}

/// Finds the description. Each part must be there once: a client may have added its own.
fn described(parts: &Parts, by: DescribedBy) -> Option<Described<'_>> {
    let [method, host, path] = match by {
        DescribedBy::Itself => {
            let path = parts.uri.path_and_query()?.as_str().as_bytes();
            let method = parts.method.as_str().as_bytes();
            let host = only(&parts.headers, &HOST)?;
            return Some(Described { method, host, path });
        }
        DescribedBy::XOriginal => ["x-original-method", "x-original-host", "x-original-uri"],
        DescribedBy::XForwarded => ["x-forwarded-method", "x-forwarded-host", "x-forwarded-uri"],
    };
    let part = |name| only(&parts.headers, &HeaderName::from_static(name));
    let (method, host) = (part(method)?, part(host)?);
    // A proxy behind another one may have appended to what was there.
    let is_one = |text: &[u8]| !text.is_empty() && !text.contains(&b',');
    (is_one(method) && is_one(host)).then_some(Described {
        method,
        host,
        path: part(path)?,
    })
}

fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h [u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then(|| value.as_bytes())
}

fn response(answer: CheckResponse) -> Response {
    let fields = answer.dynamic_metadata.unwrap_or_default().fields;
    let reason = fields.into_iter().find(|field| field.key == "reason");
    let reason = reason.and_then(|field| match field.value?.kind? {
        Kind::Text(text) => HeaderValue::from_maybe_shared(text).ok(),
        _ => None,
    });
    let mut response = match answer.http_response {
        Some(HttpResponse::OkResponse(ok)) => {
            let mut response = status(StatusCode::OK);
            if let Ok(names) = HeaderValue::from_str(&ok.headers_to_remove.join(","))
                && !names.is_empty()
            {
                response.headers_mut().insert(TO_REMOVE, names);
            }
            set(response.headers_mut(), ok.headers);
            response
        }
        Some(HttpResponse::DeniedResponse(denied) | HttpResponse::ErrorResponse(denied)) => {
            let code = denied.status.and_then(|s| u16::try_from(s.code).ok());
            let code = code.and_then(|code| StatusCode::from_u16(code).ok());
            let mut response = Response::new(Body::from(denied.body));
            *response.status_mut() = code.unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
            set(response.headers_mut(), denied.headers);
            response
        }
        None => unavailable(),
    };
    if let Some(reason) = reason {
        response.headers_mut().insert(REASON, reason);
    }
    response
}

fn set(headers: &mut HeaderMap, options: Vec<HeaderValueOption>) {
    for header in options.into_iter().filter_map(|option| option.header) {
        let name = HeaderName::from_bytes(header.key.as_bytes());
        if let (Ok(name), Ok(value)) = (
            name,
            HeaderValue::from_maybe_shared(Bytes::from(header.value)),
        ) {
            headers.insert(name, value);
        }
    }
}

fn status(code: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = code;
    response
}

/// The answer where Envoy would be left to decide: this front has nobody to leave it to.
fn unavailable() -> Response {
    let mut response = status(StatusCode::SERVICE_UNAVAILABLE);
    let soon = HeaderValue::from_static("1");
    response.headers_mut().insert(RETRY_AFTER, soon);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_names_the_policy() {
        for (path, expected) in [
            ("/check", Some(None)),
            ("/check/admin", Some(Some("admin"))),
            ("/check/", None),
            ("/checks", None),
            ("/", None),
        ] {
            assert_eq!(policy(path), expected, "{path}");
        }
    }
}
