//! What was acknowledged when, and what was allowed when.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// One token's fate.
#[derive(Clone, Copy, Debug, Default)]
struct Fate {
    /// When the store said that it is revoked.
    acknowledged: Option<Instant>,
}

/// The history of a run.
pub struct History {
    max_staleness: Duration,
    fates: Mutex<Vec<Fate>>,
    tally: Mutex<Tally>,
}

#[derive(Debug, Default)]
struct Tally {
    allowed: u64,
    denied: u64,
    errors: u64,
    violations: Vec<String>,
}

impl History {
    pub fn of(tokens: usize, max_staleness: Duration) -> Self {
        Self {
            max_staleness,
            fates: Mutex::new(vec![Fate::default(); tokens]),
            tally: Mutex::default(),
        }
    }

    pub fn acknowledged(&self, token: usize) {
        self.fates.lock().unwrap()[token]
            .acknowledged
            .get_or_insert_with(Instant::now);
    }

    pub fn is_acknowledged(&self, token: usize) -> bool {
        self.fates.lock().unwrap()[token].acknowledged.is_some()
    }

    /// A check of `token` that started at `started` on this replica was answered with `reason`.
    pub fn answered(
        &self,
        token: usize,
        replica: usize,
        started: Instant,
        allowed: bool,
        reason: &str,
    ) {
        let acknowledged = self.fates.lock().unwrap()[token].acknowledged;
        let mut tally = self.tally.lock().unwrap();
        match (allowed, reason) {
            (true, _) => tally.allowed += 1,
            (false, "revoked") => tally.denied += 1,
            (false, _) => tally.errors += 1,
        }
        let Some(acknowledged) = acknowledged.filter(|_| allowed) else {
            return;
        };
        let late = started.saturating_duration_since(acknowledged);
        if late > self.max_staleness {
            tally.violations.push(format!(
                "token {token} was allowed by replica {replica} in a check that started {late:?} after its \
                 revocation was acknowledged"
            ));
        }
    }

    /// Fails where the promise was broken.
    pub fn must_be_kept(&self) {
        let tally = self.tally.lock().unwrap();
        let violations = &tally.violations;
        assert!(
            violations.is_empty(),
            "{} checks broke the promise; the first:\n{}",
            violations.len(),
            violations[..violations.len().min(5)].join("\n")
        );
    }

    pub fn summary(&self) -> String {
        let tally = self.tally.lock().unwrap();
        let revoked = self
            .fates
            .lock()
            .unwrap()
            .iter()
            .filter(|f| f.acknowledged.is_some())
            .count();
        // A run in which nothing was allowed or nothing denied has shown nothing.
        assert!(
            tally.allowed > 100 && tally.denied > 100 && revoked > 20,
            "{tally:?}"
        );
        format!(
            "{revoked} revocations acknowledged; {} checks allowed, {} denied as revoked, {} refused for want of \
             certainty; 0 allowed that should not have been",
            tally.allowed, tally.denied, tally.errors
        )
    }
}
