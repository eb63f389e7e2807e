//! Finding the primaries of a cluster.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::try_join_all;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until};

use super::super::super::{Diagnosis, StoreError};
use super::super::connection;
use super::super::connector::{Address, ConnectError, Connected, Connector, Protocol};
use super::super::inventory::Inventory;
use super::super::server::{ServerInfo, Servers};
use super::same;
use super::told::Told;
use super::topology::Topology;

/// How many nodes are asked beside those that are configured.
const MOST_FOUND: usize = 16;
/// How much later than the first a node may answer and be heard: one that hangs must not keep the others' word back.
const GRACE: Duration = Duration::from_millis(100);
/// The same as long as nobody of the cluster that is known has answered: strangers alone must not decide which one is ours
/// because they were quicker.
const FIRST_GRACE: Duration = Duration::from_secs(1);

/// What is said of a server that is none of a cluster.
pub(in super::super) const NOT_A_CLUSTER: &str =
    "the server is not part of a cluster: name it with `url` instead";

/// Where to ask for the others, and which cluster is ours.
pub(in super::super) struct Seeds {
    configured: Vec<Address>,
    memory: Mutex<Memory>,
}

/// What was last found.
#[derive(Default)]
struct Memory {
    /// Where nodes were.
    nodes: Vec<Address>,
    /// The ids of those who had slots.
    owners: BTreeSet<String>,
    /// Which of the configured nodes are known to be left out.
    left_out: Vec<Address>,
}

impl Seeds {
    pub(in super::super) fn new(configured: Vec<Address>) -> Self {
        Self {
            configured,
            memory: Mutex::default(),
        }
    }

    /// One of them.
    pub(in super::super) fn first(&self) -> Result<Address, ConnectError> {
        let first = self.all().into_iter().next();
        first.ok_or_else(|| ConnectError::Other("no node is configured".to_owned()))
    }

    fn all(&self) -> Vec<Address> {
        // All of both: what a configuration names may be of long ago, and what was found may be gone, to the last.
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let others = memory.nodes.iter();
        let others = others.filter(|a| !self.configured.contains(a));
        self.configured.iter().chain(others).cloned().collect()
    }

    /// How much later than these a node may answer and be heard.
    fn grace(&self, told: &[(Address, Told)]) -> Duration {
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let nodes = told.iter().flat_map(|(_, told)| &told.nodes);
        let known: BTreeSet<_> = nodes.filter_map(|n| memory.owners.get(&n.id)).collect();
        match known.len() * 2 > memory.owners.len() {
            true => GRACE,
            false => FIRST_GRACE,
        }
    }

    /// Of what was told, by whoever was at these addresses, the tables of our cluster. It is remembered.
    pub(super) fn ours(&self, told: Vec<(Address, Told)>) -> Result<Vec<Told>, String> {
        // Locked throughout: feed and router must not choose different clusters at the same time.
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let chosen = same::choose(told, &memory.owners, &self.configured)?;
        memory.left_out.retain(|a| !chosen.from.contains(a));
        let configured = |a: &&Address| self.configured.contains(a);
        for node in chosen.left_out.iter().filter(configured) {
            if !memory.left_out.contains(node) {
                tracing::warn!(
                    %node,
                    "a configured node is left out: it is not in the cluster of the others; take it out of `cluster.nodes`"
                );
                memory.left_out.push(node.clone());
            }
        }
        memory.remember(&chosen.told);
        // One that was reached at two addresses has one voice.
        let (mut seen, mut told) = (BTreeSet::new(), chosen.told);
        told.retain(|t| seen.insert(t.id.clone()));
        Ok(told)
    }
}

impl Memory {
    fn remember(&mut self, told: &[Told]) {
        self.nodes.clear();
        let mut owners = BTreeSet::new();
        for node in told.iter().flat_map(|t| &t.nodes) {
            if node.has_failed {
                continue;
            }
            if self.nodes.len() < MOST_FOUND && !self.nodes.contains(&node.at) {
                self.nodes.push(node.at.clone());
            }
            if !node.slots.is_empty() {
                owners.insert(node.id.clone());
            }
        }
        // A cluster in which nobody has slots any more is still not another one.
        if !owners.is_empty() {
            self.owners = owners;
        }
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

/// What the nodes that are known and answer soon tell, those of our cluster.
pub(super) async fn told(connector: &Connector) -> Result<Vec<Told>, String> {
    let Some(seeds) = connector.seeds() else {
        return Err("no nodes of a cluster are configured".to_owned());
    };
    let asked = seeds.all().into_iter().map(async |at| {
        let told = ask(connector, at.clone()).await?;
        Ok::<_, String>((at, told))
    });
    let mut asked: FuturesUnordered<_> = asked.collect();
    let (mut told, mut why) = (Vec::new(), "no answer".to_owned());
    let mut until = None::<Instant>;
    loop {
        let end = until.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
        tokio::select! {
            answer = asked.next() => match answer {
                Some(Ok(answer)) => {
                    told.push(answer);
                    let end = Instant::now() + seeds.grace(&told);
                    until = Some(until.map_or(end, |until| until.min(end)));
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
    seeds.ours(told)
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

/// A connection to each primary.
pub(in super::super) async fn primaries(
    connector: &Connector,
) -> Result<Vec<Connected>, StoreError> {
    let topology = discover(connector).await.map_err(not_found)?;
    let made = topology.primaries.iter().map(async |primary| {
        let made = connector.to(primary.at.clone(), Protocol::Resp2).await;
        made.map_err(|e| StoreError::Unavailable(e.to_string()))
    });
    try_join_all(made).await
}

fn not_found(why: String) -> StoreError {
    match why == NOT_A_CLUSTER {
        true => StoreError::Failed(why),
        false => StoreError::Unavailable(why),
    }
}

/// Why a revocation list could be lost by one of the primaries.
pub(in super::super) async fn diagnose(
    connector: &Connector,
    issuers: &[String],
) -> Result<Diagnosis, StoreError> {
    let topology = discover(connector).await.map_err(not_found)?;
    let asked = topology.primaries.iter().map(async |primary| {
        let made = connector.to(primary.at.clone(), Protocol::Resp2).await;
        let mut made = made.map_err(|e| StoreError::Unavailable(e.to_string()))?;
        let reading = ServerInfo::read(&mut made.connection);
        let info = match tokio::time::timeout(connector.connect_timeout(), reading).await {
            Ok(Ok(info)) => info.of_several(format!("{}: ", primary.at), true),
            Ok(Err(error)) => return Err(StoreError::Unavailable(made.describe(&error))),
            Err(_) => return Err(StoreError::Timeout),
        };
        let counted = Inventory::take(&mut made.connection, issuers).await;
        let counted = counted.map_err(|error| StoreError::Unavailable(made.describe(&error)))?;
        Ok((info, counted))
    });
    let (servers, counted): (Vec<_>, Vec<_>) = try_join_all(asked).await?.into_iter().unzip();
    let mut diagnosis = Servers(servers).diagnosis();
    let all = counted.iter().fold(Inventory::default(), Inventory::with);
    diagnosis.notes.extend(all.notes());
    if !topology.is_whole() {
        diagnosis.warnings.push(
            "some slots of the cluster belong to no node: with them every check fails".to_owned(),
        );
    }
    Ok(diagnosis)
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
            slots: vec![(n, n)],
        };
        let seeds = Seeds::new(vec![at(1), at(2)]);
        let told = Told {
            id: "2".to_owned(),
            nodes: (2..100).map(node).collect(),
            ..Told::default()
        };
        assert_eq!(seeds.ours(vec![(at(2), told)]).unwrap().len(), 1);
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

    #[test]
    fn a_node_of_another_cluster_at_a_known_address_is_neither_believed_nor_asked_for_others() {
        let at = |n: u16| Address::Tcp("redis".to_owned(), n);
        // Of three primaries with ids that start so, as the one at `port` tells it.
        let table = |of: &str, port: u16, epoch: u64| {
            let node = |n: u16| ToldNode {
                id: format!("{of}{n}"),
                at: at(if of == "ours" { n } else { n + 10 }),
                is_primary: true,
                has_failed: false,
                epoch,
                slots: vec![((n - 1) * 5461, if n == 3 { 16383 } else { n * 5461 - 1 })],
            };
            let told = Told {
                id: format!("{of}{port}"),
                is_primary: true,
                works: true,
                nodes: (1..=3).map(node).collect(),
            };
            (at(port), told)
        };
        for configured in [vec![at(1), at(2), at(3)], vec![at(1), at(3)], vec![at(3)]] {
            let seeds = Seeds::new(configured);
            let ours = (1..=3).map(|n| table("ours", n, 1)).collect();
            assert_eq!(seeds.ours(ours).unwrap().len(), 3);
            let told = [table("theirs", 3, 100), table("ours", 1, 1)];
            let told = seeds.ours(told.to_vec()).unwrap();
            let topology = Topology::merge(told.iter());
            assert!(topology.is_whole());
            assert!(topology.primaries.iter().all(|p| p.id.starts_with("ours")));
            assert!(!seeds.all().contains(&at(11)));
        }
    }
}
