//! The parts of Envoy's messages that we read and write, by field number.
//!
//! The generated types would work, but decoding everything that Envoy sends into them (a map with two strings
//! for each header) costs more than the whole decision. Fields that are not listed here are skipped, and
//! headers stay in the buffer that they arrived in. On the wire, `string` and `bytes` are the same. Whatever
//! a client may write is read as `bytes`: Envoy before 1.26.0, 1.25.3, 1.24.4, 1.23.6 and 1.22.9
//! (CVE-2023-27488) passes on invalid UTF-8, which is not a `string`.

use std::collections::HashMap;

use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::google::{protobuf, rpc};
use prost::bytes::Bytes;

/// `envoy.service.auth.v3.CheckRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct CheckRequest {
    #[prost(message, optional, tag = "1")]
    pub attributes: Option<Attributes>,
}

/// `envoy.service.auth.v3.AttributeContext`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Attributes {
    #[prost(message, optional, tag = "4")]
    pub request: Option<Request>,
    #[prost(message, repeated, tag = "10")]
    pub context_extensions: Vec<Extension>,
    #[prost(message, optional, tag = "11")]
    pub metadata_context: Option<Metadata>,
}

/// `envoy.config.core.v3.Metadata`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Metadata {
    #[prost(map = "string, message", tag = "1")]
    pub filter_metadata: HashMap<String, protobuf::Struct>,
}

/// An entry of a map from string to string.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Extension {
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

/// `envoy.service.auth.v3.AttributeContext.Request`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Request {
    #[prost(message, optional, tag = "2")]
    pub http: Option<HttpRequest>,
}

/// `envoy.service.auth.v3.AttributeContext.HttpRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HttpRequest {
    #[prost(bytes = "bytes", tag = "1")]
    pub id: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub method: Bytes,
    #[prost(message, repeated, tag = "3")]
    pub headers: Vec<Header>,
    #[prost(bytes = "bytes", tag = "4")]
    pub path: Bytes,
    #[prost(bytes = "bytes", tag = "5")]
    pub host: Bytes,
    #[prost(message, optional, tag = "13")]
    pub header_map: Option<HeaderMap>,
}

/// `envoy.config.core.v3.HeaderMap`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HeaderMap {
    #[prost(message, repeated, tag = "1")]
    pub headers: Vec<Header>,
}

/// `envoy.config.core.v3.HeaderValue`; also an entry of the map `headers`, which has no raw value.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Header {
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    pub raw_value: Bytes,
}

/// `envoy.service.auth.v3.CheckResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct CheckResponse {
    #[prost(message, optional, tag = "1")]
    pub status: Option<rpc::Status>,
    #[prost(oneof = "HttpResponse", tags = "2, 3, 5")]
    pub http_response: Option<HttpResponse>,
    #[prost(message, optional, tag = "4")]
    pub dynamic_metadata: Option<Struct>,
}

/// `google.protobuf.Struct`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Struct {
    #[prost(message, repeated, tag = "1")]
    pub fields: Vec<Field>,
}

/// An entry of the map of a `google.protobuf.Struct`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Field {
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    #[prost(message, optional, tag = "2")]
    pub value: Option<Value>,
}

/// `google.protobuf.Value`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Value {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6")]
    pub kind: Option<Kind>,
}

/// The kinds of `google.protobuf.Value`.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Kind {
    /// Null is the only value of its enumeration: 0.
    #[prost(int32, tag = "1")]
    Null(i32),
    #[prost(double, tag = "2")]
    Number(f64),
    #[prost(bytes, tag = "3")]
    Text(Bytes),
    #[prost(bool, tag = "4")]
    Bool(bool),
    #[prost(message, tag = "5")]
    Struct(Struct),
    #[prost(message, tag = "6")]
    List(ListValue),
}

/// `google.protobuf.ListValue`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ListValue {
    #[prost(message, repeated, tag = "1")]
    pub values: Vec<Value>,
}

impl Value {
    /// A text.
    pub fn text(text: Bytes) -> Self {
        Self {
            kind: Some(Kind::Text(text)),
        }
    }

    /// The same value as this JSON. Every number becomes a double.
    pub fn of(json: &serde_json::Value) -> Self {
        let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        let kind = match json {
            serde_json::Value::Null => Kind::Null(0),
            serde_json::Value::Bool(value) => Kind::Bool(*value),
            serde_json::Value::Number(number) => Kind::Number(number.as_f64().unwrap_or(f64::NAN)),
            serde_json::Value::String(text) => Kind::Text(bytes(text)),
            serde_json::Value::Array(list) => Kind::List(ListValue {
                values: list.iter().map(Self::of).collect(),
            }),
            serde_json::Value::Object(members) => {
                let field = |(name, value): (&String, _)| Field {
                    key: bytes(name),
                    value: Some(Self::of(value)),
                };
                Kind::Struct(Struct {
                    fields: members.iter().map(field).collect(),
                })
            }
        };
        Self { kind: Some(kind) }
    }
}
