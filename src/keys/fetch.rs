//! One HTTP GET for key material, within limits: time, size, redirects, schemes.
//!
//! A new connection each time: a set is fetched every few minutes, and a pooled connection would be one more thing
//! that dies unnoticed. HTTP proxies are not used.

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

/// No key set is larger.
pub const MAX_BODY_BYTES: usize = 1 << 20;
const MAX_REDIRECTS: usize = 3;

/// Fetches documents.
pub struct Fetcher {
    timeout: Duration,
    allow_http: bool,
    files: TlsFiles,
    tls: Option<Arc<ClientConfig>>,
    redirect_hosts: Vec<Host>,
}

/// A document and how long its server says that it holds.
#[derive(Debug)]
pub struct Fetched {
    pub(super) body: Vec<u8>,
    /// `max-age` of `Cache-Control`; zero for `no-cache` and `no-store` (RFC 9111 §5.2.2).
    pub(super) max_age: Option<Duration>,
}

/// Why nothing was fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The server cannot be reached, or the connection broke.
    #[error("cannot connect to {0}: {1}")]
    Unreachable(String, String),
    /// No trusted TLS.
    #[error("no trusted TLS connection to {0}: {1}")]
    Tls(String, String),
    /// Not within the time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// Not 200.
    #[error("the server answered {0}")]
    Status(u16),
    /// More than [`MAX_BODY_BYTES`].
    #[error("the answer is larger than {MAX_BODY_BYTES} bytes")]
    TooLarge,
    /// Too many redirects, or one that leads from https to something else.
    #[error("a redirect that is not followed: {0}")]
    Redirect(&'static str),
    /// A redirect to a host or port of another's.
    #[error(
        "a redirect to {0} that is not followed: name the host in `keys.redirect_hosts` if its keys are the issuer's"
    )]
    Elsewhere(String),
    /// The scheme is not allowed.
    #[error("{0} is not fetched without TLS")]
    Insecure(String),
    /// What was fetched is not what it should be.
    #[error("{0}")]
    Invalid(String),
}

impl FetchError {
    /// Every label value.
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

    /// The metric label.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Unreachable(..) => Self::LABELS[0],
            Self::Tls(..) => Self::LABELS[1],
            Self::Timeout(_) => Self::LABELS[2],
            Self::Status(_) => Self::LABELS[3],
            Self::TooLarge => Self::LABELS[4],
            Self::Redirect(_) | Self::Elsewhere(_) => Self::LABELS[5],
            Self::Insecure(_) => Self::LABELS[6],
            Self::Invalid(_) => Self::LABELS[7],
        }
    }
}

impl Fetcher {
    /// A fetcher that gives up after `timeout`, redirects and body included. Plain HTTP is spoken only with this
    /// machine, unless `allow_http`. The error says why no TLS could ever be spoken.
    pub fn new(
        timeout: Duration,
        allow_http: bool,
        ca_file: Option<PathBuf>,
    ) -> Result<Self, String> {
        let files = TlsFiles::trusting(ca_file);
        let tls = match (tls::client(&files), allow_http, &files.ca_file) {
            (Ok(config), ..) => Some(config),
            // An image without certificate authorities need not have them if all is plain HTTP.
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

    /// The same, but follows redirects to these hosts too, and not only within host and port of the URL.
    pub fn with_redirect_hosts(self, redirect_hosts: Vec<Host>) -> Self {
        Self {
            redirect_hosts,
            ..self
        }
    }

    /// Whether this scheme is spoken with this host.
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
        tokio::time::timeout(self.timeout, self.follow(url))
            .await
            .unwrap_or(Err(FetchError::Timeout(self.timeout)))
    }

    /// Whether a redirect leads to where keys of the issuer may be. An open redirect on its host, as for logins, would else make
    /// anybody's keys its own.
    fn stays(&self, start: &Url, next: &Url) -> bool {
        let named = |host: Host<&str>| self.redirect_hosts.iter().any(|h| *h == host.to_owned());
        next.origin() == start.origin() || next.host().is_some_and(named)
    }

    async fn follow(&self, start: &Url) -> Result<Fetched, FetchError> {
        let mut url = start.clone();
        for _ in 0..=MAX_REDIRECTS {
            if !Self::accepts(&url, self.allow_http) {
                return Err(FetchError::Insecure(origin(&url)));
            }
            // The task that drives the connection ends with this set.
            let mut connection = JoinSet::new();
            let response = self.request(&url, &mut connection).await?;
            match response.status().as_u16() {
                200 => return read(response).await,
                301 | 302 | 303 | 307 | 308 => {
                    let location = response.headers().get(header::LOCATION);
                    let next = location
                        .and_then(|l| l.to_str().ok())
                        .and_then(|l| url.join(l).ok())
                        .ok_or(FetchError::Redirect("no usable location"))?;
                    if next.scheme() != url.scheme() {
                        return Err(FetchError::Redirect("to another scheme"));
                    }
                    if !self.stays(start, &next) {
                        return Err(FetchError::Elsewhere(origin(&next)));
                    }
                    url = next;
                }
                status => return Err(FetchError::Status(status)),
            }
        }
        Err(FetchError::Redirect("too many"))
    }

    async fn request(
        &self,
        url: &Url,
        connection: &mut JoinSet<()>,
    ) -> Result<Response<Incoming>, FetchError> {
        let failed =
            |e: &dyn std::fmt::Display| FetchError::Unreachable(origin(url), e.to_string());
        let host = url.host_str().unwrap_or_default();
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let port = url.port_or_known_default().unwrap_or_default();
        let stream = TcpStream::connect((name, port))
            .await
            .map_err(|e| failed(&e))?;
        if url.scheme() != "https" {
            return send(stream, url, connection).await;
        }
        let untrusted = |e: &dyn std::fmt::Display| FetchError::Tls(origin(url), e.to_string());
        let config = match (&self.files.ca_file, &self.tls) {
            (None, Some(config)) => Arc::clone(config),
            // Read anew: authorities are rotated too.
            _ => tls::client(&self.files).map_err(|e| untrusted(&e))?,
        };
        let server = ServerName::try_from(name.to_owned()).map_err(|e| untrusted(&e))?;
        let stream = TlsConnector::from(config)
            .connect(server, stream)
            .await
            .map_err(|e| untrusted(&e))?;
        send(stream, url, connection).await
    }
}

async fn send<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
    url: &Url,
    connection: &mut JoinSet<()>,
) -> Result<Response<Incoming>, FetchError> {
    let failed = |e: &dyn std::fmt::Display| FetchError::Unreachable(origin(url), e.to_string());
    let (mut sender, driver) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| failed(&e))?;
    connection.spawn(async move {
        // Its failure shows in the answer.
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
        .map_err(|e| failed(&e))?;
    sender.send_request(request).await.map_err(|e| failed(&e))
}

async fn read(response: Response<Incoming>) -> Result<Fetched, FetchError> {
    let max_age = max_age(response.headers());
    match Limited::new(response.into_body(), MAX_BODY_BYTES)
        .collect()
        .await
    {
        Ok(body) => Ok(Fetched {
            body: body.to_bytes().to_vec(),
            max_age,
        }),
        Err(error) if error.is::<LengthLimitError>() => Err(FetchError::TooLarge),
        Err(error) => Err(FetchError::Invalid(format!(
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

/// Scheme, host and port: what may stand in a log. A path or a query may hold an access key.
pub(super) fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
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
