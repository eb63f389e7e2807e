//! Explains why a connection to Redis cannot be used: the server closed it, or speaks another protocol.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use tokio_rustls::rustls::{AlertDescription, Error as TlsError};

use super::address::Address;
use super::observed_stream::Observer;

/// The first byte of a RESP reply: the type of a value (Redis serialization protocol specification).
const RESP_TYPES: &[u8] = b"+-:$*_#,(!=%|~>";
/// The first byte of a TLS record that a server may send first: an alert or a handshake message (RFC 8446 §5.1).
const TLS_ALERT: u8 = 21;
const TLS_HANDSHAKE: u8 = 22;
const HTTP: &[u8] = b"HTTP/";

/// The protocol that a server is expected to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// RESP, the protocol of Redis.
    Resp,
    /// RESP over TLS.
    RespInTls,
    /// TLS, below the protocol that is expected next.
    Tls,
}

/// Where the configuration says whether TLS is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TlsSwitch {
    /// In the scheme of a URL.
    Scheme,
    /// In a section `tls`, for servers that are not named by a URL.
    Section,
}

impl TlsSwitch {
    /// What to do if a server speaks TLS and we do not.
    const fn on(self) -> &'static str {
        match self {
            Self::Scheme => "use rediss://",
            Self::Section => "configure `tls`",
        }
    }

    /// What to do if we speak TLS and a server does not.
    const fn off(self) -> &'static str {
        match self {
            Self::Scheme => "name its TLS port, or use redis://",
            Self::Section => "name its TLS port, or leave `tls` out",
        }
    }
}

/// The first problem found on one connection, if any.
///
/// A server that requires a client certificate reports that only after we have considered the handshake complete.
/// So the driver task of the connection may read the TLS alert before any caller waits for an answer; the next
/// caller then finds only a closed connection.
#[derive(Clone)]
pub(super) struct Fault {
    tls: TlsSwitch,
    found: Arc<OnceLock<String>>,
    in_handshake: Arc<AtomicBool>,
}

impl Fault {
    pub(super) fn new(tls: TlsSwitch) -> Self {
        Self {
            tls,
            found: Arc::default(),
            in_handshake: Arc::default(),
        }
    }

    /// Returns what is wrong with the connection, and what to do about it.
    pub(super) fn found(&self) -> Option<String> {
        self.found.get().cloned()
    }

    /// Describes that a connection to the server at `at` was not made in time.
    pub(super) fn late(&self, at: &Address) -> String {
        match self.in_handshake.load(Ordering::Relaxed) {
            // A Redis without TLS takes the TLS client hello for the beginning of a command, and waits for the rest.
            true => format!(
                "{at}: no answer to the TLS handshake in time: the server does not seem to speak TLS, or hangs; {}",
                self.tls.off()
            ),
            false => "no answer in time".to_owned(),
        }
    }

    pub(super) fn waits_for_handshake(&self, waits: bool) {
        self.in_handshake.store(waits, Ordering::Relaxed);
    }

    /// Checks the first bytes received, which are empty if the connection was closed.
    fn look_at_first(&self, received: &[u8], expected: Protocol) {
        if let Some(wrong) = judge(received, expected, self.tls) {
            let _ = self.found.set(wrong);
        }
    }

    fn hear_error(&self, error: &io::Error) {
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
            .found
            .set(format!("TLS: the server says {alert:?}; {hint}"));
    }
}

/// Returns what is wrong with the first bytes that a server sends.
fn judge(received: &[u8], expected: Protocol, tls: TlsSwitch) -> Option<String> {
    let is_http = |received: &[u8]| {
        let begun = received.len().min(HTTP.len());
        received.starts_with(b"<") || begun > 0 && received[..begun] == HTTP[..begun]
    };
    match (received.first(), expected) {
        (Some(_), _) if is_http(received) => Some(
            "the server speaks HTTP and not Redis' protocol: is this the right port?".to_owned(),
        ),
        (Some(&(TLS_ALERT | TLS_HANDSHAKE)), Protocol::Tls) => None,
        (_, Protocol::Tls) => Some(format!(
            "the server does not seem to speak TLS; {}",
            tls.off()
        )),
        (None, Protocol::Resp) => Some(format!(
            "connection closed before any answer; does the server expect TLS? Then {}",
            tls.on()
        )),
        (Some(&(TLS_ALERT | TLS_HANDSHAKE)), Protocol::Resp) => {
            Some(format!("the server speaks TLS; {}", tls.on()))
        }
        (Some(first), Protocol::Resp | Protocol::RespInTls) if !RESP_TYPES.contains(first) => {
            Some("the server does not speak Redis' protocol: is this the right port?".to_owned())
        }
        (_, Protocol::Resp | Protocol::RespInTls) => None,
    }
}

/// Watches a stream for problems.
pub(super) struct FaultFinder {
    fault: Fault,
    /// `None` once something has been received.
    expected: Option<Protocol>,
}

impl FaultFinder {
    pub(super) fn new(expected: Protocol, fault: &Fault) -> Self {
        Self {
            fault: fault.clone(),
            expected: Some(expected),
        }
    }
}

impl Observer for FaultFinder {
    fn received(&mut self, read: Result<&[u8], &io::Error>) {
        let first = match read {
            Ok(received) => Some(received),
            // A peer that closes without having read everything resets the connection.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Some(&[][..]),
            Err(_) => None,
        };
        if let Some(first) = first
            && let Some(expected) = self.expected.take()
        {
            self.fault.look_at_first(first, expected);
        }
        if let Err(error) = read {
            self.fault.hear_error(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_first_tells_what_it_speaks() {
        let closed: &[u8] = b"";
        for (received, expected, words) in [
            (&b"+OK\r\n"[..], Protocol::Resp, None),
            (b"-NOAUTH", Protocol::Resp, None),
            (b"%", Protocol::RespInTls, None),
            (b">", Protocol::Resp, None),
            (
                b"\x15\x03",
                Protocol::Resp,
                Some("speaks TLS; use rediss://"),
            ),
            (b"HTTP/1.1 400", Protocol::Resp, Some("speaks HTTP")),
            (b"HTTP/1.1 400", Protocol::RespInTls, Some("speaks HTTP")),
            (b"H", Protocol::Resp, Some("speaks HTTP")),
            (b"<html>", Protocol::Resp, Some("speaks HTTP")),
            (b"SSH-2.0", Protocol::Resp, Some("does not speak Redis")),
            (
                closed,
                Protocol::Resp,
                Some("expect TLS? Then use rediss://"),
            ),
            (closed, Protocol::RespInTls, None),
            (b"\x16\x03", Protocol::Tls, None),
            (b"\x15\x03", Protocol::Tls, None),
            (
                b"-ERR",
                Protocol::Tls,
                Some("not seem to speak TLS; name its TLS port"),
            ),
            (b"HTTP/1.1 400", Protocol::Tls, Some("speaks HTTP")),
            (closed, Protocol::Tls, Some("not seem to speak TLS")),
        ] {
            let found = judge(received, expected, TlsSwitch::Scheme);
            let fits = match (&found, words) {
                (Some(found), Some(words)) => found.contains(words),
                (found, words) => found.is_none() && words.is_none(),
            };
            assert!(fits, "{received:?} {expected:?}: {found:?}");
        }
    }

    #[test]
    fn where_no_url_says_it_the_section_tls_is_named() {
        for (received, expected, words) in [
            (&b""[..], Protocol::Resp, "configure `tls`"),
            (b"-ERR", Protocol::Tls, "leave `tls` out"),
        ] {
            let found = judge(received, expected, TlsSwitch::Section).unwrap_or_default();
            assert!(found.contains(words), "{found}");
        }
    }
}
