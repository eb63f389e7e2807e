//! A check from end to end, but for the connection: any bytes as a `CheckRequest`, its translation, the decision, the
//! answer.
//!
//! What must hold: no panic (libFuzzer ends the process before [`ExtAuthz`] could catch one); a decision without
//! waiting; whatever is allowed is allowed by the policy that the message falls under, for a reason that can be seen
//! in the message by a second opinion.

#![no_main]

use std::sync::{Arc, LazyLock};

use envoy_types::pb::envoy::service::auth::v3::attribute_context::HttpRequest;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest, CheckResponse};
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{Struct, Value as ProtoValue};
use futures_util::FutureExt as _;
use http_body_util::{BodyExt as _, Full};
use libfuzzer_sys::{Corpus, fuzz_target};
use prost::Message as _;
use prost::bytes::{BufMut as _, Bytes, BytesMut};
use revoxy::authz::{
    Authorizer, Outcome, PathMatch, Policies, Policy, Route, TokenDemand,
    TokenPlace, TokenSource, TypeDemand,
};
use revoxy::clock::ManualClock;
use revoxy::ext_authz::{Answers, BodyFormat, CheckServer, ExtAuthz, MemoryBudget};
use revoxy::jwt::CachingVerifier;
use revoxy::metrics::{CheckLabels, Metrics};
use revoxy::revocation::TokenKeys;
use revoxy_fuzz::{PROXIED_ISS, PROXIED_KEY, claims_are_in_order, is_genuine, now, verifier};
use serde_json::Value;
use tonic::codegen::Service as _;
use tonic::codegen::http::Request;

const PUBLIC_PREFIX: &str = "/public";

static SERVICE: LazyLock<CheckServer> = LazyLock::new(service);
const MAX_MESSAGE: usize = 4 << 20;

fn service() -> CheckServer {
    let policy = |index, name: &str, token, token_type| Policy {
        name: name.to_owned(),
        index,
        token,
        token_type,
        ..Policy::default()
    };
    let policies = vec![
        policy(0, "default", TokenDemand::Required, TypeDemand::Access),
        policy(1, "optional", TokenDemand::Optional, TypeDemand::Any),
        policy(2, "public", TokenDemand::None, TypeDemand::Access),
    ];
    let route = Route {
        host: None,
        methods: vec!["GET".to_owned()],
        path: Some(PathMatch::Prefix(PUBLIC_PREFIX.to_owned())),
        policy: 2,
    };
    let policies = Policies::new(policies, vec![route]).unwrap();
    let names = policies.names();
    let outcomes: Vec<_> = Outcome::all().map(|o| (o.decision(), o.reason())).collect();
    let labels = CheckLabels {
        outcomes: &outcomes,
        policies: &names,
    };
    let metrics = Metrics::new(&labels, &[]).unwrap();
    let places = [
        TokenPlace::Cookie("access_token".to_owned()),
        TokenPlace::Query("access_token".to_owned()),
    ];
    let others = places.map(|place| TokenSource { place, strip: true });
    let sources = [TokenSource::bearer()].into_iter().chain(others).collect();
    let verifier = CachingVerifier::new(verifier().into(), 64, |claims, _| TokenKeys::of(claims));
    let clock = Arc::new(ManualClock::at(now()));
    let authorizer = Authorizer::new(policies, verifier, None, clock).with_token_sources(sources);
    let answers = Answers {
        realm: "shop".to_owned(),
        body: BodyFormat::Oauth,
        error_response: false,
    };
    let service = ExtAuthz::new(Arc::new(authorizer), answers, metrics.checks);
    let budget = MemoryBudget::new(16 * MAX_MESSAGE, || {});
    CheckServer::new(Arc::new(service), MAX_MESSAGE, budget)
}

fuzz_target!(|data: &[u8]| -> Corpus {
    let Ok(message) = CheckRequest::decode(data) else {
        return Corpus::Reject;
    };
    judge(&message, &ask(data));
    Corpus::Keep
});

/// Asks over gRPC, without a connection: one frame there, one frame back.
fn ask(message: &[u8]) -> CheckResponse {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(message.len().try_into().expect("a small message"));
    frame.put_slice(message);
    let request = Request::post("/envoy.service.auth.v3.Authorization/Check")
        .header("content-type", "application/grpc")
        .body(Full::<Bytes>::new(frame.freeze()))
        .unwrap();
    let answer = SERVICE.clone().call(request).now_or_never();
    let body = answer.expect("waits for nothing").unwrap().into_body();
    let body = body.collect().now_or_never().expect("is complete").unwrap();
    let bytes = body.to_bytes();
    // What the generated types can read, ours can.
    CheckResponse::decode(bytes.get(5..).expect("is answered")).unwrap()
}

fn judge(message: &CheckRequest, answer: &CheckResponse) {
    let ok_response = matches!(answer.http_response, Some(HttpResponse::OkResponse(_)));
    let allowed = answer.status.as_ref().is_some_and(|s| s.code == 0);
    // Envoy reads the one, people and metrics the others.
    assert_eq!(allowed, ok_response);
    assert_eq!(allowed, said(answer, "decision") == Some("allow"));
    if !allowed {
        return;
    }
    let attributes = message.attributes.as_ref().expect("attributes");
    let request = attributes.request.as_ref().expect("a request");
    let http = request.http.as_ref().expect("an HTTP request");
    let policy = policy_of(attributes, http);
    assert_eq!(said(answer, "policy"), Some(policy), "{message:?}");
    match said(answer, "reason") {
        Some("public") => assert_eq!(policy, "public", "{message:?}"),
        Some("anonymous") => assert_eq!(policy, "optional", "{message:?}"),
        Some("ok") => {
            assert_ne!(policy, "public", "{message:?}");
            let good = match said(answer, "issuer") {
                Some("shop") => carries_a_token(http),
                Some("proxied") => carries_claims(attributes),
                _ => false,
            };
            assert!(good, "{message:?}");
        }
        reason => panic!("{reason:?}: {message:?}"),
    }
}

fn said<'a>(answer: &'a CheckResponse, what: &str) -> Option<&'a str> {
    let value = answer.dynamic_metadata.as_ref()?.fields.get(what)?;
    match value.kind.as_ref()? {
        Kind::StringValue(text) => Some(text),
        _ => None,
    }
}

/// The policy that a message falls under.
fn policy_of<'a>(attributes: &'a AttributeContext, http: &HttpRequest) -> &'a str {
    if let Some(named) = attributes.context_extensions.get("policy") {
        return named;
    }
    let path = http.path.split('?').next().unwrap_or_default();
    let mut segments = path.split('/').skip(1);
    let public = format!("/{}", segments.next().unwrap_or_default()) == PUBLIC_PREFIX;
    match public && http.method == "GET" && !segments.any(|s| s == "..") {
        true => "public",
        false => "default",
    }
}

/// Whether there is a token with our signature anywhere that tokens are looked for.
fn carries_a_token(http: &HttpRequest) -> bool {
    let mut places = vec![http.path.clone()];
    places.extend(http.headers.values().cloned());
    for header in http.header_map.iter().flat_map(|map| &map.headers) {
        places.push(header.value.clone());
        places.push(String::from_utf8_lossy(&header.raw_value).into_owned());
    }
    let foreign = |c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c));
    places
        .iter()
        .flat_map(|place| place.split(foreign))
        .any(is_genuine)
}

/// Whether Envoy has put claims of the issuer whose tokens it verifies into its metadata, and they are in order.
fn carries_claims(attributes: &AttributeContext) -> bool {
    let claims = attributes
        .metadata_context
        .as_ref()
        .and_then(|m| m.filter_metadata.get("envoy.filters.http.jwt_authn"))
        .and_then(|namespace| namespace.fields.get(PROXIED_KEY));
    claims.is_some_and(|claims| claims_are_in_order(&json(claims), PROXIED_ISS))
}

fn json(value: &ProtoValue) -> Value {
    let object = |of: &Struct| {
        of.fields
            .iter()
            .map(|(k, v)| (k.clone(), json(v)))
            .collect()
    };
    match value.kind.as_ref() {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(b)) => Value::from(*b),
        Some(Kind::NumberValue(n)) => Value::from(*n),
        Some(Kind::StringValue(s)) => Value::from(s.as_str()),
        Some(Kind::ListValue(list)) => list.values.iter().map(json).collect(),
        Some(Kind::StructValue(members)) => Value::Object(object(members)),
    }
}
