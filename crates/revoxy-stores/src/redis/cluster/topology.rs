//! The slot owners, merged from the reports of several nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::super::address::Address;
use super::node_report::{NodeReport, ReportedNode};
use super::slot::SLOTS;

const NOBODY: u16 = u16::MAX;

/// A primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Primary {
    pub id: String,
    pub at: Address,
}

/// The primaries, including those without slots, and the slots that they own.
#[derive(Clone, Debug)]
pub(super) struct Topology {
    /// Ordered by id.
    pub primaries: Vec<Primary>,
    /// The owner of each slot.
    owners: Box<[u16]>,
    /// Every address that any report gives for a primary.
    addresses: Vec<(Address, usize)>,
}

/// The slots that nodes claim. A heartbeat merges several reports of all slots, so ids are compared once per
/// node, not once per slot.
#[derive(Default)]
struct Claims<'t> {
    ids: Vec<&'t str>,
    /// For each slot: the greatest epoch of a claim, and the index of the claimant's id. Empty until a node
    /// claims a slot.
    slots: Vec<Option<(u64, u16)>>,
}

impl<'t> Claims<'t> {
    /// Records the slots that a report assigns to a node.
    fn add(&mut self, node: &'t ReportedNode) {
        if node.slots.is_empty() {
            return;
        }
        self.slots.resize(usize::from(SLOTS), None);
        let known = self.ids.iter().position(|id| *id == node.id);
        let place = known.unwrap_or_else(|| {
            self.ids.push(&node.id);
            self.ids.len() - 1
        });
        let Ok(place) = u16::try_from(place) else {
            return;
        };
        for (first, last) in &node.slots {
            let range = usize::from(*first)..=usize::from((*last).min(SLOTS - 1));
            for claim in self.slots.get_mut(range).unwrap_or_default() {
                if claim.is_none_or(|(epoch, _)| node.epoch > epoch) {
                    *claim = Some((node.epoch, place));
                }
            }
        }
    }

    /// Returns the ids of the nodes that own a slot, because their claim has the greatest epoch.
    fn owners(&self) -> BTreeSet<&'t str> {
        let mut owns = vec![false; self.ids.len()];
        for (_, place) in self.slots.iter().flatten() {
            owns[usize::from(*place)] = true;
        }
        let ids = self.ids.iter().zip(owns);
        ids.filter(|(_, owns)| *owns).map(|(id, _)| *id).collect()
    }

    /// Returns, for each slot, the position of its owner in this index.
    fn places(&self, index: &BTreeMap<&str, u16>) -> Box<[u16]> {
        let places = self.ids.iter().map(|id| index.get(id).copied());
        let places: Vec<u16> = places.map(|place| place.unwrap_or(NOBODY)).collect();
        let mut slots = vec![NOBODY; usize::from(SLOTS)];
        for (slot, claim) in slots.iter_mut().zip(&self.slots) {
            if let Some((_, place)) = claim {
                *slot = places[usize::from(*place)];
            }
        }
        slots.into()
    }
}

impl Topology {
    /// Merges reports. Of the nodes that claim a slot, the one with the greatest epoch owns it, as in the
    /// cluster itself. A primary without slots is a member if another primary names it, and no report calls it
    /// failed or a replica: a node that was removed still calls itself a primary.
    ///
    /// The reports must belong to one cluster (`membership.rs`): epochs of two clusters cannot be compared.
    pub(super) fn merge<'t>(reports: impl Iterator<Item = &'t NodeReport> + Clone) -> Self {
        let mut at = BTreeMap::new();
        let (mut named, mut not) = (BTreeSet::new(), BTreeSet::new());
        let mut claims = Claims::default();
        let nodes = |sender: &'t NodeReport| sender.nodes.iter().map(move |node| (sender, node));
        for (sender, node) in reports.clone().flat_map(nodes) {
            if node.is_primary {
                at.insert(node.id.as_str(), &node.at);
                // Only if a primary names it: heartbeats query only primaries, and discovery must use the same
                // membership rule.
                if sender.is_primary && sender.id != node.id {
                    named.insert(node.id.as_str());
                }
            }
            if !node.is_primary || node.has_failed {
                not.insert(node.id.as_str());
            }
            claims.add(node);
        }
        let owning = claims.owners();
        let counts = |id| named.contains(id) && !not.contains(id);
        at.retain(|id, _| owning.contains(id) || counts(*id));
        let index: BTreeMap<&str, u16> = at.keys().copied().zip(0..NOBODY).collect();
        let mut addresses: Vec<(Address, usize)> = Vec::new();
        for node in reports.flat_map(|t| &t.nodes) {
            if let Some(place) = index.get(node.id.as_str()) {
                let known = (node.at.clone(), usize::from(*place));
                if !addresses.contains(&known) {
                    addresses.push(known);
                }
            }
        }
        Self {
            addresses,
            owners: claims.places(&index),
            primaries: at
                .iter()
                .map(|(id, at)| Primary {
                    id: (*id).to_owned(),
                    at: (*at).clone(),
                })
                .collect(),
        }
    }

    /// Returns the index of the primary that owns a slot.
    pub(super) fn owner(&self, slot: u16) -> Option<usize> {
        let owner = usize::from(*self.owners.get(usize::from(slot))?);
        (owner < self.primaries.len()).then_some(owner)
    }

    /// Returns whether every slot has an owner.
    pub(super) fn is_whole(&self) -> bool {
        !self.owners.contains(&NOBODY)
    }

    /// Returns whether the primary with this index owns a slot.
    pub(super) fn owns(&self, place: usize) -> bool {
        self.owners.iter().any(|owner| usize::from(*owner) == place)
    }

    /// Returns the index of the primary at an address.
    pub(super) fn at(&self, address: &Address) -> Option<usize> {
        let found = self.addresses.iter().find(|(at, _)| at == address);
        found.map(|(_, place)| *place)
    }

    /// Returns whether any slot has different owners here and in `other`. Both must have the same primaries.
    pub(super) fn differs_from(&self, other: &Self) -> bool {
        self.owners != other.owners
    }

    /// Returns a fingerprint of which primary owns which slots.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        // There are many slots, but consecutive ones mostly have the same owner.
        for run in self.owners.chunk_by(|one, next| one == next) {
            let owner = run.first().map(|owner| usize::from(*owner));
            let owner = owner.and_then(|owner| self.primaries.get(owner));
            (run.len(), owner.map(|p| &p.id)).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// Returns whether both have the same primaries.
    pub(super) fn has_those_of(&self, other: &Self) -> bool {
        let ids = |t: &Self| t.primaries.iter().map(|p| p.id.clone()).collect::<Vec<_>>();
        ids(self) == ids(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str, epoch: u64, slots: &[(u16, u16)]) -> ReportedNode {
        ReportedNode {
            id: id.to_owned(),
            at: Address::Tcp(id.to_owned(), 1),
            is_primary: true,
            has_failed: false,
            epoch,
            slots: slots.to_vec(),
        }
    }

    /// Builds a report that the first of these nodes sends.
    fn report(nodes: Vec<ReportedNode>) -> NodeReport {
        NodeReport {
            id: nodes[0].id.clone(),
            is_primary: nodes[0].is_primary,
            works: true,
            nodes,
        }
    }

    fn ids(topology: &Topology) -> Vec<&str> {
        topology.primaries.iter().map(|p| p.id.as_str()).collect()
    }

    #[test]
    fn of_two_owners_of_a_slot_the_later_has_it() {
        let stale = report(vec![
            node("a", 1, &[(0, 8000)]),
            node("b", 2, &[(8001, 16383)]),
        ]);
        let mut fallen = node("a", 1, &[]);
        fallen.has_failed = true;
        let new = report(vec![
            fallen,
            node("b", 2, &[(8001, 16383)]),
            node("c", 5, &[(0, 8000)]),
        ]);
        for views in [[&stale, &new], [&new, &stale]] {
            let topology = Topology::merge(views.into_iter());
            assert_eq!(ids(&topology), ["b", "c"]);
            assert_eq!(
                (topology.owner(0), topology.owner(16383)),
                (Some(1), Some(0))
            );
            assert!(topology.is_whole());
        }
    }

    #[test]
    fn a_primary_without_slots_is_one_and_a_gap_is_told() {
        let all = report(vec![node("a", 1, &[(1, 16383)]), node("b", 2, &[])]);
        let topology = Topology::merge([&all].into_iter());
        assert_eq!(topology.primaries.len(), 2);
        assert!(topology.owns(0) && !topology.owns(1));
        assert!(!topology.is_whole());
        assert_eq!(topology.owner(0), None);
    }

    #[test]
    fn a_primary_without_slots_that_only_it_itself_or_a_replica_names_is_none() {
        let owner = || node("a", 1, &[(0, 16383)]);
        let mut replica = node("r", 1, &[]);
        replica.is_primary = false;
        let of_a = report(vec![owner()]);
        // The others have forgotten the node, but it was not reset: it still knows them.
        let forgotten = report(vec![node("x", 2, &[]), owner()]);
        let behind = report(vec![replica, owner(), node("x", 2, &[])]);
        let topology = Topology::merge([&of_a, &forgotten, &behind].into_iter());
        assert_eq!(ids(&topology), ["a"]);
        let of_a = report(vec![owner(), node("x", 2, &[])]);
        let topology = Topology::merge([&of_a, &forgotten].into_iter());
        assert_eq!(ids(&topology), ["a", "x"]);
        let mut dead = node("x", 2, &[]);
        dead.has_failed = true;
        let of_a = report(vec![owner(), dead]);
        let topology = Topology::merge([&of_a, &forgotten].into_iter());
        assert_eq!(ids(&topology), ["a"]);
    }
}
