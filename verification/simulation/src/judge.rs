//! Judges checks by what was stated, and by nothing else.

use crate::history::{By, History, Says, Stamp, Statement};
use crate::tokens::Cast;

/// By how much the end of a revocation may be off, in milliseconds: it is read at an unknown instant of a round trip.
const END_SLACK: u64 = 3_000;

/// For how long after an un-revocation, beyond `max_staleness`, a refusal may follow an answer of the server that allowed, in
/// milliseconds: what the feed reads comes over another connection, and may be of an earlier moment.
const TURBULENCE: u64 = 1_500;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The token may pass.
    Allowed,
    /// It is revoked.
    Refused,
    /// Nobody could tell.
    Undecided,
}

/// A check that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// Of which token.
    pub token: usize,
    /// By which replica.
    pub replica: usize,
    /// When it began.
    pub started: Stamp,
    /// When it ended.
    pub ended: Stamp,
    /// How.
    pub verdict: Verdict,
}

/// What a check may never do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// It allowed a token longer than `max_staleness` after its revocation was acknowledged.
    AllowedTooLate,
    /// It refused a token that nobody had revoked.
    NeverRevoked,
    /// It refused a token that had been taken back, and that the same replica had allowed since then.
    RefusedAgain,
    /// It refused a token that had been taken back, when all faults had long been over.
    StaysRefused,
    /// It had no answer when all faults had long been over.
    StaysUndecided,
}

/// What is promised.
#[derive(Clone, Copy, Debug)]
pub struct Promise {
    /// How old a view may be, in milliseconds.
    pub max_staleness: u64,
    /// What is done by hand takes revocations back, and not only the API.
    pub hand_takes_back: bool,
}

/// The judge of one schedule.
#[derive(Debug)]
pub struct Judge {
    promise: Promise,
    replicas: Vec<Replica>,
    /// By place: until when, in milliseconds, the paths of the replica there are disturbed.
    disturbed: Vec<u64>,
}

/// What the judge knows of a replica.
#[derive(Debug)]
struct Replica {
    place: usize,
    /// By token: when it was last allowed.
    allowed: Vec<Option<Stamp>>,
}

impl Judge {
    /// A judge of replicas that are yet to be started.
    pub fn new(promise: Promise) -> Self {
        Self {
            promise,
            replicas: Vec::new(),
            disturbed: Vec::new(),
        }
    }

    /// Takes note of a replica that was started at this place, perhaps instead of another, for whose verdicts it is not
    /// responsible. Returns its number.
    pub fn meet(&mut self, place: usize, tokens: usize) -> usize {
        self.replicas.push(Replica {
            place,
            allowed: vec![None; tokens],
        });
        self.replicas.len() - 1
    }

    /// Takes note that the paths of the replica at this place are disturbed until then, in milliseconds: its view does not
    /// learn what was taken back, and goes on refusing what it holds (docs/promise.md).
    pub fn disturb(&mut self, place: usize, until: u64) {
        if self.disturbed.len() <= place {
            self.disturbed.resize(place + 1, 0);
        }
        self.disturbed[place] = self.disturbed[place].max(until);
    }

    /// Judges a check.
    pub fn hear(&mut self, check: &Check, history: &History, cast: &Cast) -> Option<Violation> {
        let token = &cast.tokens[check.token];
        let statements = token.key.map_or(&[][..], |key| history.of(key));
        let issued_at = token.issued_at;
        match check.verdict {
            Verdict::Undecided => None,
            Verdict::Allowed => {
                self.replicas[check.replica].allowed[check.token] = Some(check.started);
                let must_be_refused = statements
                    .iter()
                    .any(|s| self.is_due(s, check, statements, issued_at));
                must_be_refused.then_some(Violation::AllowedTooLate)
            }
            Verdict::Refused => {
                let revoked = |s: &Statement| s.says.revokes(issued_at) && s.invoked < check.ended;
                if !statements.iter().any(revoked) {
                    return Some(Violation::NeverRevoked);
                }
                let replica = &self.replicas[check.replica];
                let seen = replica.allowed[check.token]?;
                let taken_back = self.taken_back(check, statements, issued_at, history)?;
                // While the server is down, nobody hears that the token was taken back.
                let heard = history
                    .losses
                    .last()
                    .map_or(taken_back, |lost| taken_back.max(*lost));
                let disturbed = self.disturbed.get(replica.place).copied();
                let heard = heard.millis.max(disturbed.unwrap_or_default());
                let calm = heard + self.promise.max_staleness + TURBULENCE;
                let refused_again = taken_back < seen && check.started.millis > calm;
                refused_again.then_some(Violation::RefusedAgain)
            }
        }
    }

    /// Judges a check that comes long after all faults are over.
    pub fn hear_last(&self, check: &Check, history: &History, cast: &Cast) -> Option<Violation> {
        let token = &cast.tokens[check.token];
        let statements = token.key.map_or(&[][..], |key| history.of(key));
        match check.verdict {
            Verdict::Undecided => Some(Violation::StaysUndecided),
            Verdict::Allowed => None,
            Verdict::Refused => self
                .taken_back(check, statements, token.issued_at, history)
                .map(|_| Violation::StaysRefused),
        }
    }

    /// Whether a statement revokes the token, was acknowledged long enough before the check, and may not have been ended.
    fn is_due(&self, s: &Statement, check: &Check, all: &[Statement], issued_at: i64) -> bool {
        let Says::Revoked { until, .. } = s.says else {
            return false;
        };
        let Some(acknowledged) = s.acknowledged else {
            return false;
        };
        let stands =
            |until: Option<u64>| until.is_none_or(|until| check.ended.millis + END_SLACK < until);
        let may_end = |other: &Statement| {
            let shortens =
                matches!(other.says, Says::Revoked { until, replaces: true, .. } if !stands(until));
            (other.says.ends(issued_at) || shortens)
                && other.invoked < check.ended
                && !other.is_before(s)
        };
        s.says.revokes(issued_at)
            && check.started.millis > acknowledged.millis + self.promise.max_staleness
            && stands(until)
            && !all.iter().any(may_end)
    }

    /// Whether a statement takes back for certain what it says to take back. Where deletions are ignored, what is written by hand with
    /// less than what stands is taken for a loss.
    fn is_believed(&self, s: &Statement) -> bool {
        s.acknowledged.is_some() && (self.promise.hand_takes_back || s.by != By::Hand)
    }

    /// When the token was taken back for certain, so that nothing revokes it since; `None` where anybody may have revoked
    /// it since, or may revoke it yet, or where the server has lost what nobody else could know.
    fn taken_back(
        &self,
        check: &Check,
        all: &[Statement],
        issued_at: i64,
        history: &History,
    ) -> Option<Stamp> {
        let last = all
            .iter()
            .filter(|s| s.says.ends(issued_at) && self.is_believed(s))
            .max_by_key(|s| s.acknowledged)?;
        let revoking = || {
            all.iter()
                .filter(|s| s.says.revokes(issued_at) && s.invoked < check.ended)
        };
        if revoking().any(|s| !s.is_before(last)) {
            return None;
        }
        // A value without a version takes the place of the un-revocation. Where deletions are ignored, a replica that had not heard of
        // it joins what it holds with that value, as if no version could tell them apart.
        let overwrites = |s: &Statement| s.by == By::Hand && !s.is_before(last);
        // The same of an earlier un-revocation, by a clock that is ahead: what was set over it counts as right after it, and so as later than
        // the last, until the clocks have come that far (docs/promise.md).
        let overwrote = |s: &Statement| {
            let earlier = |e: &Statement| e.says == Says::TakenBack && e.by != By::Hand;
            s.by == By::Hand && all.iter().any(|e| earlier(e) && !s.is_before(e))
        };
        if !self.promise.hand_takes_back && all.iter().any(|s| overwrites(s) || overwrote(s)) {
            return None;
        }
        // A deletion by hand passes for an eviction until the next comparison, and takes along an un-revocation that a replica has not
        // read yet (docs/promise.md).
        let deletes =
            |s: &Statement| s.by == By::Hand && s.says == Says::TakenBack && !s.is_before(last);
        if !history.losses.is_empty() && all.iter().any(deletes) {
            return None;
        }
        // A cutoff that is stated beside the un-revocation or after it, where a server has lost that, is joined with what was taken back. Of
        // both only the later version is kept, and so the un-revocation between them does not count (docs/promise.md).
        let is_joined = |s: &Statement| {
            let is_revocation = matches!(s.says, Says::Revoked { .. });
            is_revocation && s.invoked < check.ended && !s.is_before(last)
        };
        if !history.losses.is_empty() && all.iter().any(is_joined) {
            return None;
        }
        let by_hand = last.by == By::Hand || revoking().any(|s| s.by == By::Hand);
        if by_hand && !history.losses.is_empty() {
            return None;
        }
        last.acknowledged
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens::cast;

    const REVOKED: Says = Says::Revoked {
        cutoff: None,
        until: None,
        replaces: false,
    };

    fn judge() -> (Judge, History) {
        let promise = Promise {
            max_staleness: 0,
            hand_takes_back: true,
        };
        let mut judge = Judge::new(promise);
        judge.meet(0, cast().tokens.len());
        (judge, History::new(cast().keys.len()))
    }

    fn check(history: &mut History, verdict: Verdict) -> Check {
        let mut started = history.now();
        started.millis += 1;
        Check {
            token: 0,
            replica: 0,
            started,
            ended: Stamp {
                number: started.number + 1,
                ..started
            },
            verdict,
        }
    }

    fn state(history: &mut History, says: Says) {
        let statement = history.invoke(0, By::Replica(0), says);
        history.acknowledge(statement);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_may_not_be_allowed_once_its_revocation_was_acknowledged() {
        let (mut judge, mut history) = judge();
        state(&mut history, REVOKED);
        let allowed = check(&mut history, Verdict::Allowed);
        let violation = judge.hear(&allowed, &history, cast());
        assert_eq!(violation, Some(Violation::AllowedTooLate));
        state(&mut history, Says::TakenBack);
        let allowed = check(&mut history, Verdict::Allowed);
        assert_eq!(judge.hear(&allowed, &history, cast()), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_may_not_be_refused_before_it_is_revoked_nor_again_after_it_was_allowed() {
        let (mut judge, mut history) = judge();
        let refused = check(&mut history, Verdict::Refused);
        let violation = judge.hear(&refused, &history, cast());
        assert_eq!(violation, Some(Violation::NeverRevoked));
        state(&mut history, REVOKED);
        state(&mut history, Says::TakenBack);
        let refused = check(&mut history, Verdict::Refused);
        assert_eq!(judge.hear(&refused, &history, cast()), None);
        let last = judge.hear_last(&refused, &history, cast());
        assert_eq!(last, Some(Violation::StaysRefused));
        let allowed = check(&mut history, Verdict::Allowed);
        assert_eq!(judge.hear(&allowed, &history, cast()), None);
        let mut refused = check(&mut history, Verdict::Refused);
        refused.started.millis += 2 * TURBULENCE;
        refused.ended.millis += 2 * TURBULENCE;
        let violation = judge.hear(&refused, &history, cast());
        assert_eq!(violation, Some(Violation::RefusedAgain));
    }

    #[tokio::test(start_paused = true)]
    async fn a_replica_whose_paths_are_disturbed_may_refuse_what_was_taken_back() {
        let (mut judge, mut history) = judge();
        state(&mut history, REVOKED);
        state(&mut history, Says::TakenBack);
        let allowed = check(&mut history, Verdict::Allowed);
        assert_eq!(judge.hear(&allowed, &history, cast()), None);
        let mut refused = check(&mut history, Verdict::Refused);
        refused.started.millis += 2 * TURBULENCE;
        refused.ended.millis += 2 * TURBULENCE;
        let again = Some(Violation::RefusedAgain);
        judge.disturb(1, refused.started.millis);
        assert_eq!(judge.hear(&refused, &history, cast()), again);
        judge.disturb(0, refused.started.millis - TURBULENCE);
        assert_eq!(judge.hear(&refused, &history, cast()), None);
        refused.started.millis += 1;
        assert_eq!(judge.hear(&refused, &history, cast()), again);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_written_by_hand_takes_nothing_back_where_deletions_are_ignored() {
        let (mut judge, mut history) = judge();
        state(&mut history, REVOKED);
        let statement = history.invoke(0, By::Hand, Says::TakenBack);
        history.acknowledge(statement);
        let refused = check(&mut history, Verdict::Refused);
        let last = judge.hear_last(&refused, &history, cast());
        assert_eq!(last, Some(Violation::StaysRefused));
        judge.promise.hand_takes_back = false;
        assert_eq!(judge.hear_last(&refused, &history, cast()), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cutoff_beside_an_un_revocation_may_bring_back_what_that_took_back_where_a_server_lost_it()
     {
        let narrow = || Says::Revoked {
            cutoff: Some(cast().tokens[0].issued_at - 1),
            until: None,
            replaces: false,
        };
        let stays = Some(Violation::StaysRefused);
        let (judge, mut history) = judge();
        state(&mut history, REVOKED);
        state(&mut history, narrow());
        state(&mut history, Says::TakenBack);
        history.lose();
        let refused = check(&mut history, Verdict::Refused);
        assert_eq!(judge.hear_last(&refused, &history, cast()), stays);
        history.losses.clear();
        state(&mut history, narrow());
        let refused = check(&mut history, Verdict::Refused);
        assert_eq!(judge.hear_last(&refused, &history, cast()), stays);
        history.lose();
        let refused = check(&mut history, Verdict::Refused);
        assert_eq!(judge.hear_last(&refused, &history, cast()), None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_un_revocation_that_was_never_acknowledged_may_come_at_any_time() {
        let (mut judge, mut history) = judge();
        history.invoke(0, By::Replica(0), Says::TakenBack);
        state(&mut history, REVOKED);
        let allowed = check(&mut history, Verdict::Allowed);
        assert_eq!(judge.hear(&allowed, &history, cast()), None);
    }
}
