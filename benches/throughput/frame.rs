//! What Envoy sends for a request of curl's, in bytes.

use std::time::{SystemTime, UNIX_EPOCH};

use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use envoy_types::pb::envoy::config::core::v3::{Address, SocketAddress, address};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer, Request};
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use envoy_types::pb::google::protobuf::Timestamp;
use prost::Message as _;

/// A `CheckRequest` with this token, framed for gRPC.
pub fn of(token: &str) -> Vec<u8> {
    let headers = [
        (":authority", "shop.example.com"),
        (":method", "GET"),
        (":path", "/protected?x=1"),
        (":scheme", "http"),
        ("accept", "*/*"),
        ("user-agent", "curl/8.5.0"),
        ("x-forwarded-proto", "http"),
        ("x-request-id", "cf3a7d3c-3d3b-4f0c-8f8e-8f3a6a1f5b52"),
        ("authorization", &format!("Bearer {token}")),
    ];
    let http = HttpRequest {
        id: "1234567890".to_owned(),
        method: "GET".to_owned(),
        path: "/protected?x=1".to_owned(),
        host: "shop.example.com".to_owned(),
        scheme: "http".to_owned(),
        protocol: "HTTP/1.1".to_owned(),
        headers: headers
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        ..HttpRequest::default()
    };
    let message = CheckRequest {
        attributes: Some(AttributeContext {
            source: Some(peer("10.0.0.7", 51_234)),
            destination: Some(peer("10.0.0.9", 8080)),
            request: Some(Request {
                time: Some(now()),
                http: Some(http),
            }),
            ..AttributeContext::default()
        }),
    };
    let length = u32::try_from(message.encoded_len()).unwrap();
    let mut frame = vec![0];
    frame.extend(length.to_be_bytes());
    message.encode(&mut frame).unwrap();
    frame
}

fn peer(ip: &str, port: u32) -> Peer {
    Peer {
        address: Some(Address {
            address: Some(address::Address::SocketAddress(SocketAddress {
                address: ip.to_owned(),
                port_specifier: Some(PortSpecifier::PortValue(port)),
                ..SocketAddress::default()
            })),
        }),
        ..Peer::default()
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap(),
        nanos: i32::try_from(since.subsec_nanos()).unwrap(),
    }
}
