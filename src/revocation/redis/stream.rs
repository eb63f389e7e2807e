//! Where a server is, and a stream to it.
//!
//! The stream is made here and not by the library, which would read the system's certificate authorities even where a file
//! names others, and which hides why a handshake failed.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use futures_util::future::select_ok;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{AlertDescription, ClientConfig, Error as TlsError};

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    Tcp(String, u16),
    Unix(PathBuf),
}

impl Address {
    /// From `host:port`, with brackets around an IPv6 address.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let inner = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let host = match inner {
            Some(address) => address,
            None if host.contains(':') => return None,
            None => host,
        };
        let port = port.parse().ok().filter(|port| *port != 0)?;
        (!host.is_empty()).then(|| Self::Tcp(host.to_owned(), port))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// What a connection reads and writes.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A stream to the server at an address, with TLS where there is a configuration of it.
pub(super) async fn open(
    at: &Address,
    tls: Option<Arc<ClientConfig>>,
    fault: Fault,
) -> Result<Box<dyn Stream>, String> {
    let (host, port) = match at {
        Address::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(|e| said(&e))?;
            return Ok(Box::new(stream));
        }
        Address::Tcp(host, port) => (host, *port),
    };
    #[cfg(feature = "simulation")]
    if let Some(opening) = crate::simulation::connect(host, port) {
        let stream = opening.await.map_err(|e| said(&e))?;
        return Ok(Box::new(stream));
    }
    let found = tokio::net::lookup_host((host.as_str(), port)).await;
    let attempts: Vec<_> = found
        .map_err(|e| format!("no address: {e}"))?
        .map(|address| Box::pin(TcpStream::connect(address)))
        .collect();
    if attempts.is_empty() {
        return Err("no address".to_owned());
    }
    // All at once: one that is not routed must not cost the time of the others.
    let (stream, _) = select_ok(attempts).await.map_err(|e| said(&e))?;
    stream.set_nodelay(true).map_err(|e| said(&e))?;
    let Some(config) = tls else {
        return Ok(Box::new(stream));
    };
    let name = ServerName::try_from(host.clone()).map_err(|e| format!("TLS: {e}"))?;
    let handshake = TlsConnector::from(config).connect(name, stream);
    let stream = handshake.await.map_err(|e| format!("TLS: {e}"))?;
    Ok(Box::new(Telling { stream, fault }))
}

/// Why the other side broke off, if it has.
///
/// A server that wants a certificate says so only when we have taken the handshake for done. Whoever reads that may be the
/// task of a connection that has nobody to tell it to, yet; and whoever then asks something finds the connection closed.
#[derive(Clone, Default)]
pub(super) struct Fault(Arc<OnceLock<String>>);

impl Fault {
    pub(super) fn told(&self) -> Option<String> {
        self.0.get().cloned()
    }

    fn hear(&self, error: &io::Error) {
        let tls = error.get_ref().and_then(|e| e.downcast_ref::<TlsError>());
        let Some(TlsError::AlertReceived(alert)) = tls else {
            return;
        };
        let hint = match alert {
            AlertDescription::CertificateRequired => {
                "it wants a certificate of ours: tls.cert_file and tls.key_file"
            }
            _ => "see the server's own log",
        };
        let _ = self
            .0
            .set(format!("TLS: the server says {alert:?}; {hint}"));
    }
}

/// A stream over TLS that remembers why it ended.
struct Telling<S> {
    stream: S,
    fault: Fault,
}

impl<S: Stream> AsyncRead for Telling<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, into));
        Poll::Ready(read.inspect_err(|e| self.fault.hear(e)))
    }
}

impl<S: Stream> AsyncWrite for Telling<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// An error of the system, in the words that are used for it elsewhere.
fn said(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_back_as_it_is_written_and_needs_a_port() {
        for text in ["redis:6379", "127.0.0.1:1", "[::1]:26379"] {
            assert_eq!(
                Address::parse(text).map(|a| a.to_string()).as_deref(),
                Some(text)
            );
        }
        for text in [
            "",
            "redis",
            "redis:",
            ":1",
            "redis:0",
            "redis:65536",
            "::1:26379",
            "[::1]",
        ] {
            assert_eq!(Address::parse(text), None, "{text}");
        }
    }
}
