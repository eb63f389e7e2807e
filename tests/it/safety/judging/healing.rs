//! How long a replica goes on answering that it cannot decide, after what was wrong is over.

use std::time::Duration;

use super::{At, Check, Verdict};

#[derive(Default)]
pub struct Healing {
    /// The fault that began last.
    fault: String,
    /// When faults ended.
    ends: Vec<At>,
    /// For each replica since when it cannot decide; `None` where it can.
    unsure: Vec<Option<At>>,
    healed: Vec<Healed>,
}

/// One healing of one replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Healed {
    pub took: Duration,
    pub replica: usize,
    /// The fault that had begun last.
    pub fault: String,
}

impl Healing {
    pub fn of(replicas: usize) -> Self {
        Self {
            unsure: vec![None; replicas],
            ..Self::default()
        }
    }

    /// Something goes wrong.
    pub fn fault_began(&mut self, fault: String) {
        self.fault = fault;
    }

    /// What was wrong is over.
    pub fn fault_ended(&mut self, at: At) {
        self.ends.push(at);
    }

    pub fn checked(&mut self, check: &Check) {
        let unsure = &mut self.unsure[check.replica];
        match (check.verdict, *unsure) {
            (Verdict::Unsure, None) => *unsure = Some(check.ended),
            (Verdict::Allowed, Some(since)) if since < check.started => {
                *unsure = None;
                // Healed before the end of what is wrong now, if anything is: of that before it.
                let last = self.ends.iter().rev().find(|end| **end < check.ended);
                if let Some(last) = last {
                    self.healed.push(Healed {
                        took: check.ended - since.max(*last),
                        replica: check.replica,
                        fault: self.fault.clone(),
                    });
                }
            }
            _ => {}
        }
    }

    /// Every healing, the longest last.
    pub fn healed(&self) -> Vec<Healed> {
        let mut healed = self.healed.clone();
        healed.sort_by_key(|healed| healed.took);
        healed
    }
}
