//! A single HTTP GET for key material, with limits on time, size, redirects and schemes.
//!
//! Each fetch uses a new connection: a key set is fetched every few minutes, and a pooled connection could
//! break unnoticed in the meantime. HTTP proxies are not used.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{self, HeaderMap};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use url::{Host, Url};

use crate::tls::{self, TlsFiles};

/// The maximum size of a key set.
pub const MAX_BODY_BYTES: usize = 1 << 20;
const MAX_REDIRECTS: usize = 3;
/// The maximum length of a path in messages.
const LONGEST_PLACE: usize = 200;

/// Fetches documents.
pub struct Fetcher {
    timeout: Duration,
    allow_http: bool,
    files: TlsFiles,
    tls: Option<Arc<ClientConfig>>,
    redirect_hosts: Vec<Host>,
}

/// A document, and how long it is valid according to its server.
#[derive(Debug)]
pub struct Fetched {
    /// The URL of the document, after redirects.
    from: Source,
    pub(super) body: Vec<u8>,
    /// `max-age` of `Cache-Control`; zero for `no-cache` and `no-store` (RFC 9111 §5.2.2).
    pub(super) max_age: Option<Duration>,
}

/// Why nothing was fetched, and from where.
#[derive(Debug)]
pub struct FetchError {
    from: Source,
    problem: FetchProblem,
}

/// The URL of a request, as it may be logged.
#[derive(Clone, Debug)]
struct Source {
    url: String,
    /// The URL of the first request, if it was redirected.
    redirected_from: Option<String>,
}

/// Why nothing was fetched.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchProblem {
    /// The server cannot be reached, or the connection broke.
    #[error("cannot connect: {0}")]
    Unreachable(String),
    /// No trusted TLS connection could be established.
    #[error("no trusted TLS connection: {0}")]
    Tls(String),
    /// The timeout has expired.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The status is not 200.
    #[error("the server answered {0}")]
    Status(u16),
    /// The body is larger than [`MAX_BODY_BYTES`].
    #[error("the answer is larger than {MAX_BODY_BYTES} bytes")]
    TooLarge,
    /// There are too many redirects, or one has no usable location or leads to another scheme.
    #[error("a redirect that is not followed: {0}")]
    Redirect(&'static str),
    /// A redirect to a host or port that is not configured.
    #[error(
        "a redirect to {0} that is not followed: name the host in `keys.redirect_hosts` if its keys are the issuer's"
    )]
    Elsewhere(String),
    /// The scheme is not allowed.
    #[error("not fetched without TLS")]
    Insecure,
    /// The document is not a valid key set or metadata.
    #[error("{0}")]
    Invalid(String),
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = &self.from.url;
        match &self.problem {
            FetchProblem::Status(status) => write!(f, "{url} answered {status}")?,
            problem => write!(f, "{url}: {problem}")?,
        }
        match &self.from.redirected_from {
            Some(first) => write!(f, " (redirected from {first})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for FetchError {}

impl Source {
    /// Describes a request for `first` that was redirected to `last`.
    fn new(first: &Url, last: &Url) -> Self {
        Self {
            url: named(last),
            redirected_from: (first != last).then(|| named(first)),
        }
    }
}

impl Fetched {
    /// Makes the error for an invalid document.
    pub(super) fn invalid(&self, why: impl Into<String>) -> FetchError {
        FetchError {
            from: self.from.clone(),
            problem: FetchProblem::Invalid(why.into()),
        }
    }
}

impl FetchError {
    /// All label values.
    pub const LABELS: [&'static str; 8] = [
        "unreachable",
        "tls",
        "timeout",
        "status",
        "too_large",
        "redirect",
        "insecure",
        "invalid",
    ];

    /// Returns the metric label.
    pub const fn label(&self) -> &'static str {
        match self.problem {
            FetchProblem::Unreachable(_) => Self::LABELS[0],
            FetchProblem::Tls(_) => Self::LABELS[1],
            FetchProblem::Timeout(_) => Self::LABELS[2],
            FetchProblem::Status(_) => Self::LABELS[3],
            FetchProblem::TooLarge => Self::LABELS[4],
            FetchProblem::Redirect(_) | FetchProblem::Elsewhere(_) => Self::LABELS[5],
            FetchProblem::Insecure => Self::LABELS[6],
            FetchProblem::Invalid(_) => Self::LABELS[7],
        }
    }
}

impl Fetcher {
    /// Makes a fetcher with a `timeout` that includes redirects and body. Plain HTTP is only used with the
    /// local machine, unless `allow_http` is set. The error states why TLS can never work.
    pub fn new(
        timeout: Duration,
        allow_http: bool,
        ca_file: Option<PathBuf>,
    ) -> Result<Self, String> {
        let files = TlsFiles::trusting(ca_file);
        let tls = match (tls::client(&files), allow_http, &files.ca_file) {
            (Ok(config), ..) => Some(config),
            // An image without certificate authorities does not need any if everything is plain HTTP.
            (Err(_), true, None) => None,
            (Err(why), ..) => return Err(why.to_string()),
        };
        Ok(Self {
            timeout,
            allow_http,
            files,
            tls,
            redirect_hosts: Vec::new(),
        })
    }

    /// Also follows redirects to these hosts, and not only within host and port of the URL.
    pub fn with_redirect_hosts(self, redirect_hosts: Vec<Host>) -> Self {
        Self {
            redirect_hosts,
            ..self
        }
    }

    /// Returns whether the URL's scheme may be used with its host.
    pub fn accepts(url: &Url, allow_http: bool) -> bool {
        let local = match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => return false,
        };
        match url.scheme() {
            "https" => true,
            "http" => allow_http || local,
            _ => false,
        }
    }

    /// Fetches `url`.
    pub async fn get(&self, url: &Url) -> Result<Fetched, FetchError> {
        let mut at = url.clone();
        let followed = tokio::time::timeout(self.timeout, self.follow(url, &mut at)).await;
        let followed = followed.unwrap_or(Err(FetchProblem::Timeout(self.timeout)));
        let from = Source::new(url, &at);
        match followed {
            Ok((body, max_age)) => Ok(Fetched {
                from,
                body,
                max_age,
            }),
            Err(problem) => Err(FetchError { from, problem }),
        }
    }

    /// Returns whether a redirect leads to a host and port from which keys of the issuer may be fetched.
    /// Otherwise, an open redirect on the issuer's host, for example for logins, would let anybody supply
    /// keys for the issuer.
    fn stays(&self, start: &Url, next: &Url) -> bool {
        let named = |host: Host<&str>| self.redirect_hosts.iter().any(|h| *h == host.to_owned());
        next.origin() == start.origin() || next.host().is_some_and(named)
    }

    /// Follows redirects from `start`. Sets `at` to the URL of the last request.
    async fn follow(&self, start: &Url, at: &mut Url) -> Result<Document, FetchProblem> {
        for _ in 0..=MAX_REDIRECTS {
            if !Self::accepts(at, self.allow_http) {
                return Err(FetchProblem::Insecure);
            }
            // The task that drives the connection ends when this set is dropped.
            let mut connection = JoinSet::new();
            let response = self.request(at, &mut connection).await?;
            match response.status().as_u16() {
                200 => return read(response).await,
                301 | 302 | 303 | 307 | 308 => {
                    let location = response.headers().get(header::LOCATION);
                    let next = location
                        .and_then(|l| l.to_str().ok())
                        .and_then(|l| at.join(l).ok())
                        .ok_or(FetchProblem::Redirect("no usable location"))?;
                    if next.scheme() != at.scheme() {
                        return Err(FetchProblem::Redirect("to another scheme"));
                    }
                    if !self.stays(start, &next) {
                        return Err(FetchProblem::Elsewhere(named(&next)));
                    }
                    *at = next;
                }
                status => return Err(FetchProblem::Status(status)),
            }
        }
        Err(FetchProblem::Redirect("too many"))
    }

    async fn request(
        &self,
        url: &Url,
        connection: &mut JoinSet<()>,
    ) -> Result<Response<Incoming>, FetchProblem> {
        let host = url.host_str().unwrap_or_default();
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let port = url.port_or_known_default().unwrap_or_default();
        let stream = TcpStream::connect((name, port))
            .await
            .map_err(unreachable)?;
        if url.scheme() != "https" {
            return send(stream, url, connection).await;
        }
        let untrusted = |e: &dyn fmt::Display| FetchProblem::Tls(e.to_string());
        let config = match (&self.files.ca_file, &self.tls) {
            (None, Some(config)) => Arc::clone(config),
            // Read anew for each connection, because certificate authorities are rotated, too.
            _ => tls::client(&self.files).map_err(|e| untrusted(&e))?,
        };
        let server = ServerName::try_from(name.to_owned()).map_err(|e| untrusted(&e))?;
        let stream = TlsConnector::from(config)
            .connect(server, stream)
            .await
            .map_err(|e| match tls::is_not_spoken(&e) {
                true => untrusted(&"the server does not speak TLS: is its URL one with http://?"),
                false => untrusted(&e),
            })?;
        send(stream, url, connection).await
    }
}

async fn send<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
    url: &Url,
    connection: &mut JoinSet<()>,
) -> Result<Response<Incoming>, FetchProblem> {
    let (mut sender, driver) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(unreachable)?;
    connection.spawn(async move {
        // A failure is reported by the response.
        let _ = driver.await;
    });
    let host = match url.port() {
        Some(port) => format!("{}:{port}", url.host_str().unwrap_or_default()),
        None => url.host_str().unwrap_or_default().to_owned(),
    };
    let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let request = Request::get(target)
        .header(header::HOST, host)
        .header(header::ACCEPT, "application/jwk-set+json, application/json")
        .header(
            header::USER_AGENT,
            concat!("revoxy/", env!("CARGO_PKG_VERSION")),
        )
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(unreachable)?;
    sender.send_request(request).await.map_err(unreachable)
}

fn unreachable(error: impl fmt::Display) -> FetchProblem {
    FetchProblem::Unreachable(error.to_string())
}

/// The body of a document, and how long it is valid.
type Document = (Vec<u8>, Option<Duration>);

async fn read(response: Response<Incoming>) -> Result<Document, FetchProblem> {
    let max_age = max_age(response.headers());
    match Limited::new(response.into_body(), MAX_BODY_BYTES)
        .collect()
        .await
    {
        Ok(body) => Ok((body.to_bytes().to_vec(), max_age)),
        Err(error) if error.is::<LengthLimitError>() => Err(FetchProblem::TooLarge),
        Err(error) => Err(FetchProblem::Invalid(format!(
            "the answer broke off: {error}"
        ))),
    }
}

fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let directives = headers
        .get_all(header::CACHE_CONTROL)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .map(|d| d.trim().to_ascii_lowercase());
    let age = |directive: String| match directive.as_str() {
        "no-cache" | "no-store" => Some(0),
        other => other
            .strip_prefix("max-age=")?
            .trim_matches('"')
            .parse()
            .ok(),
    };
    directives.filter_map(age).min().map(Duration::from_secs)
}

/// Returns a URL as it may be logged: without user, password and query, which may contain access keys, and
/// truncated, because a server may name a URL of any length.
pub(super) fn named(url: &Url) -> String {
    if url.cannot_be_a_base() {
        return format!("{}:…", url.scheme());
    }
    let place = &url[url::Position::BeforeHost..url::Position::AfterPath];
    let shown: String = place.chars().take(LONGEST_PLACE).collect();
    let cut = if shown.len() < place.len() { "…" } else { "" };
    format!("{}://{shown}{cut}", url.scheme())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_this_machine_unless_allowed() {
        for (url, strict, lax) in [
            ("https://auth.example/jwks", true, true),
            ("http://auth.example/jwks", false, true),
            ("http://127.0.0.1:8080/jwks", true, true),
            ("http://[::1]/jwks", true, true),
            ("http://localhost/jwks", true, true),
            ("http://localhost.evil.example/jwks", false, true),
            ("http://127.0.0.1.evil.example/jwks", false, true),
            ("file:///etc/passwd", false, false),
            ("data:,x", false, false),
        ] {
            let url = Url::parse(url).unwrap();
            assert_eq!(Fetcher::accepts(&url, false), strict, "{url}");
            assert_eq!(Fetcher::accepts(&url, true), lax, "{url}");
        }
    }

    #[test]
    fn a_url_is_named_without_what_may_be_secret_and_not_at_any_length() {
        for (url, expected) in [
            (
                "https://u:secret@auth.example/jwks?key=secret#secret",
                "https://auth.example/jwks",
            ),
            ("https://auth.example:8443", "https://auth.example:8443/"),
            ("http://[::1]:80/a%20b", "http://[::1]/a%20b"),
            ("file:///etc/keys", "file:///etc/keys"),
            ("data:secret", "data:…"),
            ("mailto:u:secret@auth.example", "mailto:…"),
        ] {
            assert_eq!(named(&Url::parse(url).unwrap()), expected, "{url}");
        }
        let long = "a".repeat(100_000);
        for url in [
            format!("https://auth.example/{long}"),
            format!("https://{long}/jwks"),
        ] {
            let named = named(&Url::parse(&url).unwrap());
            assert!(named.len() < 300 && named.ends_with("a…"), "{named}");
        }
    }

    #[test]
    fn the_shortest_age_counts() {
        for (value, expected) in [
            ("max-age=300", Some(300)),
            ("public, MAX-AGE=60, max-age=90", Some(60)),
            ("max-age=60, no-cache", Some(0)),
            ("no-store", Some(0)),
            ("public", None),
            ("max-age=x", None),
            ("max-age=99999999999999999999", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CACHE_CONTROL, value.parse().unwrap());
            assert_eq!(
                max_age(&headers),
                expected.map(Duration::from_secs),
                "{value}"
            );
        }
    }
}
