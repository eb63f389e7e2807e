//! The addresses of a cluster's nodes, configured and discovered.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::super::address::Address;
use super::membership;
use super::node_report::NodeReport;

/// The maximum number of discovered nodes to query in addition to the configured ones.
const MOST_FOUND: usize = 16;
/// How long to wait for other nodes after the first answer: a node that hangs must not delay the answers of the others.
const GRACE: Duration = Duration::from_millis(100);
/// How long to wait after the first answer while the answers do not name a majority of the known slot owners: nodes
/// of a foreign cluster must not decide alone which cluster is ours, only because they answered faster.
const FIRST_GRACE: Duration = Duration::from_secs(1);

/// The addresses to query for the other nodes, and the ids of the slot owners, which identify our cluster.
pub(in super::super) struct Seeds {
    configured: Vec<Address>,
    memory: Mutex<Memory>,
}

/// The result of the last discovery.
#[derive(Default)]
struct Memory {
    /// The addresses of nodes.
    nodes: Vec<Address>,
    /// The ids of the slot owners.
    owners: BTreeSet<String>,
    /// The configured nodes that were already reported as left out.
    left_out: Vec<Address>,
}

impl Seeds {
    pub(in super::super) fn new(configured: Vec<Address>) -> Self {
        Self {
            configured,
            memory: Mutex::default(),
        }
    }

    /// Returns one of the addresses.
    pub(in super::super) fn first(&self) -> Option<Address> {
        self.all().into_iter().next()
    }

    pub(super) fn all(&self) -> Vec<Address> {
        // Both lists in full: the configured addresses may be outdated, and all discovered nodes may be gone.
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let others = memory.nodes.iter();
        let others = others.filter(|a| !self.configured.contains(a));
        self.configured.iter().chain(others).cloned().collect()
    }

    /// Returns how long to wait for other nodes after these answers.
    pub(super) fn grace(&self, reports: &[(Address, NodeReport)]) -> Duration {
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let nodes = reports.iter().flat_map(|(_, report)| &report.nodes);
        let known: BTreeSet<_> = nodes.filter_map(|n| memory.owners.get(&n.id)).collect();
        match known.len() * 2 > memory.owners.len() {
            true => GRACE,
            false => FIRST_GRACE,
        }
    }

    /// Selects our cluster's reports from among those received at these addresses, and remembers the members they name.
    pub(super) fn ours(
        &self,
        reports: Vec<(Address, NodeReport)>,
    ) -> Result<Vec<NodeReport>, String> {
        // Locked throughout: feed and router must not choose different clusters at the same time.
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let chosen = membership::choose(reports, &memory.owners, &self.configured)?;
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
        memory.remember(&chosen.reports);
        // A node that was reached at two addresses has one vote.
        let (mut seen, mut reports) = (BTreeSet::new(), chosen.reports);
        reports.retain(|t| seen.insert(t.id.clone()));
        Ok(reports)
    }
}

impl Memory {
    fn remember(&mut self, reports: &[NodeReport]) {
        self.nodes.clear();
        let mut owners = BTreeSet::new();
        for node in reports.iter().flat_map(|t| &t.nodes) {
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
        // A cluster in which no node owns slots any more is still the same cluster.
        if !owners.is_empty() {
            self.owners = owners;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::node_report::ReportedNode;
    use super::super::topology::Topology;
    use super::*;

    #[test]
    fn what_is_configured_is_asked_however_much_has_been_found() {
        let at = |n: u16| Address::Tcp("redis".to_owned(), n);
        let node = |n: u16| ReportedNode {
            id: n.to_string(),
            at: at(n),
            is_primary: true,
            has_failed: false,
            epoch: 1,
            slots: vec![(n, n)],
        };
        let seeds = Seeds::new(vec![at(1), at(2)]);
        let report = NodeReport {
            id: "2".to_owned(),
            nodes: (2..100).map(node).collect(),
            ..NodeReport::default()
        };
        assert_eq!(seeds.ours(vec![(at(2), report)]).unwrap().len(), 1);
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
        // Builds a report of three primaries whose ids begin with `of`, as the node at `port` sends it.
        let table = |of: &str, port: u16, epoch: u64| {
            let node = |n: u16| ReportedNode {
                id: format!("{of}{n}"),
                at: at(if of == "ours" { n } else { n + 10 }),
                is_primary: true,
                has_failed: false,
                epoch,
                slots: vec![((n - 1) * 5461, if n == 3 { 16383 } else { n * 5461 - 1 })],
            };
            let report = NodeReport {
                id: format!("{of}{port}"),
                is_primary: true,
                works: true,
                nodes: (1..=3).map(node).collect(),
            };
            (at(port), report)
        };
        for configured in [vec![at(1), at(2), at(3)], vec![at(1), at(3)], vec![at(3)]] {
            let seeds = Seeds::new(configured);
            let ours = (1..=3).map(|n| table("ours", n, 1)).collect();
            assert_eq!(seeds.ours(ours).unwrap().len(), 3);
            let reports = [table("theirs", 3, 100), table("ours", 1, 1)];
            let reports = seeds.ours(reports.to_vec()).unwrap();
            let topology = Topology::merge(reports.iter());
            assert!(topology.is_whole());
            assert!(topology.primaries.iter().all(|p| p.id.starts_with("ours")));
            assert!(!seeds.all().contains(&at(11)));
        }
    }
}
