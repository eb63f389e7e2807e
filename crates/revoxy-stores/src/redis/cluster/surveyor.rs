//! Continuously determines the slot owners, for direct reads and writes: see `router.rs`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::clock::Moment;

use super::super::address::Address;
use super::super::connection::Connection;
use super::super::connector::Connector;
use super::discovery;
use super::node_report::NodeReport;
use super::topology::Topology;
use super::trust_log::TrustLog;

/// The minimum pause between two surveys of the cluster.
const PAUSE: Duration = Duration::from_millis(20);
/// How long a node may take to send its report.
const TELLING: Duration = Duration::from_millis(500);

/// The slot owners, and the connections to them.
pub(super) struct Map {
    pub topology: Topology,
    /// The connections, in the order of the primaries.
    pub nodes: Vec<Arc<Connection>>,
    /// When the last queries were sent in whose answers a majority of primaries confirmed these primaries.
    pub confirmed: Option<Moment>,
}

/// The task that keeps the map current.
pub(super) struct Surveyor {
    pub connector: Connector,
    pub identify: bool,
    pub every: Duration,
    pub sender: watch::Sender<Option<Arc<Map>>>,
    pub look: Arc<Notify>,
    pub last_error: Arc<Mutex<String>>,
}

impl Surveyor {
    pub(super) async fn run(self) {
        let mut trust_log = TrustLog::default();
        loop {
            match self.survey().await {
                Ok((map, unconfirmed)) => {
                    self.sender.send_replace(Some(Arc::new(map)));
                    let is_due = trust_log.should_log(unconfirmed.is_some(), Moment::now());
                    if let Some(why) = unconfirmed {
                        if is_due {
                            tracing::warn!(why, "the primaries of the cluster are not confirmed");
                        }
                        // Reported to callers that time out while they wait for the confirmation.
                        *self.last_error() = why;
                    }
                }
                Err(error) => {
                    let mut last = self.last_error();
                    if *last != error {
                        tracing::warn!(error, "cannot find the cluster's primaries; trying again");
                        *last = error;
                    }
                }
            }
            tokio::time::sleep(PAUSE).await;
            let _ = timeout(self.every, self.look.notified()).await;
        }
    }

    fn last_error(&self) -> MutexGuard<'_, String> {
        self.last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the current map, and why it is not confirmed, if it is not.
    async fn survey(&self) -> Result<(Map, Option<String>), String> {
        let before = self.sender.borrow().clone();
        let asked = Moment::now();
        let answers = match &before {
            Some(map) => ask_all(map).await,
            None => Vec::new(),
        };
        // If another node answers at a primary's address, the other primaries do not know that yet, and would
        // redirect us to that address.
        let displaced = before.as_ref().and_then(|map| displaced(map, &answers));
        let seeds = self.connector.seeds();
        let ours = seeds.and_then(|seeds| seeds.ours(answers).ok());
        let mut reports = ours.unwrap_or_default();
        let most = |reports: &[NodeReport], of: &Topology| reports.len() * 2 > of.primaries.len();
        // The known nodes may all be the wrong ones: fall back to discovery.
        if !before
            .as_ref()
            .is_some_and(|map| most(&reports, &map.topology))
        {
            reports = discovery::reports(&self.connector).await?;
        }
        let topology = Topology::merge(reports.iter());
        let is_owner = |t: &&NodeReport| {
            let place = topology.primaries.iter().position(|p| p.id == t.id);
            t.is_primary && t.works && place.is_some_and(|place| topology.owns(place))
        };
        let owners = (0..topology.primaries.len()).filter(|p| topology.owns(*p));
        let agree = reports.iter().filter(is_owner).count() * 2 > owners.count();
        let mut nodes = reports.iter().flat_map(|t| &t.nodes);
        let failed =
            nodes.find(|n| n.has_failed && topology.primaries.iter().any(|p| p.id == n.id));
        let was_displaced = displaced.is_some();
        let unconfirmed = if let Some(at) = displaced {
            Some(format!("another node is at {at}, where a primary was"))
        } else if let Some(node) = failed {
            Some(format!("{} is held for dead", node.at))
        } else if !agree {
            Some("too few primaries answer and say that the cluster works".to_owned())
        } else if !topology.is_whole() {
            Some("some slots belong to no node".to_owned())
        } else {
            None
        };
        let confirmed = match &before {
            _ if unconfirmed.is_none() => Some(asked),
            Some(map) if !was_displaced && map.topology.has_those_of(&topology) => map.confirmed,
            _ => None,
        };
        let known = |at: &Address| {
            let map = before.as_ref()?;
            let place = map.topology.primaries.iter().position(|p| p.at == *at)?;
            Some(Arc::clone(&map.nodes[place]))
        };
        let start = |at: &Address| {
            Arc::new(Connection::start(
                self.connector.at(at.clone()),
                self.identify,
            ))
        };
        let addresses = topology.primaries.iter().map(|p| &p.at);
        let nodes = addresses.map(|at| known(at).unwrap_or_else(|| start(at)));
        let nodes = nodes.collect();
        let map = Map {
            nodes,
            topology,
            confirmed,
        };
        Ok((map, unconfirmed))
    }
}

/// Returns the reports of the primaries that answer within [`TELLING`].
async fn ask_all(map: &Map) -> Vec<(Address, NodeReport)> {
    let asked = map.nodes.iter().zip(&map.topology.primaries);
    let asked = asked.map(async |(node, primary)| {
        let telling = async {
            let mut connection = node.current().await.ok()?;
            match NodeReport::ask(&mut connection.inner, &primary.at).await {
                Ok(report) => {
                    connection.answered();
                    Some((primary.at.clone(), report))
                }
                Err(error) => {
                    connection.failed(&error);
                    None
                }
            }
        };
        timeout(TELLING, telling).await.ok().flatten()
    });
    join_all(asked).await.into_iter().flatten().collect()
}

/// Returns the address of a slot owner at which another node answers now.
fn displaced(map: &Map, answers: &[(Address, NodeReport)]) -> Option<Address> {
    let topology = &map.topology;
    let other = |(at, report): &&(Address, NodeReport)| {
        let mut primaries = topology.primaries.iter().enumerate();
        primaries.any(|(place, p)| p.at == *at && p.id != report.id && topology.owns(place))
    };
    answers.iter().find(other).map(|(at, _)| at.clone())
}
