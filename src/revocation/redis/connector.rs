//! The one thing that makes connections to Redis.
//!
//! What may change while the process runs is found out anew for each connection: where the server is, the password, the
//! certificates. So the next connection follows a rotation without a restart.
//!
//! The stream is made here and not by the library, which would read the system's certificate authorities even where a file
//! names others, and which hides why a handshake failed.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::select_ok;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, ConnectionAddr, IntoConnectionInfo as _, ProtocolVersion, PushInfo,
    RedisConnectionInfo, RedisError,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::tls::{self, TlsFiles};

use super::connection::describe;
use super::options::{Credentials, Endpoint, OptionsError, RedisOptions};
use super::pushes::Pushes;

/// Makes connections.
#[derive(Clone)]
pub(super) struct Connector(Arc<Plan>);

/// What does not change.
struct Plan {
    server: Server,
    credentials: Credentials,
    /// Present where TLS is spoken.
    tls: Option<TlsFiles>,
    /// Database, and user and password where the URL has them.
    settings: RedisConnectionInfo,
    connect_timeout: Duration,
}

/// How it is found out where the server is.
enum Server {
    Fixed(Address),
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    Tcp(String, u16),
    Unix(PathBuf),
}

/// What is spoken on a connection.
pub(super) enum Protocol {
    Resp2,
    /// With pushes, and where they go.
    Resp3(Pushes),
}

/// A connection that was made.
pub(super) struct Connected {
    pub connection: MultiplexedConnection,
    /// Which server it is to.
    #[expect(dead_code, reason = "asked for by what follows a primary")]
    pub at: Address,
    /// What reads and writes it: the connection ends when this is dropped.
    pub driver: Driver,
}

/// The task of a connection. Without it, calls on the connection fail.
///
/// The library's own ends only when every call is answered: on a server that hangs, never.
pub(super) struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Why no connection was made.
#[derive(Debug)]
pub(super) enum ConnectError {
    /// The server answered wrongly, or closed.
    Redis(RedisError),
    /// It was not reached, or a file could not be read.
    Other(String),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Redis(error) => f.write_str(&describe(error)),
            Self::Other(why) => f.write_str(why),
        }
    }
}

impl From<OptionsError> for ConnectError {
    fn from(error: OptionsError) -> Self {
        Self::Other(error.why)
    }
}

/// What was read from the files.
pub(super) struct Secrets {
    password: Option<String>,
    tls: Option<Arc<ClientConfig>>,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Connector {
    pub(super) fn new(options: &RedisOptions) -> Result<Self, OptionsError> {
        let Endpoint::Url(url) = &options.endpoint;
        let (address, tls, settings) = parse(url)?;
        if options.tls.is_some() && !tls {
            return Err(mistake("tls", "goes with a rediss:// URL"));
        }
        Ok(Self(Arc::new(Plan {
            server: Server::Fixed(address),
            credentials: options.credentials.clone(),
            tls: tls.then(|| options.tls.clone().unwrap_or_default()),
            settings,
            connect_timeout: options.connect_timeout,
        })))
    }

    /// A connection to the server, wherever that is now.
    pub(super) async fn connect(&self, protocol: Protocol) -> Result<Connected, ConnectError> {
        let Server::Fixed(address) = &self.0.server;
        self.to(address.clone(), protocol).await
    }

    /// A connection to the server at an address, with the same credentials and certificates.
    pub(super) async fn to(
        &self,
        at: Address,
        protocol: Protocol,
    ) -> Result<Connected, ConnectError> {
        match tokio::time::timeout(self.0.connect_timeout, self.make(at, protocol)).await {
            Ok(made) => made,
            Err(_) => Err(ConnectError::Other("no answer in time".to_owned())),
        }
    }

    async fn make(&self, at: Address, protocol: Protocol) -> Result<Connected, ConnectError> {
        let connector = self.clone();
        let secrets = tokio::task::spawn_blocking(move || connector.read_files())
            .await
            .map_err(|_| ConnectError::Other("shutting down".to_owned()))??;
        let stream = open(&at, secrets.tls)
            .await
            .map_err(|why| ConnectError::Other(format!("{at}: {why}")))?;
        // The library's name is of use to nobody, and to say it is one more right that a user would need.
        let mut settings = self.0.settings.clone().set_skip_set_lib_name();
        if let Some(username) = &self.0.credentials.username {
            settings = settings.set_username(username);
        }
        if let Some(password) = secrets.password {
            settings = settings.set_password(password);
        }
        // Callers set the deadlines; a timeout of the library's own would only come on top.
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let (settings, config) = match protocol {
            Protocol::Resp2 => (settings.set_protocol(ProtocolVersion::RESP2), config),
            Protocol::Resp3(pushes) => (
                settings.set_protocol(ProtocolVersion::RESP3),
                config.set_push_sender(move |push: PushInfo| {
                    pushes.receive(&push);
                    Ok::<(), redis::aio::SendError>(())
                }),
            ),
        };
        let (connection, driver) =
            MultiplexedConnection::new_with_config(&settings, stream, config)
                .await
                .map_err(ConnectError::Redis)?;
        Ok(Connected {
            connection,
            at,
            driver: Driver(tokio::spawn(driver).abort_handle()),
        })
    }

    /// Reads password and certificates.
    pub(super) fn read_files(&self) -> Result<Secrets, OptionsError> {
        let password = match &self.0.credentials.password_file {
            Some(path) => Some(password(path).map_err(|why| mistake("password_file", why))?),
            None => None,
        };
        let tls = match &self.0.tls {
            Some(files) => {
                Some(tls::client(files).map_err(|e| mistake(format!("tls.{}", e.file), e.why))?)
            }
            None => None,
        };
        Ok(Secrets { password, tls })
    }
}

fn mistake(key: impl Into<String>, why: impl Into<String>) -> OptionsError {
    OptionsError {
        key: key.into(),
        why: why.into(),
    }
}

/// Address, whether TLS is spoken, and the rest of a URL.
fn parse(url: &str) -> Result<(Address, bool, RedisConnectionInfo), OptionsError> {
    // The library's message can quote the URL, which may hold a password.
    let bad = || mistake("url", "the URL is not one of Redis'");
    let info = url.into_connection_info().map_err(|_| bad())?;
    let settings = info.redis_settings().clone();
    match info.addr() {
        ConnectionAddr::Tcp(host, port) => Ok((Address::Tcp(host.clone(), *port), false, settings)),
        ConnectionAddr::TcpTls { insecure: true, .. } => Err(mistake(
            "url",
            "`#insecure` would take anybody for the server: name its certificate authority in tls.ca_file",
        )),
        ConnectionAddr::TcpTls { host, port, .. } => {
            Ok((Address::Tcp(host.clone(), *port), true, settings))
        }
        ConnectionAddr::Unix(path) => Ok((Address::Unix(path.clone()), false, settings)),
        _ => Err(bad()),
    }
}

fn password(path: &Path) -> Result<String, String> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text.trim_end_matches(['\r', '\n']).to_owned()),
        Err(error) => Err(format!("cannot read {}: {error}", path.display())),
    }
}

async fn open(at: &Address, tls: Option<Arc<ClientConfig>>) -> Result<Box<dyn Stream>, String> {
    let (host, port) = match at {
        Address::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(|e| said(&e))?;
            return Ok(Box::new(stream));
        }
        Address::Tcp(host, port) => (host, *port),
    };
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
    Ok(Box::new(stream))
}

/// An error of the system, in the words that are used for it elsewhere.
fn said(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        _ => error.to_string(),
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
