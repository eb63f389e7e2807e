//! What all parts of a schedule have in common: the replicas, the server, and the record of what happens.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use revoxy::revocation::Deletions;

use crate::history::{By, History, Says, Stamp, StatementId};
use crate::judge::{Check, Judge, Promise, Verdict, Violation};
use crate::net::Net;
use crate::redis::{Cluster, Ensemble, Machine};
use crate::rng::Rng;
use crate::tokens::cast;
use crate::trace::Trace;

use super::plan::Plan;
use super::replica::{Replica, Running};

/// How many replicas there are.
pub const REPLICAS: usize = 3;

/// The stage.
pub struct Stage {
    /// The network.
    pub net: Net,
    /// The servers: one, or one and its replica, or the nodes of a cluster.
    pub servers: Vec<Machine>,
    /// Who watches over them, where there are two.
    pub ensemble: Option<Arc<Ensemble>>,
    /// What the servers are together, where they are a cluster.
    pub cluster: Option<Arc<Cluster>>,
    /// The replicas.
    pub replicas: Vec<Arc<Replica>>,
    /// What the seed has decided on.
    pub plan: Plan,
    /// What happened.
    pub trace: Trace,
    /// How many faults lie on the ways of replicas.
    pub on_the_way: AtomicUsize,
    record: Mutex<Record>,
}

/// What every replica is to have seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// All that was acknowledged, on the server that came after the last loss.
    All,
    /// What was acknowledged to somebody at the server itself. What a replica has acknowledged is in its own view.
    ByHand,
}

struct Record {
    history: History,
    judge: Judge,
    violations: Vec<(Violation, Check)>,
    checks: u64,
    /// Statements that have not been answered yet.
    under_way: Vec<StatementId>,
    /// What only some replicas know was lost, and may not have been made good.
    recovering: bool,
}

impl Stage {
    pub(super) fn new(
        net: Net,
        servers: Vec<Machine>,
        (ensemble, cluster): (Option<Arc<Ensemble>>, Option<Arc<Cluster>>),
        replicas: Vec<Arc<Replica>>,
        plan: Plan,
        trace: Trace,
    ) -> Self {
        let promise = Promise {
            max_staleness: plan.max_staleness.as_millis() as u64,
            hand_takes_back: plan.deletions == Deletions::Honour,
        };
        Self {
            net,
            servers,
            ensemble,
            cluster,
            replicas,
            plan,
            trace,
            on_the_way: AtomicUsize::new(0),
            record: Mutex::new(Record {
                history: History::new(cast().keys.len()),
                judge: Judge::new(promise),
                violations: Vec::new(),
                checks: 0,
                under_way: Vec::new(),
                recovering: false,
            }),
        }
    }

    /// By how much replicas of Redis lag behind from now on.
    pub fn set_lag(&self, lag: Duration) {
        if let Some(cluster) = &self.cluster {
            cluster.set_lag(lag);
        }
        if let Some(ensemble) = &self.ensemble {
            ensemble.set_lag(lag);
        }
    }

    /// The server that counts.
    pub fn primary(&self) -> &Machine {
        let at = self
            .ensemble
            .as_ref()
            .map_or(0, |ensemble| ensemble.primary());
        &self.servers[at]
    }

    /// A server that counts: of a cluster, any primary.
    pub fn some_primary(&self, rng: &mut Rng) -> Machine {
        match &self.cluster {
            None => self.primary().clone(),
            Some(cluster) => {
                let shard = rng.below(cluster.shards() as u64) as usize;
                cluster.machine(cluster.primary(shard)).clone()
            }
        }
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a replica, in the place of the one that ran.
    pub fn start_replica(&self, at: usize) {
        let number = self.record().judge.meet(at, cast().tokens.len());
        self.replicas[at].start(number, &self.plan);
    }

    /// The paths of the replica at this place are disturbed for so long from now on.
    pub fn disturb(&self, at: usize, lasts: Duration) {
        let until = self.trace.millis() + u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX);
        self.record().judge.disturb(at, until);
    }

    /// Somebody begins to state something.
    pub fn invoke(&self, key: usize, by: By, says: Says) -> StatementId {
        let name = cast().keys[key].value();
        let numbers = [1, key as u64, u64::from(says == Says::TakenBack)];
        self.trace
            .event(&numbers, || format!("{by:?} begins: {name} {says:?}"));
        let mut record = self.record();
        let statement = record.history.invoke(key, by, says);
        record.under_way.push(statement);
        statement
    }

    /// The statement was answered: acknowledged, or not.
    pub fn answer(
        &self,
        statement: StatementId,
        acknowledged: bool,
        words: impl FnOnce() -> String,
    ) {
        let mut record = self.record();
        record.under_way.retain(|other| *other != statement);
        if acknowledged {
            record.history.acknowledge(statement);
        }
        self.trace.event(&[2, u64::from(acknowledged)], words);
    }

    /// The server has lost something, or may have.
    pub fn lose(&self) {
        self.record().history.lose();
    }

    /// The server has lost something that not every replica may know.
    pub fn lose_some(&self, all_know: bool) {
        self.lose();
        if !all_know {
            self.record().recovering = true;
        }
    }

    /// Soon something is lost that not every replica may know.
    pub fn begin_recovery(&self) {
        self.lose_some(false);
    }

    /// Whether the server has lost what only some replicas know, and the others have not heard of it yet.
    pub fn is_recovering(&self) -> bool {
        let mut record = self.record();
        let lost = record.history.losses.last().copied();
        record.recovering = record.recovering && !self.are_fresh_since(lost);
        record.recovering
    }

    /// Whether nothing of this is being stated, and every replica's view is known to hold it.
    pub fn have_seen(&self, what: Seen) -> bool {
        let mut guard = self.record();
        let record = &mut *guard;
        let history = &record.history;
        let counts = |by: By| what == Seen::All || by == By::Hand;
        let mut under_way = record.under_way.iter().map(|s| history.statement(*s));
        if under_way.any(|statement| counts(statement.by)) {
            return false;
        }
        let lost = history.losses.last().filter(|_| what == Seen::All);
        let last = history.last_acknowledged(counts).max(lost.copied());
        drop(guard);
        self.are_fresh_since(last)
    }

    /// Whether every replica's view is known to be complete as of a later moment.
    fn are_fresh_since(&self, moment: Option<Stamp>) -> bool {
        let now = self.trace.millis();
        let since = moment.map_or(u64::MAX, |moment| now - moment.millis);
        self.replicas.iter().all(|replica| {
            let running = replica.running();
            let age = running.and_then(|running| running.age());
            age.is_some_and(|age| (age.as_millis() as u64) < since)
        })
    }

    /// Checks a token at a replica, now; where the store has to be asked, in a task of its own.
    pub fn check(self: &Arc<Self>, running: &Arc<Running>, token: usize, is_last: bool) -> bool {
        let keys = &cast().tokens[token].keys;
        let started = self.record().history.now();
        if let Some(verdict) = running.look(keys) {
            return self.judge(running.number, token, started, verdict, is_last);
        }
        let (stage, running) = (Arc::clone(self), Arc::clone(running));
        tokio::spawn(async move {
            let verdict = running.ask(&cast().tokens[token].keys).await;
            stage.judge(running.number, token, started, verdict, is_last);
        });
        false
    }

    fn judge(
        &self,
        replica: usize,
        token: usize,
        started: Stamp,
        verdict: Verdict,
        is_last: bool,
    ) -> bool {
        let mut guard = self.record();
        let record = &mut *guard;
        let check = Check {
            token,
            replica,
            started,
            ended: record.history.now(),
            verdict,
        };
        record.checks += 1;
        let mut violation = record.judge.hear(&check, &record.history, cast());
        let mut is_as_expected = verdict != Verdict::Undecided;
        if violation.is_none() {
            let last = record.judge.hear_last(&check, &record.history, cast());
            is_as_expected = last.is_none();
            violation = last.filter(|_| is_last);
        }
        let numbers = [3, token as u64, replica as u64, verdict as u64];
        let name = &cast().tokens[token].name;
        match violation {
            Some(violation) => {
                self.trace.event(&numbers, || {
                    format!(
                        "VIOLATION {violation:?}: {name} at replica {replica}, check begun at {}",
                        started.millis
                    )
                });
                record.violations.push((violation, check));
            }
            None => self.trace.note(&numbers),
        }
        is_as_expected
    }

    /// What was found wrong, and how many checks were made.
    pub fn result(&self) -> (Vec<(Violation, Check)>, u64) {
        let record = self.record();
        (record.violations.clone(), record.checks)
    }
}
