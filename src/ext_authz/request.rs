//! From a `CheckRequest` to the input of the decision, without copying.

use std::borrow::Cow;

use crate::authz::{AuthzRequest, RequestHeaders};

use super::wire::{CheckRequest, HttpRequest, Metadata};

/// The key in Envoy's `context_extensions` under which a route names its policy.
const POLICY: &[u8] = b"policy";
const REQUEST_ID: &str = "x-request-id";
/// The maximum length. A UUID has 36 characters; a much longer id comes from a client, not from a proxy.
const MAX_REQUEST_ID: usize = 128;

/// The HTTP request that Envoy wants to have checked.
pub(super) struct EnvoyRequest<'r> {
    policy: Option<Cow<'r, str>>,
    method: Cow<'r, str>,
    host: Cow<'r, str>,
    path: Cow<'r, str>,
    http: &'r HttpRequest,
    metadata: Option<&'r Metadata>,
}

impl<'r> EnvoyRequest<'r> {
    /// Reads the request; `None` if the message describes no HTTP request (the network filter sends none).
    pub fn read(message: &'r CheckRequest) -> Option<Self> {
        let attributes = message.attributes.as_ref()?;
        let http = attributes.request.as_ref()?.http.as_ref()?;
        let mut extensions = attributes.context_extensions.iter();
        let policy = extensions.rfind(|e| e.key == POLICY);
        Some(Self {
            policy: policy.map(|e| text(&e.value)),
            method: text(&http.method),
            host: text(&http.host),
            path: text(&http.path),
            http,
            metadata: attributes.metadata_context.as_ref(),
        })
    }

    pub fn as_authz(&self) -> AuthzRequest<'_> {
        AuthzRequest {
            policy: self.policy.as_deref(),
            method: &self.method,
            host: &self.host,
            path: &self.path,
            headers: self,
            proxy: Some(self),
        }
    }

    /// Returns what preceding filters have passed on.
    pub fn metadata(&self) -> Option<&Metadata> {
        self.metadata
    }

    /// Returns the request's id, for the log: `x-request-id` if the proxy forwards it, else Envoy's own
    /// number.
    pub fn id(&self) -> &str {
        let mut id = None;
        self.visit(REQUEST_ID, &mut |value| id = str::from_utf8(value).ok());
        id.filter(|id| id.len() <= MAX_REQUEST_ID)
            .or_else(|| str::from_utf8(&self.http.id).ok())
            .unwrap_or_default()
    }
}

/// Replaces invalid UTF-8 by U+FFFD, which occurs in no policy, route or token, so it matches nothing.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

impl RequestHeaders for EnvoyRequest<'_> {
    /// Envoy fills `headers`; with `encode_raw_headers`, it fills only `header_map`, and there only
    /// `raw_value`. An older proxy may fill `value`. All are read: a token must not be overlooked because it
    /// came in another field.
    fn visit<'h>(&'h self, name: &str, visit: &mut dyn FnMut(&'h [u8])) {
        let named = |key: &[u8]| key == name.as_bytes();
        for header in self.http.headers.iter().filter(|h| named(&h.key)) {
            visit(&header.value);
        }
        let Some(map) = &self.http.header_map else {
            return;
        };
        for header in map
            .headers
            .iter()
            .filter(|h| h.key.eq_ignore_ascii_case(name.as_bytes()))
        {
            if header.raw_value.is_empty() {
                visit(&header.value);
            } else {
                visit(&header.raw_value);
            }
        }
    }
}
