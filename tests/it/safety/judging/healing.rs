//! How long a replica goes on answering that it cannot decide, after what was wrong is over.

use std::time::Duration;

use super::{At, Check, Verdict};

#[derive(Default)]
pub struct Healing {
    /// When faults ended.
    ends: Vec<At>,
    /// For each replica since when it cannot decide; `None` where it can.
    unsure: Vec<Option<At>>,
    /// How long each healing took.
    took: Vec<Duration>,
}

impl Healing {
    pub fn of(replicas: usize) -> Self {
        Self {
            unsure: vec![None; replicas],
            ..Self::default()
        }
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
                    self.took.push(check.ended - since.max(*last));
                }
            }
            _ => {}
        }
    }

    /// Half of the times are below the first; the second is the longest; and how many there are.
    pub fn times(&self) -> (Duration, Duration, usize) {
        let mut took = self.took.clone();
        took.sort_unstable();
        let longest = took.last().copied().unwrap_or_default();
        let median = took.get(took.len() / 2).copied().unwrap_or_default();
        (median, longest, took.len())
    }
}
