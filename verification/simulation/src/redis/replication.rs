//! What a primary has changed is sent to its replica, which lags behind.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::machine::Machine;
use super::process::{Effect, Role};

/// How often what a primary has changed is sent to its replica.
pub(super) const SENT_EVERY: Duration = Duration::from_millis(10);

/// Has one server hold what the other holds, as a replica after it has connected anew.
pub(super) fn copy(from: &Machine, to: &Machine) {
    let copied = from.with(|process, _| (process.data.clone(), process.replication_id.clone()));
    let Some((data, history)) = copied else {
        return;
    };
    to.with(|process, _| {
        process.flush(0..2);
        process.data = data;
        process.replication_id = history;
        process.role = Role::ReplicaOf(from.name.clone());
    });
}

/// What is under way from a primary to its replica.
#[derive(Default)]
pub(super) struct Stream {
    /// The process that it comes from, and how many of its changes were sent.
    source: Option<String>,
    sent: usize,
    under_way: VecDeque<(Instant, Effect)>,
}

impl Stream {
    /// Takes in what the primary has changed. `restarts` is called where the replica has been given everything anew.
    pub(super) fn read(
        &mut self,
        from: &Machine,
        to: &Machine,
        due: Instant,
        restarts: impl FnOnce(),
    ) {
        let is_replica = to.with(|process, _| process.role != Role::Primary);
        if is_replica != Some(true) {
            *self = Self::default();
            return;
        }
        let sent = self.sent;
        let source = self.source.clone();
        let read = from.with(|process, _| {
            let is_same = source.as_ref() == Some(&process.run_id);
            let rest = process.effects.get(sent..).unwrap_or_default();
            let rest = is_same.then(|| rest.to_vec());
            (process.run_id.clone(), process.effects.len(), rest)
        });
        let Some((source, sent, effects)) = read else {
            return;
        };
        (self.source, self.sent) = (Some(source), sent);
        match effects {
            Some(effects) => self
                .under_way
                .extend(effects.into_iter().map(|effect| (due, effect))),
            None => {
                self.under_way.clear();
                copy(from, to);
                restarts();
            }
        }
    }

    /// Has the replica do what has arrived.
    pub(super) fn apply(&mut self, to: &Machine) {
        let now = Instant::now();
        while self.under_way.front().is_some_and(|(due, _)| *due <= now) {
            if let Some((_, effect)) = self.under_way.pop_front() {
                to.with(|process, _| process.replay(&effect));
            }
        }
    }

    /// Has the replica do everything that is under way, at once.
    pub(super) fn apply_all(&mut self, to: &Machine) {
        for (_, effect) in std::mem::take(&mut self.under_way) {
            to.with(|process, _| process.replay(&effect));
        }
    }
}
