//! What is sought for at random in clusters, narrowed to one kind of fault: found again in few schedules.

use revoxy_simulation::scene::{Fault, Over, Wishes, run};
use revoxy_simulation::trace::Keep;

/// Runs schedules with this fault alone. `mark` is in the line of the trace that says that it strikes: it passes over a moment that does
/// not suit it, and a schedule without it shows nothing.
fn nothing_goes_wrong_with(fault: Fault, mark: &str) {
    let wishes = Wishes {
        over: Over::Cluster,
        only: Some(fault),
        ..Wishes::default()
    };
    let mut strikes = 0;
    for seed in 1..=40 {
        let outcome = run(seed, &wishes, Keep::Lines);
        let first = outcome.violations.first();
        assert!(first.is_none(), "seed {seed}: {first:?}");
        strikes += outcome.lines.iter().filter(|l| l.contains(mark)).count();
    }
    assert!(strikes > 0, "{fault:?} never came");
}

#[test]
fn what_a_primary_loses_that_not_all_replicas_have_seen_is_back_before_their_views_count() {
    nothing_goes_wrong_with(Fault::LoseUnheard, " is killed");
}

#[test]
fn slots_that_move_take_no_revocation_with_them() {
    nothing_goes_wrong_with(Fault::Move, " goes from shard ");
}

#[test]
fn a_schedule_over_a_cluster_runs_the_same_twice() {
    let wishes = Wishes {
        over: Over::Cluster,
        ..Wishes::default()
    };
    for seed in 1..=10 {
        let (one, other) = (
            run(seed, &wishes, Keep::Nothing),
            run(seed, &wishes, Keep::Lines),
        );
        assert_eq!(one.digest, other.digest, "seed {seed}");
    }
}
