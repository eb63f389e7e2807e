//! Determines which server to connect to, and connects.
//!
//! The address is determined anew for each connection: a name may resolve to another address by then, and another
//! server may be the primary.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use redis::RedisConnectionInfo;

use super::super::options::{Endpoint, OptionsError, RedisOptions, SentinelOptions};
use super::address::Address;
use super::cluster::Seeds;
use super::dialer::{ConnectError, Connected, Dialer, Protocol, Settings};
use super::fault::TlsSwitch;
use super::sentinel::{PrimaryConfirmation, Sentinels};
use super::url::{mistake, parse, parse_node};

/// Makes connections.
#[derive(Clone)]
pub(super) struct Connector {
    server: Arc<Target>,
    dialer: Dialer,
}

/// How the server's address is determined.
enum Target {
    Fixed(Address),
    Sentinel(SentinelTarget),
    /// The nodes of a cluster.
    Cluster(Seeds),
}

/// A primary that Sentinels monitor.
struct SentinelTarget {
    nodes: Vec<Address>,
    dialer: Dialer,
    master: String,
    confirmed_within: Duration,
    /// Created with the first connection.
    sentinels: OnceLock<Sentinels>,
}

impl SentinelTarget {
    fn sentinels(&self) -> &Sentinels {
        self.sentinels.get_or_init(|| {
            Sentinels::ask_from_now_on(
                &self.nodes,
                &self.dialer,
                &self.master,
                self.confirmed_within,
            )
        })
    }
}

impl Connector {
    pub(super) fn new(options: &RedisOptions) -> Result<Self, OptionsError> {
        let (server, tls, connection) = match &options.endpoint {
            Endpoint::Url(url) => {
                let (address, tls, connection) = parse(url)?;
                if options.tls.is_some() && !tls {
                    return Err(mistake("tls", "goes with a rediss:// URL"));
                }
                let files = tls.then(|| options.tls.clone().unwrap_or_default());
                (Target::Fixed(address), files, connection)
            }
            Endpoint::Sentinel(sentinel) => (
                Target::Sentinel(SentinelTarget::by(sentinel, options.connect_timeout)?),
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
                let server = Target::Cluster(Seeds::new(nodes));
                (server, options.tls.clone(), RedisConnectionInfo::default())
            }
        };
        let dialer = Dialer::new(Settings {
            credentials: options.credentials.clone(),
            tls,
            tls_switch: match options.endpoint {
                Endpoint::Url(_) => TlsSwitch::Scheme,
                Endpoint::Sentinel(_) | Endpoint::Cluster(_) => TlsSwitch::Section,
            },
            connection,
            connect_timeout: options.connect_timeout,
        });
        Ok(Self {
            server: Arc::new(server),
            dialer,
        })
    }

    /// Connects to the server, at its current address.
    pub(super) async fn connect(&self, protocol: Protocol) -> Result<Connected, ConnectError> {
        let at = match &*self.server {
            Target::Fixed(address) => address.clone(),
            Target::Cluster(seeds) => seeds
                .first()
                .ok_or_else(|| ConnectError::Other("no node is configured".to_owned()))?,
            Target::Sentinel(watched) => {
                let sentinels = watched.sentinels();
                let found = tokio::time::timeout(self.connect_timeout(), sentinels.primary()).await;
                let found = found.unwrap_or_else(|_| Err(sentinels.votes().borrow().describe()));
                found.map_err(ConnectError::Other)?
            }
        };
        self.to(at, protocol).await
    }

    pub(super) fn connect_timeout(&self) -> Duration {
        self.dialer.connect_timeout()
    }

    /// Returns the confirmation of the server at an address: whether it is the one to query, now and from now on.
    pub(super) fn confirmation(&self, at: &Address) -> PrimaryConfirmation {
        match &*self.server {
            // In a cluster, the reports of the nodes determine the primaries.
            Target::Fixed(_) | Target::Cluster(_) => PrimaryConfirmation::always_confirmed(),
            Target::Sentinel(watched) => PrimaryConfirmation::watched(
                at.clone(),
                watched.sentinels(),
                watched.confirmed_within,
            ),
        }
    }

    /// Describes what was reached at an address. `software` is the name and version that the server reports.
    pub(super) fn reached(&self, software: &str, at: &Address) -> String {
        let database = match self.dialer.database() {
            0 => String::new(),
            database => format!(", database {database}"),
        };
        let by = match &*self.server {
            Target::Sentinel(watched) => format!(
                ", the primary of `{}` by the word of its Sentinels",
                watched.master
            ),
            Target::Fixed(_) | Target::Cluster(_) => String::new(),
        };
        format!("connected to {software} at {at}{database}{by}")
    }

    /// Returns the nodes to ask for the primaries, if this is a cluster.
    pub(super) fn seeds(&self) -> Option<&Seeds> {
        match &*self.server {
            Target::Cluster(seeds) => Some(seeds),
            Target::Fixed(_) | Target::Sentinel(_) => None,
        }
    }

    /// Returns a connector that connects only to the server at this address, with otherwise the same settings.
    pub(super) fn at(&self, address: Address) -> Self {
        Self {
            server: Arc::new(Target::Fixed(address)),
            dialer: self.dialer.clone(),
        }
    }

    /// Connects to the server at an address, with the same credentials and certificates.
    pub(super) async fn to(
        &self,
        at: Address,
        protocol: Protocol,
    ) -> Result<Connected, ConnectError> {
        self.dialer.to(at, protocol).await
    }

    /// Checks that every file can be read, including those for the Sentinels.
    pub(super) fn check_files(&self) -> Result<(), OptionsError> {
        self.dialer.check_files()?;
        if let Target::Sentinel(watched) = &*self.server {
            let wrong = |e: OptionsError| mistake(format!("sentinel.{}", e.key), e.why);
            watched.dialer.check_files().map_err(wrong)?;
        }
        Ok(())
    }
}

impl SentinelTarget {
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
        let mut nodes: Vec<Address> = Vec::new();
        for (at, node) in options.nodes.iter().enumerate() {
            let address = parse_node("sentinel", at, node)?;
            if nodes.contains(&address) {
                let twice = format!("{address} is named twice: it would have two votes");
                return Err(mistake("sentinel.nodes", twice));
            }
            nodes.push(address);
        }
        let dialer = Dialer::new(Settings {
            credentials: options.credentials.clone(),
            tls: options.tls.clone(),
            tls_switch: TlsSwitch::Section,
            connection: RedisConnectionInfo::default(),
            connect_timeout,
        });
        Ok(Self {
            nodes,
            dialer,
            master: options.master.clone(),
            confirmed_within: options.confirmed_within,
            sentinels: OnceLock::new(),
        })
    }
}
