//! A stream to a server.
//!
//! The stream is made here and not by the `redis` crate, which would load the system's certificate authorities
//! even if a file names others, and hides why a handshake failed. The stream also detects a server that speaks
//! another protocol: the library's error for that does not say what to do.

use std::io;
use std::sync::Arc;

use futures_util::future::select_ok;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use super::address::Address;
use super::fault::{Fault, FaultFinder, Protocol};
use super::observed_stream::ObservedStream;

/// A byte stream of a connection.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Opens a stream to the server at an address, with TLS if there is a configuration for it. Problems are
/// recorded in `fault`, now and later.
pub(super) async fn open(
    at: &Address,
    tls: Option<Arc<ClientConfig>>,
    fault: &Fault,
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
    // Connects to all addresses in parallel: an address without a route must not use up the time of the others.
    let (stream, _) = select_ok(attempts).await.map_err(|e| said(&e))?;
    stream.set_nodelay(true).map_err(|e| said(&e))?;
    let Some(config) = tls else {
        return Ok(Box::new(listened_to(stream, Protocol::Resp, fault)));
    };
    let name = ServerName::try_from(host.clone()).map_err(|e| format!("TLS: {e}"))?;
    fault.waits_for_handshake(true);
    let stream = listened_to(stream, Protocol::Tls, fault);
    let handshake = TlsConnector::from(config).connect(name, stream).await;
    fault.waits_for_handshake(false);
    let stream = handshake.map_err(|e| fault.found().unwrap_or_else(|| format!("TLS: {e}")))?;
    Ok(Box::new(listened_to(stream, Protocol::RespInTls, fault)))
}

fn listened_to<S>(stream: S, expected: Protocol, fault: &Fault) -> ObservedStream<S, FaultFinder> {
    let observer = FaultFinder::new(expected, fault);
    ObservedStream { stream, observer }
}

/// Formats an error of the operating system in the words that are used for it elsewhere.
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
