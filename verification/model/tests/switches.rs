//! Each mechanism and each assumption is needed: without it there is a schedule that breaks the promise.

mod common;

use common::{finds, holds};
use revoxy_model::lattice::{ALL, EARLY, LATE};
use revoxy_model::properties::{DIRECT, NO_FALSE_REFUSAL, NO_FLIP, REFUSES};
use revoxy_model::rules::Rules;
use revoxy_model::scope::Scope;

/// Both of them say that a token was allowed too late.
const ALLOWED: &[&str] = &[REFUSES, DIRECT];

fn without(rule: &str) -> Rules {
    Rules::versioned()
        .without(rule)
        .expect("the name of a rule")
}

/// One server that restarts from its snapshot, two replicas, one statement.
fn restarts() -> Scope {
    Scope {
        statements: 1,
        levels: vec![ALL],
        ..Scope::small()
    }
}

fn failover() -> Scope {
    Scope {
        failover: true,
        ..restarts()
    }
}

fn evictions() -> Scope {
    Scope {
        evict: true,
        kill: false,
        cut: false,
        ..restarts()
    }
}

#[test]
fn a_write_acknowledged_without_a_heartbeat_is_lost_with_the_server() {
    finds(without("confirmed-acknowledgement"), restarts(), ALLOWED);
}

#[test]
fn a_write_acknowledged_without_a_heartbeat_is_lost_with_the_replaced_primary() {
    finds(without("confirmed-acknowledgement"), failover(), ALLOWED);
}

#[test]
fn a_view_that_does_not_settle_allows_what_only_another_knows() {
    finds(without("settling"), restarts(), ALLOWED);
}

#[test]
fn a_heartbeat_that_does_not_wait_for_the_pushes_proves_nothing() {
    finds(without("heartbeat-awaited"), restarts(), ALLOWED);
}

#[test]
fn a_push_that_gets_lost_leaves_a_view_behind() {
    finds(without("pushes-complete"), restarts(), ALLOWED);
}

#[test]
fn a_primary_that_no_majority_names_is_believed() {
    let scope = Scope {
        faults: 2,
        ..failover()
    };
    finds(without("named-by-majority"), scope, ALLOWED);
}

#[test]
fn a_restart_that_goes_unnoticed_passes_for_deletions() {
    finds(without("identity-compared"), restarts(), ALLOWED);
}

#[test]
fn what_is_not_written_back_is_allowed_by_a_replica_that_had_not_seen_it() {
    finds(without("write-back"), restarts(), ALLOWED);
}

#[test]
fn an_unrevocation_that_is_not_written_back_is_undone_by_a_snapshot() {
    let scope = Scope {
        statements: 2,
        ..restarts()
    };
    finds(without("unrevocations-written-back"), scope, &[NO_FLIP]);
}

#[test]
fn a_view_that_was_never_complete_drops_what_a_second_restart_loses() {
    let scope = Scope {
        by_hand: true,
        api: false,
        restart: true,
        cut: false,
        faults: 2,
        ..restarts()
    };
    finds(without("unknown-joined"), scope, ALLOWED);
}

#[test]
fn a_replica_that_does_not_watch_evictions_allows_what_it_had_not_seen() {
    finds(without("evictions-watched"), evictions(), ALLOWED);
}

#[test]
fn an_eviction_that_passes_for_a_deletion_unrevokes() {
    finds(without("evictions-told"), evictions(), ALLOWED);
}

#[test]
fn a_life_and_a_value_read_in_two_steps_lock_a_user_out() {
    let scope = Scope {
        levels: vec![EARLY, LATE],
        ..evictions()
    };
    finds(without("atomic-read"), scope, &[NO_FALSE_REFUSAL]);
}

#[test]
fn an_unrevocation_acknowledged_before_the_view_has_seen_it_is_undone_by_an_eviction() {
    let scope = Scope {
        statements: 2,
        ..evictions()
    };
    finds(without("statement-seen"), scope, &[NO_FLIP]);
}

#[test]
fn clocks_that_differ_undo_what_was_acknowledged_before_the_view_had_settled() {
    let rules = without("settled-acknowledgement").without("clocks-agree");
    let scope = Scope {
        statements: 3,
        ..restarts()
    };
    finds(
        rules.expect("the name of a rule"),
        scope,
        &[REFUSES, DIRECT, NO_FLIP],
    );
}

#[test]
fn a_key_set_by_hand_over_an_unrevocation_loses_against_its_copy_in_a_snapshot() {
    let scope = Scope {
        statements: 3,
        by_hand: true,
        cut: false,
        ..restarts()
    };
    finds(without("by-hand-stamped"), scope, ALLOWED);
}

#[test]
fn a_direct_read_of_a_key_set_by_hand_after_an_unrevocation_finds_the_unrevocation_stronger() {
    let scope = Scope {
        replicas: 1,
        statements: 3,
        by_hand: true,
        cut: false,
        ..restarts()
    };
    finds(without("by-hand-after-unrevocation"), scope, &[DIRECT]);
}

#[test]
fn a_key_set_by_hand_needs_clocks_that_agree() {
    let scope = Scope {
        statements: 3,
        by_hand: true,
        cut: false,
        ..restarts()
    };
    finds(without("clocks-agree"), scope, ALLOWED);
}

#[test]
fn one_version_for_both_kinds_of_revocation_brings_back_what_was_unrevoked() {
    let scope = Scope {
        statements: 3,
        levels: vec![EARLY, ALL],
        cut: false,
        ..restarts()
    };
    finds(without("two-versions"), scope, &[NO_FLIP]);
}

#[test]
fn a_revocation_that_drops_the_version_of_the_unrevocation_brings_back_what_was_before_it() {
    let scope = Scope {
        statements: 3,
        levels: vec![EARLY, ALL],
        cut: false,
        ..restarts()
    };
    finds(without("unrevocation-kept"), scope, &[NO_FLIP]);
}

#[test]
fn without_a_floor_an_acknowledgement_only_takes_longer() {
    let rules = without("floor").without("clocks-agree");
    let scope = Scope {
        statements: 3,
        cut: false,
        ..restarts()
    };
    holds(rules.expect("the name of a rule"), scope);
}
