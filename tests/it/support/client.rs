//! A client of the check service that sends what Envoy would send.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::core::v3::{HeaderMap, HeaderValue};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Request};
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest, CheckResponse};
use envoy_types::pb::google::protobuf::value::Kind;
use prost::Message as _;
use prost::bytes::{Buf as _, BufMut as _, Bytes};
use serde_json::Value;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

pub const SERVICE: &str = "envoy.service.auth.v3.Authorization";

/// A connection to the check service.
#[derive(Clone)]
pub struct Checks(Channel);

impl Checks {
    pub async fn connect(address: &str) -> Self {
        let uri = if address.starts_with("unix:") {
            address.to_owned()
        } else {
            format!("http://{address}")
        };
        let endpoint = Endpoint::from_shared(uri).unwrap();
        Self(endpoint.connect().await.unwrap())
    }

    pub async fn ask(&self, ask: impl Into<CheckRequest>) -> Answer {
        self.try_ask(ask).await.unwrap()
    }

    /// Like [`Checks::ask`], but the call itself may fail: then returns its code.
    pub async fn try_ask(&self, ask: impl Into<CheckRequest>) -> Result<Answer, tonic::Code> {
        let mut client = AuthorizationClient::new(self.0.clone());
        let answer = client.check(ask.into()).await;
        answer
            .map(|a| Answer::read(a.into_inner()))
            .map_err(|e| e.code())
    }

    /// Sends a message as it is, which need not be a `CheckRequest`.
    pub async fn raw(&self, message: &[u8]) -> Answer {
        let mut grpc = tonic::client::Grpc::new(self.0.clone());
        grpc.ready().await.unwrap();
        let path = PathAndQuery::from_static("/envoy.service.auth.v3.Authorization/Check");
        let request = tonic::Request::new(Bytes::copy_from_slice(message));
        let answer = grpc.unary(request, path, RawCodec).await.unwrap();
        Answer::read(answer.into_inner())
    }

    /// Like [`Checks::bearer`], but the server may be down.
    pub async fn try_bearer(&self, token: &str) -> Option<Answer> {
        self.try_ask(Ask::bearer(token)).await.ok()
    }

    /// Checks a request with this token, with the default policy.
    pub async fn bearer(&self, token: &str) -> Answer {
        self.ask(Ask::bearer(token)).await
    }

    /// Returns the health service's status of `service`; the error's code if there is no such service.
    pub async fn health(&self, service: &str) -> Result<ServingStatus, tonic::Code> {
        let mut client = HealthClient::new(self.0.clone());
        let service = service.to_owned();
        let answer = client.check(HealthCheckRequest { service }).await;
        answer
            .map(|a| a.into_inner().status())
            .map_err(|e| e.code())
    }
}

/// A request that Envoy would have checked.
#[derive(Clone, Default)]
pub struct Ask {
    policy: Option<String>,
    http: HttpRequest,
}

impl Ask {
    pub fn new() -> Self {
        let ask = Self::default();
        ask.to("GET", "shop.example", "/protected")
    }

    pub fn bearer(token: &str) -> Self {
        Self::new().header("authorization", &format!("Bearer {token}"))
    }

    pub fn to(mut self, method: &str, host: &str, path: &str) -> Self {
        self.http.method = method.to_owned();
        self.http.host = host.to_owned();
        self.http.path = path.to_owned();
        self
    }

    /// The message, with bytes in these fields that need not be UTF-8.
    pub fn with_bytes(self, method: &[u8], host: &[u8], path: &[u8]) -> Vec<u8> {
        let marked = self.to("METHOD", "HOST-OF-IT", "/PATH-OF-IT");
        let mut message = CheckRequest::from(marked).encode_to_vec();
        // Of the same lengths, so that the length prefixes around them remain correct.
        for (mark, bytes) in [
            (&b"METHOD"[..], method),
            (b"HOST-OF-IT", host),
            (b"/PATH-OF-IT", path),
        ] {
            let at = message.windows(mark.len()).position(|w| w == mark);
            let at = at.unwrap();
            let mut padded = bytes.to_vec();
            padded.resize(mark.len(), b'x');
            message[at..at + mark.len()].copy_from_slice(&padded);
        }
        message
    }

    pub fn policy(mut self, name: &str) -> Self {
        self.policy = Some(name.to_owned());
        self
    }

    /// Adds a header as Envoy sends it by default.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.http.headers.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Adds a header as Envoy sends it with `encode_raw_headers`.
    pub fn raw_header(mut self, name: &str, value: &[u8]) -> Self {
        let map = self.http.header_map.get_or_insert_with(HeaderMap::default);
        map.headers.push(HeaderValue {
            key: name.to_owned(),
            raw_value: value.to_vec(),
            ..HeaderValue::default()
        });
        self
    }
}

impl From<Ask> for CheckRequest {
    fn from(ask: Ask) -> Self {
        let policy = ask.policy.map(|name| ("policy".to_owned(), name));
        Self {
            attributes: Some(AttributeContext {
                request: Some(Request {
                    http: Some(ask.http),
                    ..Request::default()
                }),
                context_extensions: policy.into_iter().collect(),
                ..AttributeContext::default()
            }),
        }
    }
}

/// The parts of an answer that matter to tests.
#[derive(Debug, PartialEq)]
pub struct Answer {
    pub code: i32,
    /// `ok`, `denied` or `error`.
    pub kind: &'static str,
    /// The HTTP status of a denial.
    pub status: i32,
    pub headers: BTreeMap<String, String>,
    pub body: Value,
    pub metadata: BTreeMap<String, String>,
    /// The claims in the metadata; null if there are none.
    pub claims: Value,
}

impl Answer {
    fn read(response: CheckResponse) -> Self {
        let (kind, denied) = match response.http_response.unwrap() {
            HttpResponse::OkResponse(_) => ("ok", None),
            HttpResponse::DeniedResponse(r) => ("denied", Some(r)),
            HttpResponse::ErrorResponse(r) => ("error", Some(r)),
        };
        let text = |kind| match kind {
            Some(Kind::StringValue(text)) => text,
            other => panic!("not a text: {other:?}"),
        };
        let mut fields = response.dynamic_metadata.unwrap_or_default().fields;
        let claims = fields.remove("claims");
        let denied = denied.unwrap_or_default();
        let headers = denied.headers.into_iter().filter_map(|h| h.header);
        Self {
            code: response.status.unwrap().code,
            kind,
            status: denied.status.map_or(0, |s| s.code),
            headers: headers.map(|h| (h.key, h.value)).collect(),
            body: serde_json::from_str(&denied.body).unwrap_or_default(),
            metadata: fields.into_iter().map(|(k, v)| (k, text(v.kind))).collect(),
            claims: claims.map_or(Value::Null, |claims| json(claims.kind.unwrap())),
        }
    }

    /// Whether the request may pass.
    pub fn allows(&self) -> bool {
        self.kind == "ok" && self.code == 0
    }

    /// The reason in the metadata, which every answer has.
    pub fn reason(&self) -> &str {
        &self.metadata["reason"]
    }

    /// The status and the reason.
    pub fn verdict(&self) -> (i32, &str) {
        (self.status, self.reason())
    }
}

/// The same value as JSON.
fn json(kind: Kind) -> Value {
    match kind {
        Kind::NullValue(_) => Value::Null,
        Kind::NumberValue(number) => number.into(),
        Kind::StringValue(text) => text.into(),
        Kind::BoolValue(value) => value.into(),
        Kind::ListValue(list) => list
            .values
            .into_iter()
            .map(|value| json(value.kind.unwrap()))
            .collect(),
        Kind::StructValue(members) => members
            .fields
            .into_iter()
            .map(|(name, value)| (name, json(value.kind.unwrap())))
            .collect(),
    }
}

/// Encodes raw bytes, decodes a `CheckResponse`.
struct RawCodec;

impl Codec for RawCodec {
    type Encode = Bytes;
    type Decode = CheckResponse;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for RawCodec {
    type Item = Bytes;
    type Error = tonic::Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Self::Error> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = CheckResponse;
    type Error = tonic::Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<CheckResponse>, Self::Error> {
        let message = from.copy_to_bytes(from.remaining());
        Ok(Some(CheckResponse::decode(message).unwrap()))
    }
}
