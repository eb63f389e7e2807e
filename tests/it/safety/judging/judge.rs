//! The judge: receives statements and checks in the order in which they end, and decides which checks break a
//! rule.

use std::collections::HashMap;
use std::time::Duration;

use super::statement::{Origin, Outcome, Says, Statement, StatementId};
use super::{At, Check, Key, Token, Verdict};

/// The parameters of the promise.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// How long after an acknowledgement a check may begin and still allow.
    pub max_staleness: Duration,
    /// Whether only registered tokens are accepted.
    pub allow_list: bool,
}

/// The rule that a check breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breach {
    /// Allowed, although it was revoked this long before the check began.
    AllowedTooLate(Duration),
    /// Allowed, although nobody has ever registered it.
    NeverRegistered,
    /// Refused as revoked, although no statement ever revoked it.
    NeverRevoked,
    /// Refused as revoked by a replica that had allowed it, although nothing was stated in between.
    FlippedBack,
    /// After all faults: allowed, although the last statement revokes it.
    LostForEver,
    /// After all faults: refused, although the last statement takes the revocation back.
    NotTakenBack,
}

pub struct Judge {
    rules: Rules,
    statements: HashMap<Key, Vec<Statement>>,
    /// Begin and end of the check that began last of those that allowed a token on a replica.
    allowed: HashMap<(Token, usize), (At, At)>,
}

impl Judge {
    pub fn of(rules: Rules) -> Self {
        Self {
            rules,
            statements: HashMap::new(),
            allowed: HashMap::new(),
        }
    }

    /// Records that somebody begins to make this statement.
    pub fn begins(&mut self, key: Key, says: Says, origin: Origin, began: At) -> StatementId {
        let statements = self.statements.entry(key).or_default();
        statements.push(Statement {
            says,
            origin,
            began,
            outcome: Outcome::UnderWay,
        });
        StatementId(statements.len() - 1)
    }

    /// Records that the statement was acknowledged at this time, with this meaning.
    pub fn acknowledged(&mut self, key: Key, id: StatementId, says: Says, at: At) {
        let statement = self.statement(key, id);
        statement.says = says;
        statement.outcome = Outcome::Acknowledged(at);
    }

    /// Records that nobody knows whether the statement takes effect.
    pub fn is_unknown(&mut self, key: Key, id: StatementId) {
        self.statement(key, id).outcome = Outcome::Unknown;
    }

    fn statement(&mut self, key: Key, id: StatementId) -> &mut Statement {
        let statements = self.statements.get_mut(&key);
        &mut statements.expect("somebody began to state it")[id.0]
    }

    /// Describes the recent statements about a token.
    pub fn story_of(&self, token: Token) -> String {
        const OF_LATE: usize = 10;
        let line = |statement: &Statement| format!("    {statement:?}\n");
        let statements = self.of_key(token.key());
        let of_late = &statements[statements.len().saturating_sub(OF_LATE)..];
        of_late.iter().map(line).collect()
    }

    fn of_key(&self, key: Key) -> &[Statement] {
        self.statements.get(&key).map_or(&[], Vec::as_slice)
    }

    /// Judges a check. Every statement that began before its end must have been recorded.
    pub fn checked(&mut self, check: &Check) -> Option<Breach> {
        match check.verdict {
            Verdict::Unsure => None,
            Verdict::Allowed => {
                let seen = self
                    .allowed
                    .entry((check.token, check.replica))
                    .or_default();
                *seen = (*seen).max((check.started, check.ended));
                if self.rules.allow_list && !self.may_be_registered(check) {
                    return Some(Breach::NeverRegistered);
                }
                self.revoked_before(check).map(Breach::AllowedTooLate)
            }
            Verdict::Revoked if self.lacks_registration(check) => None,
            Verdict::Revoked if !self.may_have_been_revoked(check) => Some(Breach::NeverRevoked),
            Verdict::Revoked => self.has_flipped(check).then_some(Breach::FlippedBack),
        }
    }

    /// Judges a check after all faults, and long after the last statement.
    pub fn checked_at_rest(&mut self, check: &Check) -> Option<Breach> {
        let revoked = self.revoked_before(check).is_some();
        match check.verdict {
            Verdict::Allowed if revoked => Some(Breach::LostForEver),
            Verdict::Revoked if self.is_taken_back(check) => Some(Breach::NotTakenBack),
            _ => self.checked(check),
        }
    }

    /// Whether the token is certainly revoked.
    pub fn is_revoked(&self, token: Token, now: At) -> bool {
        let check = Check {
            token,
            replica: usize::MAX,
            started: now + self.rules.max_staleness,
            ended: now + self.rules.max_staleness,
            verdict: Verdict::Unsure,
        };
        self.revoked_before(&check).is_some()
    }

    /// How long before the check the token was revoked, beyond what is promised, if it certainly was and
    /// stayed so.
    fn revoked_before(&self, check: &Check) -> Option<Duration> {
        let statements = self.of_key(check.token.key());
        let taken_back = |s: &&Statement| s.takes_back() && s.began <= check.ended;
        let taken_back = statements.iter().filter(taken_back);
        // Computed once: a token that was revoked and un-revoked a thousand times is checked as often.
        let taken_back = taken_back.map(Statement::latest).max();
        let stands = |revocation: &Statement| taken_back.is_none_or(|at| at < revocation.began);
        let in_time = |revocation: &Statement| {
            let until = revocation.revokes(check.token)?;
            let staleness = match revocation.origin {
                Origin::Api(replica) if replica == check.replica => Duration::ZERO,
                Origin::Api(_) | Origin::Hand => self.rules.max_staleness,
            };
            let at = revocation.acknowledged()?;
            (at + staleness < check.started && check.ended <= until && stands(revocation))
                .then(|| check.started - at)
        };
        statements.iter().rev().find_map(in_time)
    }

    fn may_have_been_revoked(&self, check: &Check) -> bool {
        let statements = self.of_key(check.token.key()).iter();
        let mut begun = statements.filter(|s| s.began <= check.ended);
        begun.any(|s| s.may_revoke(check.token))
    }

    /// Whether every revocation was certainly made before an acknowledged un-revocation. Direct writes do not
    /// say which of two statements is the later one.
    fn is_taken_back(&self, check: &Check) -> bool {
        let statements = self.of_key(check.token.key());
        let taken_back = |s: &&Statement| s.takes_back() && s.acknowledged().is_some();
        let last = statements.iter().filter(taken_back).map(|s| s.began).max();
        let undone = |revocation: &Statement| {
            revocation.origin != Origin::Hand && last.is_some_and(|at| revocation.latest() < at)
        };
        let mut revocations = statements.iter().filter(|s| s.may_revoke(check.token));
        revocations.all(undone) && !self.lacks_registration(check)
    }

    /// Whether the replica had allowed the token in a check that knew of every revocation. Direct writes do
    /// not say which of two statements is the later one: if a server goes back to older data, a token that
    /// may be revoked is refused.
    fn has_flipped(&self, check: &Check) -> bool {
        let Some((started, ended)) = self.allowed.get(&(check.token, check.replica)) else {
            return false;
        };
        let known = started.saturating_sub(self.rules.max_staleness);
        let unseen = |s: &Statement| {
            s.may_revoke(check.token)
                && s.began <= check.ended
                && (s.origin == Origin::Hand || s.latest() >= known)
        };
        *ended < check.started && !self.of_key(check.token.key()).iter().any(unseen)
    }

    fn may_be_registered(&self, check: &Check) -> bool {
        let registrations = self.of_key(Key::Registration(check.token));
        registrations.iter().any(|s| s.began <= check.ended)
    }

    /// Whether the token is rightly refused because it has no acknowledged registration.
    fn lacks_registration(&self, check: &Check) -> bool {
        let registrations = self.of_key(Key::Registration(check.token));
        let registered = |s: &Statement| s.acknowledged().is_some_and(|at| at < check.started);
        self.rules.allow_list && !registrations.iter().any(registered)
    }
}
