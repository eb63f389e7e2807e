//! The rules with versions, exhaustively within small bounds. `revoxy-model check` goes further.

mod common;

use common::holds;
use revoxy_model::lattice::{ALL, EARLY};
use revoxy_model::rules::Rules;
use revoxy_model::scope::Scope;

fn small() -> Scope {
    Scope {
        statements: 2,
        levels: vec![ALL],
        ..Scope::small()
    }
}

#[test]
fn restarts_from_a_snapshot_lose_nothing() {
    let scope = Scope {
        statements: 3,
        cut: false,
        levels: vec![EARLY, ALL],
        ..small()
    };
    holds(Rules::versioned(), scope);
}

#[test]
fn two_restarts_lose_nothing() {
    holds(
        Rules::versioned(),
        Scope {
            faults: 2,
            ..small()
        },
    );
}

#[test]
fn three_replicas_and_two_keys_lose_nothing() {
    let scope = Scope {
        faults: 1,
        levels: vec![ALL],
        ..Scope::large()
    };
    holds(Rules::versioned(), scope);
}

#[test]
fn what_is_written_by_hand_is_kept() {
    let scope = Scope {
        by_hand: true,
        statements: 3,
        cut: false,
        ..small()
    };
    holds(Rules::versioned(), scope);
}

#[test]
fn what_is_deleted_by_hand_does_no_harm_whether_deletions_are_honoured_or_ignored() {
    let rules = Rules {
        deletions_honoured: false,
        ..Rules::versioned()
    };
    let scope = Scope {
        by_hand: true,
        deletes: true,
        ..small()
    };
    holds(rules, scope.clone());
    holds(Rules::versioned(), scope);
}

#[test]
fn evictions_lose_nothing() {
    let scope = Scope {
        evict: true,
        kill: false,
        faults: 2,
        ..small()
    };
    holds(Rules::versioned(), scope);
}

#[test]
fn failovers_lose_nothing() {
    let failover = Scope {
        failover: true,
        ..small()
    };
    let twice = Scope {
        statements: 1,
        faults: 2,
        ..failover.clone()
    };
    holds(Rules::versioned(), failover);
    holds(Rules::versioned(), twice);
}

#[test]
fn replicas_that_restart_lose_nothing_that_another_holds() {
    let scope = Scope {
        restart: true,
        cut: false,
        faults: 2,
        ..small()
    };
    holds(Rules::versioned(), scope);
}

#[test]
fn clocks_may_differ_where_nothing_is_written_by_hand() {
    let rules = Rules {
        clocks_agree: false,
        ..Rules::versioned()
    };
    holds(
        rules.clone(),
        Scope {
            statements: 3,
            cut: false,
            ..small()
        },
    );
    holds(
        rules,
        Scope {
            evict: true,
            kill: false,
            ..small()
        },
    );
}
