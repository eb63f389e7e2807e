//! What must hold at every moment.

use stateright::Property;

use crate::replica::{Replica, bit};
use crate::world::{Protocol, World};

/// A replica whose view is fresh as of after the acknowledgement of a revocation refuses what it says.
pub const REFUSES: &str = "a view that claims freshness refuses what was revoked";
pub const DIRECT: &str = "a direct read that is believed refuses what was revoked";
pub const NO_FALSE_REFUSAL: &str = "no view refuses what was never revoked";
pub const NO_FLIP: &str = "what was un-revoked stays un-revoked";
/// All of them.
pub const ALL: &[&str] = &[REFUSES, DIRECT, NO_FALSE_REFUSAL, NO_FLIP];

pub(crate) fn all() -> Vec<Property<Protocol>> {
    vec![
        Property::always(REFUSES, |p: &Protocol, w: &World| w.refuses_what_it_must(p)),
        Property::always(DIRECT, |p: &Protocol, w: &World| {
            w.direct_reads_refuse_what_they_must(p)
        }),
        Property::always(NO_FALSE_REFUSAL, |p: &Protocol, w: &World| {
            w.refuses_only_what_was_stated(p)
        }),
        Property::always(NO_FLIP, |p: &Protocol, w: &World| w.does_not_flip_back(p)),
    ]
}

impl World {
    fn refuses_what_it_must(&self, protocol: &Protocol) -> bool {
        (0..protocol.scope.keys).all(|key| {
            let must = self.truth[key].must;
            let claims = |replica: &&Replica| replica.claims_revocation & bit(key) != 0;
            let refuses = |replica: &Replica| replica.view[key].level() >= must;
            self.replicas.iter().filter(claims).all(refuses)
        })
    }

    fn direct_reads_refuse_what_they_must(&self, protocol: &Protocol) -> bool {
        let server = self.primary();
        let rules = &protocol.rules;
        (0..protocol.scope.keys).all(|key| {
            let must = self.truth[key].must;
            let stands = server.data[key].standing(0, rules).level() >= must;
            let believes = |replica: &&Replica| {
                replica.known == Some(server.identity)
                    && (server.evictions == replica.evictions_known || !rules.evictions_watched)
            };
            // What the view holds is refused whatever its age.
            let refuses = |replica: &Replica| stands || replica.view[key].level() >= must;
            self.replicas.iter().filter(believes).all(refuses)
        })
    }

    fn refuses_only_what_was_stated(&self, protocol: &Protocol) -> bool {
        (0..protocol.scope.keys).all(|key| {
            let ever = self.truth[key].ever;
            self.replicas
                .iter()
                .all(|replica| replica.view[key].level() <= ever)
        })
    }

    fn does_not_flip_back(&self, protocol: &Protocol) -> bool {
        (0..protocol.scope.keys).all(|key| {
            let truth = self.truth[key];
            let excepted = self.lost && (truth.ever_by_hand || self.forgot);
            let claims = |replica: &&Replica| replica.claims_unrevocation & bit(key) != 0;
            let allows = |replica: &Replica| replica.view[key].level() <= truth.may;
            excepted || self.replicas.iter().filter(claims).all(allows)
        })
    }
}
