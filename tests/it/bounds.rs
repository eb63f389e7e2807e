//! What clients can take of the process: connections, memory, time. Whatever they do, probes and checks are answered.

use std::time::Duration;

use envoy_types::pb::envoy::service::auth::v3::CheckRequest;
use jsonwebtoken::Algorithm;
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::key_server::{signed, signed_as};
use crate::support::{
    Ask, Checks, Config, KeyServer, RawHttp2, Revoxy, Scratch, SigningKey, Token, eventually,
};

/// Within it a probe has to be answered. Kubernetes gives 1 s by default; this machine may be busy.
const PROBE: Duration = Duration::from_secs(5);
const MIB: f64 = 1024.0 * 1024.0;

struct Scene {
    scratch: Scratch,
    key: SigningKey,
    revoxy: Revoxy,
}

impl Scene {
    async fn set(server: &str) -> Self {
        let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
        let mut config = Config::trusting(&key, &scratch);
        config.shutdown = format!("{}\n{server}", config.shutdown);
        let revoxy = Revoxy::start(&scratch, &config).await;
        Self {
            scratch,
            key,
            revoxy,
        }
    }

    fn token(&self) -> String {
        Token::access("a").sign(&self.key)
    }

    async fn resident(&self) -> f64 {
        self.revoxy.metric("process_resident_memory_bytes").await
    }
}

/// A check is answered, and allows, under attack. A connection that is closed to free memory may take longer to end than a request waits; then
/// the check is `UNAVAILABLE`, and the caller tries again, as Envoy does.
async fn is_allowed(checks: &Checks, token: &str) {
    let answer = eventually("a check that is answered", async || {
        match checks.try_ask(Ask::bearer(token)).await {
            Err(code) => {
                assert_eq!(code, tonic::Code::Unavailable);
                None
            }
            Ok(answer) => Some(answer),
        }
    });
    assert!(answer.await.allows());
}

/// What an attack on memory is about to meet: a Revoxy, the memory that it takes until then, and a client with a good token.
async fn attacked() -> (Scene, f64, Checks, String) {
    let scene = Scene::set("").await;
    let before = scene.resident().await;
    let checks = Checks::connect(&scene.revoxy.check).await;
    let token = scene.token();
    (scene, before, checks, token)
}

/// `GET path` over a connection of its own: the status line.
async fn probe(address: &str, path: &str) -> String {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer.lines().next().unwrap_or_default().to_owned())
    };
    timeout(PROBE, ask)
        .await
        .expect("no answer in time")
        .unwrap()
}

/// Sends requests again and again and reads nothing, until the server takes no more.
async fn flood(address: &str, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").repeat(1000);
    let _ = timeout(
        Duration::from_millis(20),
        stream.write_all(request.as_bytes()),
    )
    .await;
    stream
}

#[tokio::test]
async fn probes_are_answered_while_hundreds_of_clients_do_not_read() {
    let scene = Scene::set("").await;
    for (address, path) in [
        (&scene.revoxy.operations, "/metrics"),
        (&scene.revoxy.api, "/v1/tokens"),
    ] {
        let mut floods = Vec::new();
        for number in 0..300 {
            floods.push(flood(address, path).await);
            if number % 50 == 0 {
                let answer = probe(&scene.revoxy.operations, "/livez").await;
                assert_eq!(answer, "HTTP/1.1 200 OK");
            }
        }
        for path in ["/livez", "/readyz", "/metrics"] {
            let answer = probe(&scene.revoxy.operations, path).await;
            assert_eq!(answer, "HTTP/1.1 200 OK", "{path}");
        }
        // An answer at all: 401 or 404, as the API has it.
        assert!(
            probe(&scene.revoxy.api, "/v1/tokens")
                .await
                .starts_with("HTTP/1.1 4")
        );
        // They are cut off, too, by and by.
        for mut stream in floods {
            let ended = async {
                let mut rest = Vec::new();
                // What was under way arrives; then the end, or a reset.
                let _ = stream.read_to_end(&mut rest).await;
            };
            let within = timeout(Duration::from_secs(60), ended).await;
            assert!(
                within.is_ok(),
                "a client that does not read keeps its connection"
            );
        }
    }
}

#[tokio::test]
async fn a_connection_that_says_nothing_makes_room_for_one_that_does() {
    let scene = Scene::set("  max_connections: 8").await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(&scene.revoxy.check).await.unwrap());
    }
    let checks = Checks::connect(&scene.revoxy.check).await;
    let token = scene.token();
    assert!(checks.bearer(&token).await.allows());
    // And it ends by itself.
    for mut stream in silent {
        let mut said = Vec::new();
        let ended = timeout(Duration::from_secs(30), stream.read_to_end(&mut said)).await;
        assert!(ended.is_ok(), "still open");
    }
    // The one in use is still the same connection.
    assert!(checks.bearer(&token).await.allows());
}

#[tokio::test]
async fn a_peer_that_answers_no_ping_is_cut_off() {
    let scene = Scene::set("").await;
    let silent = RawHttp2::connect(&scene.revoxy.check, 65_535).await;
    let within = timeout(Duration::from_secs(100), silent.closed()).await;
    assert!(within.is_ok(), "still open");
}

#[tokio::test]
async fn messages_that_do_not_end_take_no_more_memory_than_there_is_for_requests() {
    let (scene, before, checks, token) = attacked().await;
    let mut attackers = Vec::new();
    for _ in 0..4 {
        let mut attacker = RawHttp2::connect(&scene.revoxy.check, 65_535).await;
        attackers.push(tokio::spawn(async move {
            for _ in 0..1000 {
                let sent = attacker.check(200_000, &[0; 60_000], false);
                if !matches!(timeout(Duration::from_secs(2), sent).await, Ok(Ok(()))) {
                    break;
                }
            }
            attacker
        }));
    }
    let mut most: f64 = 0.0;
    while !attackers.iter().all(tokio::task::JoinHandle::is_finished) {
        most = most.max(scene.resident().await);
        is_allowed(&checks, &token).await;
    }
    most = most.max(scene.resident().await);
    let grown = (most - before) / MIB;
    // 240 MB were sent. 64 MiB for requests, the rest for connections and what the allocator keeps.
    assert!(grown < 140.0, "{grown} MiB more");
    drop(attackers);
}

#[tokio::test]
async fn answers_that_are_not_read_take_no_more_memory_than_there_is_for_requests() {
    let (scene, before, checks, token) = attacked().await;
    let mut attackers = Vec::new();
    for _ in 0..12 {
        // No window: no answer can be sent.
        let mut attacker = RawHttp2::connect(&scene.revoxy.check, 0).await;
        for _ in 0..2000 {
            if attacker.check(0, &[], true).await.is_err() {
                break;
            }
        }
        attackers.push(attacker);
        is_allowed(&checks, &token).await;
    }
    let grown = (scene.resident().await - before) / MIB;
    assert!(grown < 140.0, "{grown} MiB more");
    // Of 24,000 requests 5,461 have room: whoever held most had to go.
    eventually("a closed connection", async || {
        attackers.iter().any(RawHttp2::is_closed).then_some(())
    })
    .await;
    is_allowed(&checks, &token).await;
}

#[tokio::test]
async fn messages_that_wait_for_keys_take_no_more_memory_than_there_is_for_requests() {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    let server = KeyServer::start(&[&key]).await;
    let mut config = Config::trusting(&key, &scratch);
    config.keys = server.keys("cooldown: 1s, wait: 10s, timeout: 10s");
    let revoxy = Revoxy::start(&scratch, &config).await;
    let checks = Checks::connect(&revoxy.check).await;
    let token = signed(&key);
    is_allowed(&checks, &token).await;
    let resident = async || revoxy.metric("process_resident_memory_bytes").await;
    let before = resident().await;
    server.pause(Duration::from_secs(3600));
    let stranger = SigningKey::generate(Algorithm::ES256);
    let waiting = Ask::bearer(&signed_as(Token::access("x"), &stranger));
    // 40 KB, of which decoding makes 3 MB.
    let message = (0..20_000).fold(waiting, |ask, _| ask.raw_header("", b""));
    let message = CheckRequest::from(message).encode_to_vec();
    let length = u32::try_from(message.len()).unwrap();
    let mut attackers = Vec::new();
    for _ in 0..4 {
        let mut attacker = RawHttp2::connect(&revoxy.check, 65_535).await;
        for _ in 0..30 {
            if attacker.check(length, &message, true).await.is_err() {
                break;
            }
        }
        attackers.push(attacker);
    }
    // 350 MB are more than there is for requests: whoever held most had to go.
    eventually("a closed connection", async || {
        attackers.iter().any(RawHttp2::is_closed).then_some(())
    })
    .await;
    is_allowed(&checks, &token).await;
    let grown = (resident().await - before) / MIB;
    assert!(grown < 140.0, "{grown} MiB more");
    // However many were refused, that is one line, and does not say that they could not be read.
    let log = revoxy.log().await;
    assert!(
        log.matches("no memory for more requests").count() <= 1,
        "{log}"
    );
    assert!(!log.contains("a check request cannot be read"), "{log}");
}

#[tokio::test]
async fn a_check_that_cannot_be_read_is_answered_counted_and_logged_as_our_error() {
    let scene = Scene::set("  max_message_bytes: 65536").await;
    let checks = scene.revoxy.checks().await;
    let token = scene.token();
    let bad =
        "revoxy_checks_total{decision=\"error\",policy=\"unknown\",reason=\"bad_check_request\"}";
    let count = async || scene.revoxy.metric(bad).await;
    let before = count().await;
    let large = Ask::bearer(&token).header("x-large", &"x".repeat(70_000));
    let answer = checks.ask(large).await;
    assert_eq!(answer.verdict(), (503, "bad_check_request"));
    let answer = checks.raw(b"\xff\xff\xff").await;
    assert_eq!(answer.verdict(), (503, "bad_check_request"));
    let answer = checks.raw(&deep(60)).await;
    assert_eq!(answer.verdict(), (503, "bad_check_request"));
    assert!((count().await - before - 3.0).abs() < 0.1);
    let log = scene.revoxy.log().await;
    for part in [
        "larger than 65536 bytes (server.max_message_bytes)",
        "recursion limit",
    ] {
        assert!(log.contains(part), "{part}: {log}");
    }
    assert!(!log.contains(&token));
    // What is not UTF-8 can be read, and says nothing.
    let strange = Ask::bearer(&token).with_bytes(b"G\xffT", b"shop\xff.example", b"/x?\xff=\xfe");
    assert_eq!(checks.raw(&strange).await.reason(), "ok");
    drop(scene.scratch);
}

/// A message whose metadata of `jwt_authn` is nested that deep.
fn deep(levels: usize) -> Vec<u8> {
    use envoy_types::pb::envoy::config::core::v3::Metadata;
    use envoy_types::pb::envoy::service::auth::v3::AttributeContext;
    use envoy_types::pb::google::protobuf::{Struct, Value, value::Kind};
    let inner = Struct::default();
    let nested = (0..levels).fold(inner, |inner, _| Struct {
        fields: [(
            "a".to_owned(),
            Value {
                kind: Some(Kind::StructValue(inner)),
            },
        )]
        .into(),
    });
    let mut request = CheckRequest::from(Ask::new());
    let attributes: &mut AttributeContext = request.attributes.as_mut().unwrap();
    attributes.metadata_context = Some(Metadata {
        filter_metadata: [("envoy.filters.http.jwt_authn".to_owned(), nested)].into(),
        ..Metadata::default()
    });
    request.encode_to_vec()
}
