//! The history of a run, recorded concurrently: what was stated when, what was answered when, and the
//! verdicts of the judge.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::judging::{
    At, Breach, Check, Healed, Healing, Judge, Key, LATEST_EFFECT, Origin, Rules, Says,
    StatementId, Token, Verdict,
};
use crate::support::tokens::now;

/// How long a replica may take to recover. Generous, because the machine may be busy.
const TO_HEAL: Duration = Duration::from_secs(30);
/// How many breaches are reported in full.
const TOLD: usize = 5;
/// How many of the longest recoveries are reported.
const LONGEST_TOLD: usize = 5;

pub struct History {
    began: Instant,
    /// The second since 1970 in which the run began.
    second: i64,
    inner: Mutex<Inner>,
}

struct Inner {
    judge: Judge,
    healing: Healing,
    tally: Tally,
}

#[derive(Debug, Default)]
struct Tally {
    allowed: u64,
    denied: u64,
    unsure: u64,
    /// How many statements were acknowledged, and how many have an unknown outcome.
    acknowledged: u64,
    unknown: u64,
    breaches: HashMap<&'static str, u64>,
    told: Vec<String>,
}

/// A statement that is being made.
pub struct Making {
    key: Key,
    id: StatementId,
    says: Says,
}

impl History {
    pub fn of(replicas: usize, rules: Rules) -> Self {
        let (judge, healing, tally) = (Judge::of(rules), Healing::of(replicas), Tally::default());
        Self {
            began: Instant::now(),
            second: now(),
            inner: Mutex::new(Inner {
                judge,
                healing,
                tally,
            }),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    fn at(&self, instant: Instant) -> At {
        instant.duration_since(self.began)
    }

    /// Converts a second since 1970 to a second of the run. A time before the run counts as its first second.
    pub fn second_of(&self, since_1970: i64) -> u64 {
        u64::try_from(since_1970 - self.second).unwrap_or_default()
    }

    /// Converts a second of the run to a second since 1970.
    pub fn since_1970(&self, second: u64) -> i64 {
        self.second + i64::try_from(second).unwrap()
    }

    /// Returns when something that lives for `life` from now on expires.
    pub fn until(&self, life: Duration) -> At {
        self.began.elapsed() + life
    }

    /// A statement with a cutoff at an unknown time about now.
    pub fn up_to_about_now(&self, life: Duration) -> Says {
        let from = self.second_of(now()).saturating_sub(1);
        Says::RevokedUpTo {
            from,
            to: from + LATEST_EFFECT.as_secs() + 2,
            until: self.until(life),
        }
    }

    /// Records that somebody is about to make this statement.
    pub fn begins(&self, key: Key, says: Says, origin: Origin) -> Making {
        let mut inner = self.inner();
        // The time is taken after locking: no check that ended after the statement began may be judged
        // without the statement.
        let at = self.began.elapsed();
        let id = inner.judge.begins(key, says, origin, at);
        Making { key, id, says }
    }

    /// Records that the statement was acknowledged a moment ago.
    pub fn acknowledged(&self, making: &Making) {
        self.acknowledged_as(making, making.says);
    }

    /// Records that the statement was acknowledged a moment ago, with this meaning.
    pub fn acknowledged_as(&self, Making { key, id, .. }: &Making, says: Says) {
        let at = self.began.elapsed();
        let mut inner = self.inner();
        inner.judge.acknowledged(*key, *id, says, at);
        inner.tally.acknowledged += 1;
    }

    /// Records that the outcome of the statement is unknown.
    pub fn is_unknown(&self, Making { key, id, .. }: &Making) {
        let mut inner = self.inner();
        inner.judge.is_unknown(*key, *id);
        inner.tally.unknown += 1;
    }

    pub fn fault_began(&self, fault: impl fmt::Debug) {
        self.inner().healing.fault_began(format!("{fault:?}"));
    }

    pub fn fault_ended(&self) {
        let at = self.began.elapsed();
        self.inner().healing.fault_ended(at);
    }

    /// Records that a check on this replica, which began at `started`, was answered a moment ago.
    pub fn answered(&self, token: Token, replica: usize, started: Instant, verdict: Verdict) {
        let check = self.check(token, replica, started, verdict);
        let mut inner = self.inner();
        inner.healing.checked(&check);
        inner.tally.count(verdict);
        if let Some(breach) = inner.judge.checked(&check) {
            inner.note(breach, &check);
        }
    }

    /// Like [`Self::answered`], when no fault is active any more.
    pub fn answered_at_rest(
        &self,
        token: Token,
        replica: usize,
        started: Instant,
        verdict: Verdict,
    ) {
        let check = self.check(token, replica, started, verdict);
        let mut inner = self.inner();
        inner.tally.count(verdict);
        if let Some(breach) = inner.judge.checked_at_rest(&check) {
            inner.note(breach, &check);
        }
    }

    fn check(&self, token: Token, replica: usize, started: Instant, verdict: Verdict) -> Check {
        Check {
            token,
            replica,
            started: self.at(started),
            ended: self.began.elapsed(),
            verdict,
        }
    }

    /// Whether a token is certainly revoked by now.
    pub fn is_revoked(&self, token: Token) -> bool {
        let now = self.began.elapsed();
        self.inner().judge.is_revoked(token, now)
    }

    /// Panics if a rule was broken.
    pub fn must_be_kept(&self) {
        let inner = self.inner();
        let tally = &inner.tally;
        assert!(
            tally.breaches.is_empty(),
            "{:?}; the first:\n{}",
            tally.breaches,
            tally.told.join("\n")
        );
    }

    pub fn summary(&self) -> String {
        let inner = self.inner();
        let tally = &inner.tally;
        // A run in which nothing was allowed or nothing was denied has proved nothing.
        assert!(
            tally.allowed > 100 && tally.denied > 100 && tally.acknowledged > 20,
            "{tally:?}"
        );
        let healed = told_of(&inner.healing.healed());
        format!(
            "{} statements acknowledged, {} with an unknown outcome; {} checks allowed, {} denied as revoked, {} refused for \
             want of certainty; 0 allowed too late, 0 refused falsely, 0 flipped back; {healed}",
            tally.acknowledged, tally.unknown, tally.allowed, tally.denied, tally.unsure
        )
    }
}

/// The report about recovery times, the longest last. Panics if one took too long.
fn told_of(healed: &[Healed]) -> String {
    let longest: Vec<_> = healed.iter().rev().take(LONGEST_TOLD).collect();
    let in_time = healed.iter().all(|healed| healed.took < TO_HEAL);
    assert!(in_time, "healing took long: {longest:#?}");
    let median = healed.get(healed.len() / 2).map(|healed| healed.took);
    let line = |h: &&Healed| format!("\n    {:?}: replica {}, {}", h.took, h.replica, h.fault);
    let lines: String = longest.iter().map(line).collect();
    format!(
        "healed {} times, in {:?} (median); the longest:{lines}",
        healed.len(),
        median.unwrap_or_default()
    )
}

impl Tally {
    fn count(&mut self, verdict: Verdict) {
        let count = match verdict {
            Verdict::Allowed => &mut self.allowed,
            Verdict::Revoked => &mut self.denied,
            Verdict::Unsure => &mut self.unsure,
        };
        *count += 1;
    }
}

impl Inner {
    fn note(&mut self, breach: Breach, check: &Check) {
        let name = match breach {
            Breach::AllowedTooLate(_) => "allowed too late",
            Breach::NeverRegistered => "allowed without a registration",
            Breach::NeverRevoked => "refused although never revoked",
            Breach::FlippedBack => "refused again by itself",
            Breach::LostForEver => "revoked and allowed at the end",
            Breach::NotTakenBack => "taken back and refused at the end",
        };
        *self.tally.breaches.entry(name).or_default() += 1;
        if self.tally.told.len() < TOLD {
            let story = self.judge.story_of(check.token);
            let told = format!("{breach:?}: {check:?}, of which was stated:\n{story}");
            self.tally.told.push(told);
        }
    }
}
