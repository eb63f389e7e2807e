//! Makes all connections to Redis.
//!
//! Whatever may change while the process runs is read anew for each connection: the password and the
//! certificates. So the next connection picks up a rotation without a restart.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ProtocolVersion, PushInfo, RedisConnectionInfo, RedisError};
use tokio::task::AbortHandle;
use tokio_rustls::rustls::ClientConfig;

use crate::tls::{self, TlsFiles};

use super::super::options::{Credentials, OptionsError};
use super::address::Address;
use super::error::describe;
use super::fault::{Fault, TlsSwitch};
use super::liveness::ReadCounter;
use super::observed_stream::ObservedStream;
use super::pushes::Pushes;
use super::stream::open;
use super::url::mistake;

/// Connects to servers at given addresses, all with the same credentials and certificates.
#[derive(Clone)]
pub(super) struct Dialer(Arc<Settings>);

/// The settings that do not change.
pub(super) struct Settings {
    pub credentials: Credentials,
    /// Present if TLS is used.
    pub tls: Option<TlsFiles>,
    /// Where TLS is configured.
    pub tls_switch: TlsSwitch,
    /// Database, and user and password if the URL has them.
    pub connection: RedisConnectionInfo,
    pub connect_timeout: Duration,
}

/// The protocol of a connection.
pub(super) enum Protocol {
    Resp2,
    /// With pushes, which are delivered to this queue.
    Resp3(Pushes),
}

/// A new connection.
pub(super) struct Connected {
    pub connection: MultiplexedConnection,
    /// The server's address.
    pub at: Address,
    /// The task that reads and writes the connection; the connection closes when this is dropped.
    pub driver: Driver,
    /// The reads of the connection, as a sign of life.
    pub reads: ReadCounter,
    fault: Fault,
}

impl Connected {
    /// Explains why the first request on the connection failed.
    pub(super) fn describe(&self, error: &RedisError) -> String {
        self.fault.found().unwrap_or_else(|| describe(error))
    }
}

/// The driver task of a connection. Without it, calls on the connection fail.
///
/// The library's driver ends only when every call has been answered, which never happens if the server hangs.
pub(super) struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Why no connection was made.
#[derive(Debug)]
pub(super) enum ConnectError {
    /// The server answered with an error or an invalid reply, or closed the connection.
    Redis(RedisError),
    /// The server could not be reached, or a file could not be read.
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

/// The contents of the configured files.
#[derive(Default)]
struct Secrets {
    password: Option<String>,
    tls: Option<Arc<ClientConfig>>,
}

impl Dialer {
    pub(super) fn new(settings: Settings) -> Self {
        Self(Arc::new(settings))
    }

    pub(super) fn connect_timeout(&self) -> Duration {
        self.0.connect_timeout
    }

    /// Returns the number of the database that is selected on each connection.
    pub(super) fn database(&self) -> i64 {
        self.0.connection.db()
    }

    /// Connects to the server at an address, with the same credentials and certificates.
    pub(super) async fn to(
        &self,
        at: Address,
        protocol: Protocol,
    ) -> Result<Connected, ConnectError> {
        let fault = Fault::new(self.0.tls_switch);
        let made = self.make(&at, protocol, fault.clone());
        match tokio::time::timeout(self.0.connect_timeout, made).await {
            Ok(made) => made,
            Err(_) => Err(ConnectError::Other(fault.late(&at))),
        }
    }

    async fn make(
        &self,
        at: &Address,
        protocol: Protocol,
        fault: Fault,
    ) -> Result<Connected, ConnectError> {
        let secrets = self.secrets().await?;
        let stream = open(at, secrets.tls, &fault)
            .await
            .map_err(|why| ConnectError::Other(format!("{at}: {why}")))?;
        let reads = ReadCounter::default();
        let stream = ObservedStream {
            stream,
            observer: reads.clone(),
        };
        // Nobody needs the library's name on the server, and setting it would require one more permission.
        let mut settings = self.0.connection.clone().set_skip_set_lib_name();
        if let Some(username) = &self.0.credentials.username {
            settings = settings.set_username(username);
        }
        if let Some(password) = secrets.password {
            settings = settings.set_password(password);
        }
        // Callers set the deadlines; a timeout of the library would only add to them.
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
                .map_err(|e| {
                    fault
                        .found()
                        .map_or(ConnectError::Redis(e), ConnectError::Other)
                })?;
        Ok(Connected {
            connection,
            at: at.clone(),
            driver: Driver(tokio::spawn(driver).abort_handle()),
            reads,
            fault,
        })
    }

    /// Reads the current password and certificates.
    async fn secrets(&self) -> Result<Secrets, ConnectError> {
        if self.0.credentials.password_file.is_none() && self.0.tls.is_none() {
            return Ok(Secrets::default());
        }
        let dialer = self.clone();
        let read = tokio::task::spawn_blocking(move || dialer.read_files()).await;
        let gone = |_| ConnectError::Other("shutting down".to_owned());
        Ok(read.map_err(gone)??)
    }

    /// Checks that the password and the certificates can be read; blocks.
    pub(super) fn check_files(&self) -> Result<(), OptionsError> {
        self.read_files().map(drop)
    }

    /// Reads password and certificates; blocks.
    fn read_files(&self) -> Result<Secrets, OptionsError> {
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

fn password(path: &Path) -> Result<String, String> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text.trim_end_matches(['\r', '\n']).to_owned()),
        Err(error) => Err(format!("cannot read {}: {error}", path.display())),
    }
}
