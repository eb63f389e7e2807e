//! The one thing that makes connections to Redis.
//!
//! What may change while the process runs is found out anew for each connection: where the server is, the password, the
//! certificates. So the next connection follows a rotation without a restart.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, ConnectionAddr, IntoConnectionInfo as _, ProtocolVersion, PushInfo,
    RedisConnectionInfo, RedisError,
};
use tokio::task::AbortHandle;
use tokio_rustls::rustls::ClientConfig;

use crate::tls::{self, TlsFiles};

use super::cluster::Seeds;
use super::connection::describe;
use super::options::{Credentials, Endpoint, OptionsError, RedisOptions, SentinelOptions};
use super::pulse::{Attentive, Heard};
use super::pushes::Pushes;
use super::sentinel::{Sentinels, Standing};
use super::stream::{Fault, open};

pub(super) use super::stream::Address;

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
    Sentinel(Watched),
    /// Many servers.
    Cluster(Seeds),
}

/// A primary that Sentinels watch.
struct Watched {
    nodes: Vec<(String, Connector)>,
    master: String,
    confirmed_within: Duration,
    /// From the first connection on.
    sentinels: OnceLock<Sentinels>,
}

impl Watched {
    fn sentinels(&self) -> &Sentinels {
        self.sentinels.get_or_init(|| {
            Sentinels::ask_from_now_on(&self.nodes, &self.master, self.confirmed_within)
        })
    }
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
    pub at: Address,
    /// What reads and writes it: the connection ends when this is dropped.
    pub driver: Driver,
    /// What is heard on it.
    pub heard: Heard,
    fault: Fault,
}

impl Connected {
    /// Why the first of what was asked has failed.
    pub(super) fn describe(&self, error: &RedisError) -> String {
        self.fault.told().unwrap_or_else(|| describe(error))
    }
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
#[derive(Default)]
struct Secrets {
    password: Option<String>,
    tls: Option<Arc<ClientConfig>>,
}

impl Connector {
    pub(super) fn new(options: &RedisOptions) -> Result<Self, OptionsError> {
        let (server, tls, settings) = match &options.endpoint {
            Endpoint::Url(url) => {
                let (address, tls, settings) = parse(url)?;
                if options.tls.is_some() && !tls {
                    return Err(mistake("tls", "goes with a rediss:// URL"));
                }
                let files = tls.then(|| options.tls.clone().unwrap_or_default());
                (Server::Fixed(address), files, settings)
            }
            Endpoint::Sentinel(sentinel) => (
                Server::Sentinel(Watched::by(sentinel, options.connect_timeout)?),
                options.tls.clone(),
                RedisConnectionInfo::default().set_db(sentinel.database),
            ),
            Endpoint::Cluster(nodes) => {
                if nodes.is_empty() {
                    return Err(mistake(
                        "cluster.nodes",
                        "missing: name at least one node, as host:port",
                    ));
                }
                let nodes = nodes.iter().enumerate();
                let nodes = nodes.map(|(at, node)| parse_node("cluster", at, node));
                let nodes = nodes.collect::<Result<_, _>>()?;
                let server = Server::Cluster(Seeds::new(nodes));
                (server, options.tls.clone(), RedisConnectionInfo::default())
            }
        };
        Ok(Self(Arc::new(Plan {
            server,
            credentials: options.credentials.clone(),
            tls,
            settings,
            connect_timeout: options.connect_timeout,
        })))
    }

    /// A connection to the server, wherever that is now.
    pub(super) async fn connect(&self, protocol: Protocol) -> Result<Connected, ConnectError> {
        let at = match &self.0.server {
            Server::Fixed(address) => address.clone(),
            Server::Cluster(seeds) => seeds.first()?,
            Server::Sentinel(watched) => {
                let sentinels = watched.sentinels();
                let found = tokio::time::timeout(self.0.connect_timeout, sentinels.primary()).await;
                let found = found.unwrap_or_else(|_| Err(sentinels.votes().borrow().describe()));
                found.map_err(ConnectError::Other)?
            }
        };
        self.to(at, protocol).await
    }

    pub(super) fn connect_timeout(&self) -> Duration {
        self.0.connect_timeout
    }

    /// Whether the server at an address is the one to be asked, now and from now on.
    pub(super) fn standing(&self, at: &Address) -> Standing {
        match &self.0.server {
            // Of a cluster, the nodes know.
            Server::Fixed(_) | Server::Cluster(_) => Standing::undoubted(),
            Server::Sentinel(watched) => {
                Standing::watched(at.clone(), watched.sentinels(), watched.confirmed_within)
            }
        }
    }

    /// Where to ask for the primaries of a cluster, where there is one.
    pub(super) fn seeds(&self) -> Option<&Seeds> {
        match &self.0.server {
            Server::Cluster(seeds) => Some(seeds),
            Server::Fixed(_) | Server::Sentinel(_) => None,
        }
    }

    /// Makes connections to the server at this address only, and otherwise as this one does.
    pub(super) fn at(&self, address: Address) -> Self {
        Self(Arc::new(Plan {
            server: Server::Fixed(address),
            credentials: self.0.credentials.clone(),
            tls: self.0.tls.clone(),
            settings: self.0.settings.clone(),
            connect_timeout: self.0.connect_timeout,
        }))
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
        let secrets = self.secrets().await?;
        let fault = Fault::default();
        let stream = open(&at, secrets.tls, fault.clone())
            .await
            .map_err(|why| ConnectError::Other(format!("{at}: {why}")))?;
        let heard = Heard::default();
        let stream = Attentive {
            stream,
            heard: heard.clone(),
        };
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
                .map_err(|e| {
                    fault
                        .told()
                        .map_or(ConnectError::Redis(e), ConnectError::Other)
                })?;
        Ok(Connected {
            connection,
            at,
            driver: Driver(tokio::spawn(driver).abort_handle()),
            heard,
            fault,
        })
    }

    /// Password and certificates as they are now.
    async fn secrets(&self) -> Result<Secrets, ConnectError> {
        if self.0.credentials.password_file.is_none() && self.0.tls.is_none() {
            return Ok(Secrets::default());
        }
        let connector = self.clone();
        let read = tokio::task::spawn_blocking(move || connector.read_files()).await;
        let gone = |_| ConnectError::Other("shutting down".to_owned());
        Ok(read.map_err(gone)??)
    }

    /// Reads password and certificates.
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

    /// Whether every file can be read, those for the Sentinels among them.
    pub(super) fn check_files(&self) -> Result<(), OptionsError> {
        self.read_files()?;
        if let Server::Sentinel(watched) = &self.0.server
            // They all have the same.
            && let Some((_, sentinel)) = watched.nodes.first()
        {
            let wrong = |e: OptionsError| mistake(format!("sentinel.{}", e.key), e.why);
            sentinel.read_files().map_err(wrong)?;
        }
        Ok(())
    }
}

impl Watched {
    fn by(options: &SentinelOptions, connect_timeout: Duration) -> Result<Self, OptionsError> {
        if options.master.is_empty() {
            return Err(mistake(
                "sentinel.master",
                "missing: the name in `sentinel monitor`",
            ));
        }
        if options.nodes.is_empty() {
            return Err(mistake(
                "sentinel.nodes",
                "missing: all Sentinels, as host:port",
            ));
        }
        let mut nodes: Vec<(String, Connector)> = Vec::new();
        for (at, node) in options.nodes.iter().enumerate() {
            let address = parse_node("sentinel", at, node)?;
            let name = address.to_string();
            if nodes.iter().any(|(other, _)| *other == name) {
                let twice = format!("{name} is named twice: it would have two votes");
                return Err(mistake("sentinel.nodes", twice));
            }
            let plan = Plan {
                server: Server::Fixed(address),
                credentials: options.credentials.clone(),
                tls: options.tls.clone(),
                settings: RedisConnectionInfo::default(),
                connect_timeout,
            };
            nodes.push((name, Connector(Arc::new(plan))));
        }
        Ok(Self {
            nodes,
            master: options.master.clone(),
            confirmed_within: options.confirmed_within,
            sentinels: OnceLock::new(),
        })
    }
}

fn mistake(key: impl Into<String>, why: impl Into<String>) -> OptionsError {
    OptionsError {
        key: key.into(),
        why: why.into(),
    }
}

/// The address of a node of the section `of`. What stands there instead of one is not quoted: it may hold a password.
fn parse_node(of: &str, at: usize, node: &str) -> Result<Address, OptionsError> {
    let key = format!("{of}.nodes.{at}");
    Address::parse(node).ok_or_else(|| mistake(key, "not host:port, such as redis-1.example:6379"))
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
