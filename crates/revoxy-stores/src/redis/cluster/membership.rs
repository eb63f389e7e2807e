//! Decides which reports of nodes belong to one cluster, and which cluster is ours.
//!
//! Not every node that answers at a configured or discovered address belongs to the cluster. A node that was
//! removed (`redis-cli --cluster del-node`) keeps running and knows no other node; and an address may by now belong
//! to a node of another cluster, whose epochs cannot be compared with ours. Two reports belong to one cluster if
//! one of them names, by its id, the node that sent the other: even a stale report of a member names other members.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::super::address::Address;
use super::node_report::NodeReport;
use super::slot::SLOTS;

/// The reports of our cluster.
#[derive(Debug)]
pub(super) struct Chosen {
    pub reports: Vec<NodeReport>,
    /// The addresses that sent these reports.
    pub from: Vec<Address>,
    /// The addresses that answered but do not belong to our cluster.
    pub left_out: Vec<Address>,
}

/// A group of connected reports.
#[derive(Default)]
struct Part<'t> {
    from: Vec<&'t Address>,
    /// How many of the known slot owners the reports name.
    known: usize,
    /// How many slots have an owner.
    slots: usize,
    /// How many of the configured nodes are in the group.
    configured: usize,
}

/// Chooses the cluster that names a majority of the known slot `owners`. If none are known, or the cluster was set
/// up anew, the configured nodes determine the cluster.
pub(super) fn choose(
    reports: Vec<(Address, NodeReport)>,
    owners: &BTreeSet<String>,
    configured: &[Address],
) -> Result<Chosen, String> {
    let part_of = parts(reports.iter().map(|(_, report)| report));
    let chosen: BTreeSet<usize> = {
        let mut parts = BTreeMap::<usize, Part>::new();
        for part in part_of.iter().copied() {
            parts.entry(part).or_insert_with(|| {
                let tables = reports.iter().zip(&part_of).filter(|(_, of)| **of == part);
                let tables: Vec<_> = tables.map(|(table, _)| table).collect();
                Part::of(&tables, owners, configured)
            });
        }
        match owners.is_empty() {
            true => BTreeSet::from([largest(&parts)?]),
            false => ours(&parts, owners.len(), configured.len())?,
        }
    };
    let mut all = Chosen {
        reports: Vec::new(),
        from: Vec::new(),
        left_out: Vec::new(),
    };
    for ((from, report), part) in reports.into_iter().zip(part_of) {
        if chosen.contains(&part) {
            all.reports.push(report);
            all.from.push(from);
        } else {
            all.left_out.push(from);
        }
    }
    Ok(all)
}

/// Returns whether all these reports belong to one cluster.
pub(super) fn are_of_one(reports: &[NodeReport]) -> bool {
    parts(reports.iter()).iter().all(|part| *part == 0)
}

/// Returns, for each report, the index of the first report in its group.
fn parts<'t>(reports: impl Iterator<Item = &'t NodeReport> + Clone) -> Vec<usize> {
    let senders = reports
        .clone()
        .enumerate()
        .map(|(at, t)| (t.id.as_str(), at));
    let senders: HashMap<&str, usize> = senders.collect();
    let mut part_of: Vec<usize> = (0..reports.clone().count()).collect();
    for (at, table) in reports.enumerate() {
        let named = table.nodes.iter();
        for other in named.filter_map(|node| senders.get(node.id.as_str())) {
            let (one, other) = (part_of[at], part_of[*other]);
            let (first, joined) = (one.min(other), one.max(other));
            if first != joined {
                let those = part_of.iter_mut().filter(|part| **part == joined);
                those.for_each(|part| *part = first);
            }
        }
    }
    part_of
}

impl<'t> Part<'t> {
    fn of(
        tables: &[&'t (Address, NodeReport)],
        owners: &BTreeSet<String>,
        configured: &[Address],
    ) -> Self {
        let mut owned = vec![false; usize::from(SLOTS)];
        let mut known = BTreeSet::new();
        for node in tables.iter().flat_map(|(_, report)| &report.nodes) {
            known.extend(owners.get(&node.id));
            for slot in node.slots.iter().flat_map(|(first, last)| *first..=*last) {
                if let Some(owned) = owned.get_mut(usize::from(slot)) {
                    *owned = true;
                }
            }
        }
        let from: Vec<_> = tables.iter().map(|(from, _)| from).collect();
        Self {
            known: known.len(),
            slots: owned.iter().filter(|owned| **owned).count(),
            configured: configured.iter().filter(|a| from.contains(a)).count(),
            from,
        }
    }

    fn is_larger_than(&self, other: &Self) -> bool {
        let (own, others) = (
            (self.slots, self.configured),
            (other.slots, other.configured),
        );
        own.0 >= others.0 && own.1 >= others.1 && own != others
    }
}

/// Returns the group that has both the most slots and the most configured nodes. If there is none, the choice is
/// ambiguous, and this fails.
fn largest(parts: &BTreeMap<usize, Part>) -> Result<usize, String> {
    // Nodes that know no slot owner are left over from a former cluster, or belong to a new one that is not set up
    // yet.
    let parts: Vec<_> = parts.iter().filter(|(_, part)| part.slots > 0).collect();
    if parts.is_empty() {
        return Err(
            "no node that answers knows an owner of slots: name nodes of a cluster that is set up in cluster.nodes"
                .to_owned(),
        );
    }
    let beats_all = |(at, part): &&(&usize, &Part)| {
        let mut others = parts.iter().filter(|(other, _)| other != at);
        others.all(|(_, other)| part.is_larger_than(other))
    };
    match parts.iter().find(beats_all) {
        Some((at, _)) => Ok(**at),
        None => Err(format!(
            "the configured nodes belong to different clusters ({}): name nodes of one cluster in cluster.nodes",
            one_of_each(parts.iter().map(|(_, part)| *part))
        )),
    }
}

/// Returns the groups that each name a majority of the known owners. They are one cluster, even if the reports
/// that connect them are missing.
fn ours(
    parts: &BTreeMap<usize, Part>,
    owners: usize,
    configured: usize,
) -> Result<BTreeSet<usize>, String> {
    let those = |counts: &dyn Fn(&Part) -> bool| -> BTreeSet<usize> {
        let those = parts.iter().filter(|(_, part)| counts(part));
        those.map(|(at, _)| *at).collect()
    };
    let ours = those(&|part| part.known * 2 > owners);
    if !ours.is_empty() {
        return Ok(ours);
    }
    // The cluster was set up anew. That requires a majority of the configured nodes, so that a foreign node that
    // happens to be the only one to answer is not mistaken for the new cluster.
    let anew = those(&|part| part.slots > 0 && part.configured * 2 > configured);
    if !anew.is_empty() {
        return Ok(anew);
    }
    Err(format!(
        "who answers ({}) is not of the cluster that was followed, nor most of the configured nodes: if another cluster has taken its place, name nodes of it in cluster.nodes and restart",
        one_of_each(parts.values())
    ))
}

fn one_of_each<'p>(parts: impl Iterator<Item = &'p Part<'p>>) -> String {
    let firsts = parts.filter_map(|part| part.from.first());
    let firsts: Vec<_> = firsts.map(ToString::to_string).collect();
    firsts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::node_report::ReportedNode;
    use super::*;

    fn at(port: u16) -> Address {
        Address::Tcp("redis".to_owned(), port)
    }

    /// Builds the report of the node `own` at this port: it names these nodes, each with its slots.
    fn table(port: u16, own: &str, nodes: &[(&str, &[(u16, u16)])]) -> (Address, NodeReport) {
        let node = |(id, slots): &(&str, &[(u16, u16)])| ReportedNode {
            id: (*id).to_owned(),
            at: at(port),
            is_primary: true,
            has_failed: false,
            epoch: 1,
            slots: slots.to_vec(),
        };
        let report = NodeReport {
            id: own.to_owned(),
            is_primary: true,
            works: true,
            nodes: nodes.iter().map(node).collect(),
        };
        (at(port), report)
    }

    const OURS: &[(&str, &[(u16, u16)])] = &[("a", &[(0, 8191)]), ("b", &[(8192, 16383)])];
    const THEIRS: &[(&str, &[(u16, u16)])] = &[("f", &[(0, 16383)]), ("g", &[])];

    fn both() -> Vec<(Address, NodeReport)> {
        vec![
            table(3, "f", THEIRS),
            table(1, "a", OURS),
            table(4, "g", THEIRS),
            table(2, "b", OURS),
        ]
    }

    /// Returns the ids of the nodes whose reports are chosen.
    fn chosen(
        reports: Vec<(Address, NodeReport)>,
        owners: &[&str],
        configured: &[u16],
    ) -> Result<Vec<String>, String> {
        let owners = owners.iter().map(|id| (*id).to_owned()).collect();
        let configured: Vec<_> = configured.iter().copied().map(at).collect();
        let chosen = choose(reports, &owners, &configured)?;
        Ok(chosen.reports.into_iter().map(|t| t.id).collect())
    }

    #[test]
    fn a_node_that_was_removed_is_of_no_cluster() {
        let removed = || table(9, "x", &[("x", &[])]);
        let reports = || vec![removed(), table(1, "a", OURS), table(2, "b", OURS)];
        assert_eq!(chosen(reports(), &[], &[9, 1]).unwrap(), ["a", "b"]);
        assert_eq!(chosen(reports(), &["a", "b"], &[9, 1]).unwrap(), ["a", "b"]);
        // All configured nodes are gone; the others were discovered before.
        assert_eq!(chosen(reports(), &["a", "b"], &[9]).unwrap(), ["a", "b"]);
        let why = chosen(vec![removed()], &[], &[9, 1]).unwrap_err();
        assert!(why.contains("owner of slots"), "{why}");
        let tables = reports().into_iter().map(|(_, report)| report);
        let tables: Vec<_> = tables.collect();
        assert!(!are_of_one(&tables) && are_of_one(&tables[1..]));
    }

    #[test]
    fn of_two_clusters_the_one_from_before_is_ours_however_few_of_it_answer() {
        for configured in [&[1, 2, 3][..], &[1, 3, 4], &[3]] {
            assert_eq!(
                chosen(both(), &["a", "b"], configured).unwrap(),
                ["a", "b"],
                "{configured:?}"
            );
            let reports = vec![table(3, "f", THEIRS), table(1, "a", OURS)];
            assert_eq!(chosen(reports, &["a", "b"], configured).unwrap(), ["a"]);
        }
    }

    #[test]
    fn of_two_unknown_clusters_the_one_with_more_configured_nodes_is_ours_and_else_none() {
        assert_eq!(chosen(both(), &[], &[1, 2, 3]).unwrap(), ["a", "b"]);
        assert_eq!(chosen(both(), &[], &[1, 3, 4]).unwrap(), ["f", "g"]);
        let why = chosen(both(), &[], &[1, 2, 3, 4]).unwrap_err();
        assert!(why.contains("name nodes of one cluster"), "{why}");
        assert!(why.contains(":3") && why.contains(":1"), "{why}");
    }

    #[test]
    fn another_cluster_takes_the_place_of_ours_only_where_most_of_the_configured_nodes_are_of_it() {
        let theirs = || vec![table(3, "f", THEIRS), table(4, "g", THEIRS)];
        let why = chosen(theirs(), &["a", "b"], &[1, 2, 3]).unwrap_err();
        assert!(why.contains("restart"), "{why}");
        assert_eq!(
            chosen(theirs(), &["a", "b"], &[1, 3, 4]).unwrap(),
            ["f", "g"]
        );
        // If one of our nodes has joined another cluster, that cluster does not become ours.
        let joined = vec![table(3, "a", &[("f", &[(0, 16383)]), ("a", &[])])];
        assert!(chosen(joined, &["a", "b"], &[1, 2, 3]).is_err());
    }

    #[test]
    fn a_table_that_is_behind_or_ahead_is_of_the_same_cluster() {
        // `b` has just met `c`, which `a` does not know yet. All others have forgotten `d`, which still knows them.
        let met: &[(&str, &[(u16, u16)])] =
            &[("a", &[(0, 8191)]), ("b", &[(8192, 16383)]), ("c", &[])];
        let reports = vec![
            table(1, "a", OURS),
            table(3, "c", &[("c", &[])]),
            table(4, "d", &[("d", &[]), ("a", &[])]),
            table(2, "b", met),
        ];
        assert_eq!(chosen(reports, &[], &[1]).unwrap(), ["a", "c", "d", "b"]);
    }
}
