//! Recovery: for how long a replica keeps answering that it cannot decide after a fault is over.

use std::time::Duration;

use super::{At, Check, Verdict};

#[derive(Default)]
pub struct Healing {
    /// The fault that began last.
    fault: String,
    /// When faults ended.
    ends: Vec<At>,
    /// For each replica, since when it cannot decide; `None` if it can.
    unsure: Vec<Option<At>>,
    healed: Vec<Healed>,
}

/// One recovery of one replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Healed {
    pub took: Duration,
    pub replica: usize,
    /// The last fault that had begun.
    pub fault: String,
}

impl Healing {
    pub fn of(replicas: usize) -> Self {
        Self {
            unsure: vec![None; replicas],
            ..Self::default()
        }
    }

    /// Records that a fault begins.
    pub fn fault_began(&mut self, fault: String) {
        self.fault = fault;
    }

    /// Records that a fault is over.
    pub fn fault_ended(&mut self, at: At) {
        self.ends.push(at);
    }

    pub fn checked(&mut self, check: &Check) {
        let unsure = &mut self.unsure[check.replica];
        match (check.verdict, *unsure) {
            (Verdict::Unsure, None) => *unsure = Some(check.ended),
            (Verdict::Allowed, Some(since)) if since < check.started => {
                *unsure = None;
                // If it recovered while a newer fault is active, the recovery counts for the fault before
                // that.
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

    /// All recoveries, the longest last.
    pub fn healed(&self) -> Vec<Healed> {
        let mut healed = self.healed.clone();
        healed.sort_by_key(|healed| healed.took);
        healed
    }
}
