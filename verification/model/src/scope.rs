//! The bounds of a search: what may happen, and how often.

use std::fmt::{Display, Formatter};

use crate::lattice::{ALL, EARLY, Level};
use crate::rules::Rules;

/// What may happen, and how often: the bounds of a search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    pub replicas: usize,
    pub keys: usize,
    /// How many statements, through the API and by hand.
    pub statements: u8,
    /// How many faults.
    pub faults: u8,
    /// What a revocation can refuse.
    pub levels: Vec<Level>,
    /// Whether the API is used.
    pub api: bool,
    /// Whether revocations are written by hand.
    pub by_hand: bool,
    /// Whether keys are deleted by hand.
    pub deletes: bool,
    /// Two servers and a failover; the copy of the first is on the second. Otherwise one server with a snapshot.
    pub failover: bool,
    /// The server is killed and restarts from its snapshot.
    pub kill: bool,
    pub evict: bool,
    /// A replica loses its connection.
    pub cut: bool,
    /// A replica is restarted, with an empty view.
    pub restart: bool,
    /// A revocation with a cutoff after an un-revocation brings nothing back of what was before it. Without: only as long as
    /// nothing at all is stated after the un-revocation.
    pub precise: bool,
    /// What is read is acted upon and written back in one step, all keys at once.
    pub coarse: bool,
}

impl Scope {
    /// One server, one key, everything through the API.
    pub fn small() -> Self {
        Self {
            replicas: 2,
            keys: 1,
            statements: 3,
            faults: 1,
            levels: vec![EARLY, ALL],
            api: true,
            by_hand: false,
            deletes: false,
            failover: false,
            kill: true,
            evict: false,
            cut: true,
            restart: false,
            precise: true,
            coarse: false,
        }
    }
}

impl Scope {
    /// Three replicas and two keys, in coarse steps.
    pub fn large() -> Self {
        Self {
            replicas: 3,
            keys: 2,
            statements: 2,
            faults: 2,
            levels: vec![ALL],
            coarse: true,
            ..Self::small()
        }
    }

    /// The parts into which a search with these bounds is divided: all together would be too many worlds.
    pub fn scenes(&self, rules: &Rules) -> Vec<(&'static str, Rules, Scope)> {
        let scope = |change: fn(&mut Self)| {
            let mut scope = self.clone();
            change(&mut scope);
            scope
        };
        let by_hand = scope(|s| (s.by_hand, s.deletes, s.cut) = (true, true, false));
        let ignoring = Rules {
            deletions_honoured: false,
            ..rules.clone()
        };
        let cutoffs = scope(|s| (s.levels, s.precise, s.cut) = (vec![EARLY, ALL], true, false));
        let evictions = scope(|s| (s.evict, s.kill) = (true, false));
        let failover = scope(|s| s.failover = true);
        let replicas = scope(|s| (s.restart, s.cut) = (true, false));
        vec![
            ("restarts", rules.clone(), self.clone()),
            ("cutoffs", rules.clone(), cutoffs),
            ("by-hand", rules.clone(), by_hand.clone()),
            ("ignoring", ignoring, by_hand),
            ("evictions", rules.clone(), evictions),
            ("failover", rules.clone(), failover),
            ("replicas", rules.clone(), replicas),
        ]
    }
}

impl Display for Scope {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} replicas, {} keys, {} statements, {} faults, {} steps",
            self.replicas,
            self.keys,
            self.statements,
            self.faults,
            if self.coarse { "coarse" } else { "fine" }
        )
    }
}
