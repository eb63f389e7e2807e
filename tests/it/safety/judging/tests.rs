//! Tests of the judge itself, with histories of a few events. Times are in milliseconds; the promised
//! staleness is 100.

use std::time::Duration;

use super::statement::{Origin, Says};
use super::*;

const DEVICE: Token = Token::Device(0);
const FOR_EVER: At = At::MAX;

fn ms(ms: u64) -> At {
    Duration::from_millis(ms)
}

fn new_judge() -> Judge {
    Judge::of(Rules {
        max_staleness: ms(100),
        allow_list: false,
    })
}

fn session(issued: u64) -> Token {
    Token::Session { subject: 0, issued }
}

const REVOKED: Says = Says::Revoked { until: FOR_EVER };

fn up_to(second: u64) -> Says {
    Says::RevokedUpTo {
        from: second,
        to: second,
        until: FOR_EVER,
    }
}

impl Judge {
    /// A statement through replica 0 that is acknowledged.
    fn states(&mut self, key: Key, says: Says, (began, ended): (u64, u64)) {
        let id = self.begins(key, says, Origin::Api(0), ms(began));
        self.acknowledged(key, id, says, ms(ended));
    }

    /// A statement through replica 0 with an unknown outcome.
    fn attempts(&mut self, key: Key, says: Says, began: u64) {
        let id = self.begins(key, says, Origin::Api(0), ms(began));
        self.is_unknown(key, id);
    }

    /// A check on replica 1.
    fn answers(&mut self, token: Token, verdict: Verdict, when: (u64, u64)) -> Option<Breach> {
        self.checked(&check(token, 1, verdict, when))
    }
}

fn check(token: Token, replica: usize, verdict: Verdict, (started, ended): (u64, u64)) -> Check {
    Check {
        token,
        replica,
        started: ms(started),
        ended: ms(ended),
        verdict,
    }
}

const KEY: Key = Key::Device(0);
const SUBJECT: Key = Key::Subject(0);
use Verdict::{Allowed, Revoked, Unsure};

#[test]
fn a_revoked_token_may_be_allowed_for_as_long_as_is_promised() {
    let mut judge = new_judge();
    judge.states(KEY, REVOKED, (1000, 1010));
    assert_eq!(judge.answers(DEVICE, Allowed, (1110, 1300)), None);
    let late = Some(Breach::AllowedTooLate(ms(101)));
    assert_eq!(judge.answers(DEVICE, Allowed, (1111, 1112)), late);
    assert_eq!(judge.answers(DEVICE, Revoked, (1001, 1002)), None);
    assert_eq!(judge.answers(DEVICE, Unsure, (1500, 1501)), None);
}

#[test]
fn the_replica_that_acknowledged_refuses_at_once() {
    let mut judge = new_judge();
    judge.states(KEY, REVOKED, (1000, 1010));
    let late = Some(Breach::AllowedTooLate(ms(1)));
    assert_eq!(
        judge.checked(&check(DEVICE, 0, Allowed, (1011, 1012))),
        late
    );
    assert_eq!(
        judge.checked(&check(DEVICE, 0, Allowed, (1010, 1012))),
        None
    );
}

#[test]
fn a_revocation_of_which_nobody_knows_allows_either() {
    let mut judge = new_judge();
    judge.attempts(KEY, REVOKED, 1000);
    for verdict in [Allowed, Revoked, Allowed, Revoked] {
        assert_eq!(judge.answers(DEVICE, verdict, (5000, 5001)), None);
    }
}

#[test]
fn nothing_but_a_revocation_explains_a_refusal() {
    let mut judge = new_judge();
    let breach = Some(Breach::NeverRevoked);
    assert_eq!(judge.answers(DEVICE, Revoked, (10, 20)), breach);
    judge.attempts(KEY, REVOKED, 1000);
    assert_eq!(judge.answers(DEVICE, Revoked, (900, 999)), breach);
    assert_eq!(judge.answers(DEVICE, Revoked, (900, 1000)), None);
}

#[test]
fn what_was_taken_back_may_be_allowed_and_what_was_revoked_after_it_may_not() {
    let mut judge = new_judge();
    judge.states(KEY, REVOKED, (1000, 1010));
    judge.states(KEY, Says::NotRevoked, (2000, 2010));
    assert_eq!(judge.answers(DEVICE, Allowed, (2001, 2002)), None);
    judge.states(KEY, REVOKED, (3000, 3010));
    let late = Some(Breach::AllowedTooLate(ms(490)));
    assert_eq!(judge.answers(DEVICE, Allowed, (3500, 3501)), late);
    // Not yet begun when the check ended.
    assert_eq!(
        judge.answers(DEVICE, Allowed, (1500, 1501)),
        Some(Breach::AllowedTooLate(ms(490)))
    );
}

#[test]
fn of_two_statements_at_the_same_time_either_may_be_the_later() {
    let mut judge = new_judge();
    judge.states(KEY, REVOKED, (1000, 1010));
    judge.states(KEY, Says::NotRevoked, (1005, 1020));
    assert_eq!(judge.answers(DEVICE, Allowed, (2000, 2001)), None);
    assert_eq!(
        judge.answers(DEVICE, Revoked, (2100, 2101)),
        Some(Breach::FlippedBack)
    );
    let mut other = new_judge();
    other.states(KEY, REVOKED, (1000, 1010));
    other.states(KEY, Says::NotRevoked, (1005, 1020));
    assert_eq!(other.answers(DEVICE, Revoked, (2000, 2001)), None);
}

#[test]
fn an_un_revocation_of_which_nobody_knows_allows_either_until_it_cannot_come_any_more() {
    let mut judge = new_judge();
    judge.states(KEY, REVOKED, (1000, 1010));
    judge.attempts(KEY, Says::NotRevoked, 2000);
    assert_eq!(judge.answers(DEVICE, Allowed, (9000, 9001)), None);
    // The attempt may still take effect after this.
    judge.states(KEY, REVOKED, (10_000, 10_010));
    assert_eq!(judge.answers(DEVICE, Allowed, (11_000, 11_001)), None);
    judge.states(KEY, REVOKED, (22_001, 22_010));
    let late = Some(Breach::AllowedTooLate(ms(990)));
    assert_eq!(judge.answers(DEVICE, Allowed, (23_000, 23_001)), late);
}

#[test]
fn a_statement_under_way_may_have_taken_effect() {
    let mut judge = new_judge();
    judge.states(KEY, REVOKED, (1000, 1010));
    judge.begins(KEY, Says::NotRevoked, Origin::Api(0), ms(2000));
    assert_eq!(judge.answers(DEVICE, Allowed, (2500, 2501)), None);
    let mut other = new_judge();
    assert_eq!(other.answers(DEVICE, Allowed, (1000, 1001)), None);
    other.begins(KEY, REVOKED, Origin::Api(0), ms(2000));
    assert_eq!(other.answers(DEVICE, Revoked, (2500, 2501)), None);
}

#[test]
fn a_refusal_that_has_ended_does_not_come_back_by_itself() {
    let mut judge = new_judge();
    judge.states(KEY, REVOKED, (1000, 1010));
    judge.states(KEY, Says::NotRevoked, (2000, 2010));
    assert_eq!(judge.answers(DEVICE, Revoked, (2500, 2501)), None);
    assert_eq!(judge.answers(DEVICE, Allowed, (2600, 2601)), None);
    // Concurrent with the other check.
    assert_eq!(judge.answers(DEVICE, Revoked, (2601, 2602)), None);
    let flip = Some(Breach::FlippedBack);
    assert_eq!(judge.answers(DEVICE, Revoked, (2602, 2603)), flip);
    // Another replica may learn of it later.
    assert_eq!(
        judge.checked(&check(DEVICE, 2, Revoked, (2700, 2701))),
        None
    );
    judge.attempts(KEY, REVOKED, 2800);
    assert_eq!(judge.answers(DEVICE, Revoked, (2801, 2802)), None);
}

#[test]
fn a_check_that_may_not_have_known_of_the_revocation_is_no_end_of_a_refusal() {
    let mut judge = new_judge();
    judge.states(KEY, REVOKED, (1000, 1010));
    assert_eq!(judge.answers(DEVICE, Allowed, (1050, 1051)), None);
    judge.states(KEY, Says::NotRevoked, (1060, 1070));
    assert_eq!(judge.answers(DEVICE, Revoked, (1080, 1081)), None);
}

#[test]
fn what_was_revoked_by_hand_may_be_refused_again_where_a_server_goes_back() {
    let mut judge = new_judge();
    let id = judge.begins(KEY, REVOKED, Origin::Hand, ms(1000));
    judge.acknowledged(KEY, id, REVOKED, ms(1010));
    judge.states(KEY, Says::NotRevoked, (2000, 2010));
    assert_eq!(judge.answers(DEVICE, Allowed, (3000, 3001)), None);
    assert_eq!(judge.answers(DEVICE, Revoked, (4000, 4001)), None);
    let at_rest = check(DEVICE, 1, Revoked, (5000, 5001));
    assert_eq!(judge.checked_at_rest(&at_rest), None);
}

#[test]
fn a_cutoff_means_tokens_that_were_issued_up_to_it() {
    let mut judge = new_judge();
    judge.states(SUBJECT, up_to(5), (5000, 5010));
    let late = Some(Breach::AllowedTooLate(ms(990)));
    assert_eq!(judge.answers(session(5), Allowed, (6000, 6001)), late);
    assert_eq!(judge.answers(session(6), Allowed, (6000, 6001)), None);
    let never = Some(Breach::NeverRevoked);
    assert_eq!(judge.answers(session(6), Revoked, (6000, 6001)), never);
    judge.states(SUBJECT, up_to(9), (9000, 9010));
    assert_eq!(judge.answers(session(6), Revoked, (9100, 9101)), None);
    assert_eq!(
        judge.answers(session(5), Allowed, (9200, 9201)),
        Some(Breach::AllowedTooLate(ms(190)))
    );
}

#[test]
fn a_cutoff_that_is_not_known_exactly_may_mean_what_was_issued_meanwhile() {
    let mut judge = new_judge();
    let between = Says::RevokedUpTo {
        from: 5,
        to: 8,
        until: FOR_EVER,
    };
    judge.states(SUBJECT, between, (5000, 8000));
    for verdict in [Allowed, Revoked] {
        assert_eq!(judge.answers(session(7), verdict, (9000, 9001)), None);
    }
    let late = Some(Breach::AllowedTooLate(ms(1000)));
    assert_eq!(judge.answers(session(5), Allowed, (9000, 9001)), late);
    let never = Some(Breach::NeverRevoked);
    assert_eq!(judge.answers(session(9), Revoked, (9000, 9001)), never);
}

#[test]
fn a_revocation_is_over_when_its_time_is_unless_it_was_extended() {
    let mut judge = new_judge();
    let until = |until| Says::Revoked { until: ms(until) };
    judge.states(KEY, until(3000), (1000, 1010));
    assert_eq!(judge.answers(DEVICE, Allowed, (2999, 3001)), None);
    judge.states(KEY, until(9000), (2000, 2010));
    let late = Some(Breach::AllowedTooLate(ms(1990)));
    assert_eq!(judge.answers(DEVICE, Allowed, (4000, 4001)), late);
}

#[test]
fn on_an_allow_list_only_what_is_registered_is_allowed_and_at_once() {
    let mut judge = Judge::of(Rules {
        max_staleness: ms(100),
        allow_list: true,
    });
    let never = Some(Breach::NeverRegistered);
    assert_eq!(judge.answers(DEVICE, Allowed, (10, 11)), never);
    assert_eq!(judge.answers(DEVICE, Revoked, (10, 11)), None);
    let registration = Key::Registration(DEVICE);
    judge.states(registration, Says::Registered, (1000, 1010));
    assert_eq!(judge.answers(DEVICE, Allowed, (990, 1000)), None);
    assert_eq!(judge.answers(DEVICE, Revoked, (1010, 1011)), None);
    let never = Some(Breach::NeverRevoked);
    assert_eq!(judge.answers(DEVICE, Revoked, (1011, 1012)), never);
    judge.states(KEY, REVOKED, (2000, 2010));
    let late = Some(Breach::AllowedTooLate(ms(990)));
    assert_eq!(judge.answers(DEVICE, Allowed, (3000, 3001)), late);
}

#[test]
fn at_rest_the_last_word_is_what_counts() {
    let mut judge = new_judge();
    let at_rest = |verdict| check(DEVICE, 1, verdict, (9000, 9001));
    judge.states(KEY, REVOKED, (1000, 1010));
    let lost = Some(Breach::LostForEver);
    assert_eq!(judge.checked_at_rest(&at_rest(Allowed)), lost);
    assert_eq!(judge.checked_at_rest(&at_rest(Revoked)), None);
    judge.states(KEY, Says::NotRevoked, (2000, 2010));
    let refused = Some(Breach::NotTakenBack);
    assert_eq!(judge.checked_at_rest(&at_rest(Revoked)), refused);
    assert_eq!(judge.checked_at_rest(&at_rest(Allowed)), None);
    judge.attempts(KEY, REVOKED, 3000);
    assert_eq!(
        judge.checked_at_rest(&check(DEVICE, 2, Revoked, (9000, 9001))),
        None
    );
}

#[test]
fn a_replica_heals_from_the_end_of_the_last_fault_on() {
    let mut healing = Healing::of(2);
    let answers = |healing: &mut Healing, verdict, at| {
        healing.checked(&check(DEVICE, 1, verdict, (at, at + 1)));
    };
    healing.fault_began("Cut".to_owned());
    answers(&mut healing, Unsure, 1000);
    healing.fault_ended(ms(2000));
    answers(&mut healing, Revoked, 2100);
    answers(&mut healing, Unsure, 2200);
    answers(&mut healing, Allowed, 2500);
    // Only the first answer counts.
    answers(&mut healing, Allowed, 2600);
    // The replica becomes unsure without a fault.
    answers(&mut healing, Unsure, 3000);
    answers(&mut healing, Allowed, 3099);
    let healed = |took| Healed {
        took: ms(took),
        replica: 1,
        fault: "Cut".to_owned(),
    };
    assert_eq!(healing.healed(), [healed(99), healed(501)]);
}
