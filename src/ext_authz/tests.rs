//! Tests that any message, from Envoy or from another client, is read without a panic, and that both
//! encodings of headers give the same result.

use envoy_types::pb::envoy::config::core::v3::{HeaderMap, HeaderValue};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Request};
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use proptest::prelude::*;
use prost::Message as _;

use super::request::EnvoyRequest;
use super::wire;

fn config() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

fn message(http: HttpRequest) -> CheckRequest {
    CheckRequest {
        attributes: Some(AttributeContext {
            request: Some(Request {
                http: Some(http),
                ..Request::default()
            }),
            ..AttributeContext::default()
        }),
    }
}

/// A message from Envoy, as it is received here.
fn received(message: &CheckRequest) -> wire::CheckRequest {
    wire::CheckRequest::decode(message.encode_to_vec().as_slice()).unwrap()
}

/// Reads everything that a check reads.
fn read(message: &wire::CheckRequest) -> Option<Vec<Vec<u8>>> {
    let request = EnvoyRequest::read(message)?;
    let authz = request.as_authz();
    let mut values = Vec::new();
    for name in ["authorization", "cookie"] {
        authz.headers.visit(name, &mut |v| values.push(v.to_vec()));
    }
    Some(values)
}

fn header(key: &str, value: &str, raw: bool) -> HeaderValue {
    let (value, raw_value) = match raw {
        true => (String::new(), value.as_bytes().to_vec()),
        false => (value.to_owned(), Vec::new()),
    };
    HeaderValue {
        key: key.to_owned(),
        value,
        raw_value,
    }
}

#[test]
fn claims_are_found_in_the_metadata_of_jwt_authn_and_nowhere_else() {
    use envoy_types::pb::envoy::config::core::v3::Metadata;
    use envoy_types::pb::google::protobuf::{Struct, Value, value::Kind};
    let value = |kind| Value { kind: Some(kind) };
    let fields = |members: Vec<(&str, Kind)>| Struct {
        fields: members
            .into_iter()
            .map(|(k, v)| (k.to_owned(), value(v)))
            .collect(),
    };
    let text = |t: &str| Kind::StringValue(t.to_owned());
    let claims = fields(vec![
        ("sub", text("alice")),
        ("exp", Kind::NumberValue(1.5e9)),
    ]);
    let under = |namespace: &str, kind: Kind| {
        let namespaces = [(namespace.to_owned(), fields(vec![("payload", kind)]))];
        let mut message = message(HttpRequest::default());
        let attributes = message.attributes.as_mut().unwrap();
        attributes.metadata_context = Some(Metadata {
            filter_metadata: namespaces.into(),
            ..Metadata::default()
        });
        message
    };
    let payload = |message: &CheckRequest, key: &str| {
        let message = received(message);
        let request = EnvoyRequest::read(&message).unwrap();
        let proxy = request.as_authz().proxy;
        proxy
            .and_then(|p| p.payload(key))
            .map(serde_json::Value::Object)
    };
    let own = "envoy.filters.http.jwt_authn";
    let good = under(own, Kind::StructValue(claims.clone()));
    let expected = serde_json::json!({ "sub": "alice", "exp": 1.5e9 });
    assert_eq!(payload(&good, "payload"), Some(expected));
    assert_eq!(payload(&good, "other"), None);
    let foreign = under("envoy.filters.http.lua", Kind::StructValue(claims));
    assert_eq!(payload(&foreign, "payload"), None);
    assert_eq!(payload(&under(own, text("alice")), "payload"), None);
    let absurd = fields(vec![("exp", Kind::NumberValue(f64::NAN))]);
    assert_eq!(
        payload(&under(own, Kind::StructValue(absurd)), "payload"),
        None
    );
    assert_eq!(payload(&message(HttpRequest::default()), "payload"), None);
}

#[test]
fn all_that_a_check_reads_is_found_under_its_number() {
    let http = HttpRequest {
        id: "7".to_owned(),
        method: "GET".to_owned(),
        path: "/a?b".to_owned(),
        host: "shop.example".to_owned(),
        ..HttpRequest::default()
    };
    let mut message = message(http);
    let attributes = message.attributes.as_mut().unwrap();
    attributes.context_extensions = [("policy".to_owned(), "p".to_owned())].into();
    let message = received(&message);
    let request = EnvoyRequest::read(&message).unwrap();
    let authz = request.as_authz();
    let read = (authz.policy, authz.method, authz.host, authz.path);
    assert_eq!(read, (Some("p"), "GET", "shop.example", "/a?b"));
    assert_eq!(request.id(), "7");
}

#[test]
fn an_answer_reads_back_as_envoy_reads_it() {
    use crate::authz::{AllowReason, Outcome, Verdict};
    use envoy_types::pb::envoy::service::auth::v3::CheckResponse;
    use envoy_types::pb::google::protobuf::value::Kind;
    let answers = super::Answers {
        realm: "revoxy".to_owned(),
        body: super::BodyFormat::default(),
        error_response: false,
    };
    let verdict = |outcome| Verdict {
        issuer: Some("shop".into()),
        claim: Some("exp".into()),
        ..Verdict::without_policy(outcome)
    };
    for outcome in Outcome::all().chain([Outcome::Allow(AllowReason::Ok)]) {
        let sent = answers.encode(&verdict(outcome), &[], Default::default);
        let read = CheckResponse::decode(sent.encode_to_vec().as_slice()).unwrap();
        assert_eq!(read.status, sent.status);
        assert_eq!(read.http_response, sent.http_response);
        let text = |name: &str| {
            let fields = &read.dynamic_metadata.as_ref().unwrap().fields;
            match &fields[name].kind {
                Some(Kind::StringValue(text)) => text.clone(),
                other => unreachable!("{other:?}"),
            }
        };
        assert_eq!(text("decision"), outcome.decision());
        assert_eq!(text("reason"), outcome.reason());
        assert_eq!(text("issuer"), "shop");
        assert_eq!(text("claim"), "exp");
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_bytes_are_read_or_refused_without_a_panic(bytes in any::<Vec<u8>>()) {
        if let Ok(message) = wire::CheckRequest::decode(bytes.as_slice()) {
            read(&message);
        }
    }

    /// A valid message with one changed byte is parsed further than random bytes.
    #[test]
    fn a_damaged_message_is_read_or_refused_without_a_panic(
        at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>(),
    ) {
        let headers = HeaderMap { headers: vec![header("authorization", "Bearer a.b.c", true)] };
        let mut bytes = message(HttpRequest {
            method: "GET".to_owned(),
            path: "/a?b".to_owned(),
            headers: [("cookie".to_owned(), "a=1".to_owned())].into(),
            header_map: Some(headers),
            ..HttpRequest::default()
        }).encode_to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        for message in [&bytes[..], &bytes[..cut.index(bytes.len())]] {
            if let Ok(message) = wire::CheckRequest::decode(message) {
                read(&message);
            }
        }
    }

    #[test]
    fn both_encodings_of_headers_say_the_same(value in "[ -~]{1,60}", key in "[aA]uthorization") {
        let plain = message(HttpRequest {
            headers: [("authorization".to_owned(), value.clone())].into(),
            ..HttpRequest::default()
        });
        for raw in [true, false] {
            let map = message(HttpRequest {
                header_map: Some(HeaderMap { headers: vec![header(&key, &value, raw)] }),
                ..HttpRequest::default()
            });
            prop_assert_eq!(read(&received(&map)), read(&received(&plain)));
        }
    }
}
