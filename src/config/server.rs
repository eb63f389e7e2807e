//! The sections `server` and `responses`.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::ext_authz::{Answers, DescribedBy};

use super::document::Document;
use super::problem::Problems;
use super::raw::{RawResponses, RawServer};

/// Listeners and shutdown.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// gRPC: ext_authz and health.
    pub check: Listen,
    /// HTTP: metrics, liveness, readiness.
    pub operations: SocketAddr,
    /// HTTP: the revocation API; `None` if it is disabled.
    pub api: Option<SocketAddr>,
    /// HTTP: checks for proxies other than Envoy; `None` if there are none.
    pub http_check: Option<HttpCheckConfig>,
    /// The maximum number of connections to the check service.
    pub max_connections: usize,
    /// The maximum size of a request to the check service, in bytes.
    pub max_message_bytes: usize,
    /// How the process shuts down.
    pub shutdown: ShutdownConfig,
}

/// Checks over plain HTTP.
#[derive(Clone, Copy, Debug)]
pub struct HttpCheckConfig {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where the proxy describes the request to check.
    pub described_by: DescribedBy,
}

/// How the process shuts down after SIGTERM.
#[derive(Clone, Copy, Debug)]
pub struct ShutdownConfig {
    /// How long it keeps serving while it already reports "not ready", so that proxies stop sending requests
    /// first.
    pub delay: Duration,
    /// How long checks in flight, and connections, then have to finish.
    pub drain: Duration,
}

/// The address of the check service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

const CHECK: &str = "127.0.0.1:9001";
const OPERATIONS: &str = "127.0.0.1:9090";
const API: &str = "127.0.0.1:9091";
const HTTP_CHECK: &str = "127.0.0.1:9092";
/// The value that disables the revocation API.
const DISABLED: &str = "disabled";
/// One for each worker thread of 512 Envoys with two threads.
const MAX_CONNECTIONS: usize = 1024;
const MOST_CONNECTIONS: usize = 65_536;
/// Envoy accepts requests with headers of 60 KiB. It may send them twice, with names and lengths around them.
const MAX_MESSAGE: usize = 256 << 10;
const LEAST_MESSAGE: usize = 16 << 10;
/// Envoy accepts headers of at most 8 MiB (`max_request_headers_kb`).
const MOST_MESSAGE: usize = 32 << 20;
const DEFAULT_REALM: &str = "revoxy";

pub(super) fn read(raw: RawServer, document: &Document, problems: &mut Problems) -> ServerConfig {
    let mut undescribed = false;
    let mut address = |path: &str, text: Option<String>, default: &str| {
        let text = text.unwrap_or_else(|| default.to_owned());
        text.parse().unwrap_or_else(|_| {
            let message = format!("`{text}` is not an address and port such as `{default}`");
            problems.push(document.problem(path, message));
            SocketAddr::from(([127, 0, 0, 1], 0))
        })
    };
    let check = match raw.check {
        Some(text) if text.starts_with("unix:") => Listen::Unix(text["unix:".len()..].into()),
        text => Listen::Tcp(address("server.check", text, CHECK)),
    };
    let operations = address("server.operations", raw.operations, OPERATIONS);
    let api = match raw.api {
        Some(text) if text == DISABLED => None,
        text => Some(address("server.api", text, API)),
    };
    let http_check = raw.http_check.map(|raw| HttpCheckConfig {
        listen: address("server.http_check.listen", raw.listen, HTTP_CHECK),
        described_by: raw.described_by.unwrap_or_else(|| {
            undescribed = true;
            DescribedBy::XOriginal
        }),
    });
    if undescribed {
        let message = "needs `described_by`: x_original (nginx), x_forwarded (Traefik, Caddy) or itself (Envoy's HTTP mode)";
        problems.push(document.problem("server.http_check", message));
    }
    let mut taken: Vec<(&str, SocketAddr)> = Vec::new();
    let check_address = match &check {
        Listen::Tcp(address) => Some(("server.check", *address)),
        Listen::Unix(_) => None,
    };
    let listeners = [
        check_address,
        Some(("server.operations", operations)),
        api.map(|a| ("server.api", a)),
        http_check.map(|http| ("server.http_check.listen", http.listen)),
    ];
    for (path, address) in listeners.into_iter().flatten() {
        if let Some((other, _)) = taken.iter().find(|(_, other)| collide(*other, address)) {
            let message =
                format!("`{address}` is taken by {other}; every listener needs a port of its own");
            problems.push(document.problem(path, message));
        }
        taken.push((path, address));
    }
    let mut within = |path: &str, value: Option<usize>, default, least, most| {
        let value = value.unwrap_or(default);
        if !(least..=most).contains(&value) {
            problems.push(document.problem(path, format!("must be from {least} to {most}")));
        }
        value
    };
    ServerConfig {
        check,
        operations,
        api,
        http_check,
        max_connections: within(
            "server.max_connections",
            raw.max_connections,
            MAX_CONNECTIONS,
            1,
            MOST_CONNECTIONS,
        ),
        max_message_bytes: within(
            "server.max_message_bytes",
            raw.max_message_bytes,
            MAX_MESSAGE,
            LEAST_MESSAGE,
            MOST_MESSAGE,
        ),
        shutdown: ShutdownConfig {
            delay: raw.shutdown.delay.map_or(Duration::from_secs(5), |s| s.0),
            drain: raw.shutdown.drain.map_or(Duration::from_secs(20), |s| s.0),
        },
    }
}

/// Returns whether two addresses conflict. Port 0 means any free port and conflicts with nothing.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let same_host = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() != 0 && a.port() == b.port() && same_host
}

pub(super) fn read_answers(
    raw: RawResponses,
    document: &Document,
    problems: &mut Problems,
) -> Answers {
    let realm = raw.realm.unwrap_or_else(|| DEFAULT_REALM.to_owned());
    // The realm is part of a quoted string in a header (RFC 9110 §5.6.4).
    let plain = |b: u8| (b' '..=b'~').contains(&b) && b != b'"' && b != b'\\';
    if !realm.bytes().all(plain) {
        let message = "must be printable ASCII without quotes and backslashes";
        problems.push(document.problem("responses.realm", message));
    }
    Answers {
        realm,
        body: raw.body,
        error_response: raw.error_response,
    }
}
