//! The dynamic metadata of a request: what preceding filters have passed on.

use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{Struct, Value as ProtoValue};
use serde_json::{Map, Number, Value};

use crate::authz::ProxyClaims;

use super::request::EnvoyRequest;

/// The namespace of Envoy's filter that verifies JWTs. We receive it only if `metadata_context_namespaces` of
/// ext_authz names it.
const JWT_AUTHN: &str = "envoy.filters.http.jwt_authn";

impl ProxyClaims for EnvoyRequest<'_> {
    /// Looks up the name in `payload_in_metadata` of the filter's provider.
    fn payload(&self, key: &str) -> Option<Map<String, Value>> {
        let namespace = self.metadata()?.filter_metadata.get(JWT_AUTHN)?;
        match json(namespace.fields.get(key)?)? {
            Value::Object(payload) => Some(payload),
            _ => None,
        }
    }
}

/// Converts an object; `None` if a value has no counterpart in JSON.
fn object(of: &Struct) -> Option<Map<String, Value>> {
    let members = of.fields.iter();
    members.map(|(k, v)| Some((k.clone(), json(v)?))).collect()
}

/// Converts a value. The recursion depth is bounded by the decoder of the message.
fn json(value: &ProtoValue) -> Option<Value> {
    Some(match value.kind.as_ref()? {
        Kind::NullValue(_) => Value::Null,
        Kind::BoolValue(b) => Value::Bool(*b),
        Kind::NumberValue(n) => Value::Number(Number::from_f64(*n)?),
        Kind::StringValue(s) => Value::String(s.clone()),
        Kind::ListValue(list) => list.values.iter().map(json).collect::<Option<_>>()?,
        Kind::StructValue(members) => Value::Object(object(members)?),
    })
}
