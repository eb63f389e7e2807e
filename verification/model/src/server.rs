//! A Redis server: who it is, and what it holds.

use crate::lattice::{OLDEST, State, Version};
use crate::rules::Rules;

/// Run id and replication id: which process, and whose history.
pub type Identity = (u8, u8);

/// What stands under the key of a revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value {
    pub state: State,
    /// Written by hand, without a version.
    pub by_hand: bool,
}

/// All that a server holds of one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Record {
    /// The key itself.
    pub key: Option<Value>,
    /// The restored key: what a view has written back.
    pub restored: State,
    /// The tombstone of the rules before versions.
    pub tombstone: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Server {
    pub identity: Identity,
    /// Whether it says of itself that it is a primary.
    pub is_primary: bool,
    pub data: [Record; 2],
    pub evictions: u8,
}

impl Record {
    pub fn is_empty(&self) -> bool {
        self.key.is_none() && self.restored == State::NONE
    }

    /// What stands, to one who knows of the un-revocation `known`.
    pub fn standing(&self, known: Version, rules: &Rules) -> State {
        let key = match self.key {
            None => State::NONE,
            Some(value) if value.by_hand => {
                let after = self.restored.unrevoked.max(known);
                let version = match rules.by_hand_after_unrevocation {
                    true => after + 1,
                    false => OLDEST,
                };
                State::revocation(version, value.state.level())
            }
            Some(value) => value.state,
        };
        key.join(self.restored)
    }

    fn highest(&self, rules: &Rules) -> Version {
        self.standing(0, rules).highest()
    }

    /// The script `REVOKE`. Returns the version that it was given.
    pub fn revoke(&mut self, version: Version, level: u8, rules: &Rules) -> Version {
        let version = match rules.floor {
            true => version.max(self.highest(rules) + 1),
            false => version,
        };
        let standing = match self.key {
            Some(_) => self.key_alone().standing(self.restored.unrevoked, rules),
            None => State::NONE,
        };
        let mut state = standing
            .held(rules.two_versions)
            .join(State::revocation(version, level));
        if !rules.unrevocation_kept {
            state = state.without_unrevocation();
        }
        // What was written by hand stays without a version.
        let by_hand = rules.versions && self.key.is_some_and(|value| value.by_hand);
        self.key = Some(Value {
            state: state.held(rules.two_versions),
            by_hand,
        });
        if by_hand { OLDEST } else { version }
    }

    /// The script `UNREVOKE`. Returns the version that it was given.
    pub fn unrevoke(&mut self, version: Version, rules: &Rules) -> Version {
        let version = version.max(self.highest(rules));
        self.key = Some(Value {
            state: State::unrevocation(version),
            by_hand: false,
        });
        self.restored = State::NONE;
        version
    }

    /// The script `RESTORE`.
    pub fn restore(&mut self, state: State, rules: &Rules) {
        self.restored = self.restored.join(state).held(rules.two_versions);
    }

    fn key_alone(mut self) -> Self {
        self.restored = State::NONE;
        self
    }
}
