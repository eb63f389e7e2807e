//! The feed's tracking connections to all primaries.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use redis::aio::MultiplexedConnection;
use redis::{Pipeline, RedisError, RedisResult, Value};
use tokio::time::timeout;

use crate::clock::Moment;

use super::super::address::Address;
use super::super::connector::Connector;
use super::super::dialer::{Driver, Protocol};
use super::super::feed_end::FeedEnd;
use super::super::liveness::{Pulse, ReadCounter};
use super::super::prefixes::Prefixes;
use super::super::pushes::Pushes;
use super::super::scan::{Batch, Position, scan, track};
use super::super::server::ServerInfo;
use super::discovery::{self, NOT_A_CLUSTER};
use super::membership;
use super::node_report::NodeReport;
use super::queries::{self, Answer, Question};
use super::topology::Topology;
use super::trust_log::TrustLog;

/// How many primaries are scanned in parallel.
const SCANS: usize = 8;

/// All primaries, and the slots that each owns.
pub(in super::super) struct Primaries {
    nodes: Vec<Node>,
    topology: Topology,
    prefixes: Prefixes,
    /// Whether a node has answered `MOVED` since the flag was last read.
    moved: AtomicBool,
    trust_log: TrustLog,
    why: Option<String>,
}

struct Node {
    at: Address,
    connection: MultiplexedConnection,
    _driver: Driver,
    reads: ReadCounter,
}

/// The result of a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Beat {
    /// Whether it is proven that no node can have acknowledged a write, except the connected nodes.
    pub proven: bool,
    /// Whether slots have moved since the last heartbeat.
    pub moved: bool,
}

impl Primaries {
    /// Discovers the primaries, connects to each, and enables tracking, so that every change is pushed from now on.
    pub(in super::super) async fn open(
        connector: &Connector,
        patience: Duration,
        pushes: &Pushes,
        prefixes: &Prefixes,
    ) -> Result<Self, FeedEnd> {
        let topology = discovery::discover(connector).await.map_err(|why| {
            if why == NOT_A_CLUSTER {
                FeedEnd::Refused(why)
            } else {
                FeedEnd::Broken(why)
            }
        })?;
        let connect = topology.primaries.iter().map(async |primary| {
            let protocol = Protocol::Resp3(pushes.clone());
            let made = connector.to(primary.at.clone(), protocol).await?;
            let mut connection = made.connection;
            let late = |_| FeedEnd::Broken("no answer in time".to_owned());
            let tracked = timeout(patience, track(&mut connection, prefixes)).await;
            tracked.map_err(late)??;
            Ok::<_, FeedEnd>(Node {
                at: primary.at.clone(),
                connection,
                _driver: made.driver,
                reads: made.reads,
            })
        });
        let nodes = try_join_all(connect).await?;
        Ok(Self {
            nodes,
            topology,
            prefixes: prefixes.clone(),
            moved: AtomicBool::default(),
            trust_log: TrustLog::default(),
            why: None,
        })
    }

    /// Returns the pulse of every connection.
    pub(in super::super) fn pulses(&self) -> Vec<Pulse> {
        let pulse = |node: &Node| Pulse {
            connection: node.connection.clone(),
            reads: node.reads.clone(),
        };
        self.nodes.iter().map(pulse).collect()
    }

    /// Returns a fingerprint of which primary owns which slots.
    pub(in super::super) fn slots(&self) -> u64 {
        self.topology.fingerprint()
    }

    /// Returns why the last heartbeat was not proven; empty if it was.
    pub(in super::super) fn why(&self) -> &str {
        self.why.as_deref().unwrap_or_default()
    }

    /// Queries the identity and state of each primary.
    pub(in super::super) async fn servers(&self) -> RedisResult<Vec<ServerInfo>> {
        let asked = self.nodes.iter().enumerate().map(async |(place, node)| {
            let info = ServerInfo::read(&mut node.connection.clone()).await?;
            let named = format!("{}: ", node.at);
            Ok::<_, RedisError>(info.of_several(named, self.topology.owns(place)))
        });
        try_join_all(asked).await
    }

    /// Asks every primary for its role and for its report of the cluster. When this returns, everything that
    /// any of them pushed before has arrived.
    pub(in super::super) async fn heartbeat(&mut self) -> Result<Beat, FeedEnd> {
        let asked = self
            .nodes
            .iter()
            .map(async |node| NodeReport::ask(&mut node.connection.clone(), &node.at).await);
        let reports = try_join_all(asked).await?;
        self.judge(&reports)
    }

    /// Evaluates the reports of all primaries.
    fn judge(&mut self, reports: &[NodeReport]) -> Result<Beat, FeedEnd> {
        let same =
            |(report, primary): (&NodeReport, &super::topology::Primary)| report.id == primary.id;
        if !reports.iter().zip(&self.topology.primaries).all(same) {
            return Err(changed("another node is where a primary was"));
        }
        if !reports.iter().all(|t| t.is_primary) {
            return Err(changed("a primary has become a replica"));
        }
        if !membership::are_of_one(reports) {
            return Err(changed("a primary has left the cluster of the others"));
        }
        let topology = Topology::merge(reports.iter());
        if !topology.has_those_of(&self.topology) {
            return Err(changed("there are other primaries than before"));
        }
        self.why = why_unproven(reports, &topology);
        let is_unproven = self.why.is_some();
        if self.trust_log.should_log(is_unproven, Moment::now())
            && let Some(why) = &self.why
        {
            tracing::warn!(
                why,
                "the cluster does not confirm that the revocation view is current: the view ages, and a new view is not complete until the cluster does"
            );
        }
        let moved = topology.differs_from(&self.topology);
        self.topology = topology;
        Ok(Beat {
            proven: !is_unproven,
            moved,
        })
    }

    /// Reads the next batch of key names, from several primaries in parallel.
    pub(in super::super) async fn scan(&self, from: &Position) -> RedisResult<Batch> {
        let mut cursors = match from.cursors.len() {
            0 => vec![Some(0); self.nodes.len()],
            _ => from.cursors.clone(),
        };
        let pattern = &from.pattern(&self.prefixes);
        let open = cursors.iter().enumerate();
        let open = open.filter_map(|(place, cursor)| Some((place, (*cursor)?)));
        let steps = open.take(SCANS).map(async |(place, cursor)| {
            let mut connection = self.nodes[place].connection.clone();
            (place, scan(&mut connection, cursor, pattern).await)
        });
        let mut names = Vec::new();
        for (place, step) in join_all(steps).await {
            let (next, found) = step?;
            cursors[place] = (next != 0).then_some(next);
            names.extend(found);
        }
        let position = from.after(cursors, &self.prefixes);
        Ok(Batch { names, position })
    }

    /// Returns whether any slot turned out to have a new owner (`MOVED`) since the last call.
    pub(in super::super) fn met_moved(&self) -> bool {
        self.moved.swap(false, Ordering::Relaxed)
    }

    /// Queries keys, wherever they are.
    pub(in super::super) async fn ask(&self, questions: &[Question]) -> RedisResult<Vec<Answer>> {
        queries::ask(self, questions).await
    }
}

/// Returns why the reports do not prove that these primaries are the only nodes that may have acknowledged a
/// write; `None` if they do.
fn why_unproven(reports: &[NodeReport], topology: &Topology) -> Option<String> {
    let nodes = || reports.iter().flat_map(|t| &t.nodes);
    let primaries = || topology.primaries.iter();
    let known = |id: &str| primaries().any(|p| p.id == id);
    if let Some((_, primary)) = reports.iter().zip(primaries()).find(|(t, _)| !t.works) {
        return Some(format!("{} says that the cluster is down", primary.at));
    }
    if !topology.is_whole() {
        return Some("some slots belong to no node".to_owned());
    }
    // Any node that a report names as a slot owner may have acknowledged a write.
    if let Some(node) = nodes().find(|n| !n.slots.is_empty() && !known(&n.id)) {
        return Some(format!("not all agree who owns the slots of {}", node.at));
    }
    let fallen = nodes().find(|n| n.has_failed && known(&n.id))?;
    Some(format!("{} is held for dead", fallen.at))
}

fn changed(why: &str) -> FeedEnd {
    FeedEnd::Topology(why.to_owned())
}

impl queries::Nodes for Primaries {
    type Error = RedisError;

    fn owner(&self, slot: u16) -> Option<usize> {
        self.topology.owner(slot)
    }

    fn at(&self, address: &Address) -> Option<usize> {
        self.topology.at(address)
    }

    fn address(&self, node: usize) -> &Address {
        &self.nodes[node].at
    }

    fn has_moved(&self) {
        self.moved.store(true, Ordering::Relaxed);
    }

    async fn send(&self, node: usize, mut pipeline: Pipeline) -> RedisResult<Vec<Value>> {
        let mut connection = self.nodes[node].connection.clone();
        pipeline.ignore_errors().query_async(&mut connection).await
    }
}
