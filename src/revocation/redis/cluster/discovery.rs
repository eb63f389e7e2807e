//! Finding the primaries of a cluster.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::try_join_all;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until};

use super::super::super::StoreError;
use super::super::connection;
use super::super::connector::{Address, ConnectError, Connector, Protocol};
use super::super::server::{ServerInfo, Servers};
use super::told::Told;
use super::topology::Topology;

/// How many nodes are asked beside those that are configured.
const MOST_FOUND: usize = 16;
/// How much later than the first a node may answer and be heard: one that hangs must not keep the others' word back.
const GRACE: Duration = Duration::from_millis(100);

/// What is said of a server that is none of a cluster.
pub(in super::super) const NOT_A_CLUSTER: &str =
    "the server is not part of a cluster: name it with `url` instead";

/// Where to ask for the others.
pub(in super::super) struct Seeds {
    configured: Vec<Address>,
    /// Where nodes were when they were last found.
    found: Mutex<Vec<Address>>,
}

impl Seeds {
    pub(in super::super) fn new(configured: Vec<Address>) -> Self {
        Self {
            configured,
            found: Mutex::default(),
        }
    }

    /// One of them.
    pub(in super::super) fn first(&self) -> Result<Address, ConnectError> {
        let first = self.all().into_iter().next();
        first.ok_or_else(|| ConnectError::Other("no node is configured".to_owned()))
    }

    fn all(&self) -> Vec<Address> {
        // All of both: what a configuration names may be of long ago, and what was found may be gone, to the last.
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let others = found.iter().filter(|a| !self.configured.contains(a));
        self.configured.iter().chain(others).cloned().collect()
    }

    fn remember(&self, told: &[Told]) {
        let nodes = told.iter().flat_map(|t| &t.nodes);
        let mut found: Vec<Address> = Vec::new();
        for node in nodes.filter(|n| !n.has_failed) {
            if found.len() < MOST_FOUND && !found.contains(&node.at) {
                found.push(node.at.clone());
            }
        }
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = found;
    }
}

/// Asks the nodes that are known for the primaries. The error says what the last one that failed had met.
pub(in super::super) async fn discover(connector: &Connector) -> Result<Topology, String> {
    let told = told(connector).await?;
    let topology = Topology::merge(told.iter());
    if topology.primaries.is_empty() {
        return Err("no node knows a primary".to_owned());
    }
    Ok(topology)
}

/// What the nodes that are known and answer soon tell.
pub(super) async fn told(connector: &Connector) -> Result<Vec<Told>, String> {
    let Some(seeds) = connector.seeds() else {
        return Err("no nodes of a cluster are configured".to_owned());
    };
    let asked = seeds.all().into_iter().map(|at| ask(connector, at));
    let mut asked: FuturesUnordered<_> = asked.collect();
    let (mut told, mut why) = (Vec::new(), "no answer".to_owned());
    let mut until = None::<Instant>;
    loop {
        let end = until.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
        tokio::select! {
            answer = asked.next() => match answer {
                Some(Ok(answer)) => {
                    told.push(answer);
                    until.get_or_insert_with(|| Instant::now() + GRACE);
                }
                Some(Err(error)) => why = error,
                None => break,
            },
            () = sleep_until(end), if until.is_some() => break,
        }
    }
    drop(asked);
    if told.is_empty() {
        return Err(why);
    }
    seeds.remember(&told);
    Ok(told)
}

async fn ask(connector: &Connector, at: Address) -> Result<Told, String> {
    let made = connector.to(at.clone(), Protocol::Resp2).await;
    let mut made = made.map_err(|e| e.to_string())?;
    let told = Told::ask(&mut made.connection, &at);
    match tokio::time::timeout(connector.connect_timeout(), told).await {
        Ok(Ok(told)) => Ok(told),
        Ok(Err(error)) => Err(match connection::server_code(&error).as_deref() {
            Some("ERR") => NOT_A_CLUSTER.to_owned(),
            _ => format!("{at}: {}", made.describe(&error)),
        }),
        Err(_) => Err(format!("{at}: no answer in time")),
    }
}

/// Why a revocation list could be lost by one of the primaries.
pub(in super::super) async fn diagnose(connector: &Connector) -> Result<Vec<String>, StoreError> {
    let topology = discover(connector).await.map_err(|why| {
        if why == NOT_A_CLUSTER {
            StoreError::Failed(why)
        } else {
            StoreError::Unavailable(why)
        }
    })?;
    let asked = topology.primaries.iter().map(async |primary| {
        let made = connector.to(primary.at.clone(), Protocol::Resp2).await;
        let mut made = made.map_err(|e| StoreError::Unavailable(e.to_string()))?;
        let reading = ServerInfo::read(&mut made.connection);
        match tokio::time::timeout(connector.connect_timeout(), reading).await {
            Ok(Ok(info)) => Ok(info.of_several(format!("{}: ", primary.at), true)),
            Ok(Err(error)) => Err(StoreError::Unavailable(made.describe(&error))),
            Err(_) => Err(StoreError::Timeout),
        }
    });
    let mut warnings = Servers(try_join_all(asked).await?).warnings();
    if !topology.is_whole() {
        warnings.push(
            "some slots of the cluster belong to no node: with them every check fails".to_owned(),
        );
    }
    Ok(warnings)
}

#[cfg(test)]
mod tests {
    use super::super::told::ToldNode;
    use super::*;

    #[test]
    fn what_is_configured_is_asked_however_much_has_been_found() {
        let at = |n: u16| Address::Tcp("redis".to_owned(), n);
        let node = |n: u16| ToldNode {
            id: n.to_string(),
            at: at(n),
            is_primary: true,
            has_failed: false,
            epoch: 1,
            slots: Vec::new(),
        };
        let seeds = Seeds::new(vec![at(1), at(2)]);
        seeds.remember(&[Told {
            nodes: (2..100).map(node).collect(),
            ..Told::default()
        }]);
        let asked = seeds.all();
        assert!(
            asked.contains(&at(1)) && asked.contains(&at(2)),
            "{asked:?}"
        );
        assert!(
            asked.len() > 2 && asked.len() <= 2 + MOST_FOUND,
            "{asked:?}"
        );
    }
}
