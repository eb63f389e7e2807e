//! What is sought for at random in clusters, narrowed to one kind of fault: found again in few schedules.

use revoxy_simulation::scene::{Fault, Over, Wishes, run};
use revoxy_simulation::trace::Keep;

fn nothing_goes_wrong_with(fault: Fault) {
    let wishes = Wishes {
        over: Over::Cluster,
        only: Some(fault),
        ..Wishes::default()
    };
    for seed in 1..=40 {
        let outcome = run(seed, &wishes, Keep::Nothing);
        let first = outcome.violations.first();
        assert!(first.is_none(), "seed {seed}: {first:?}");
    }
}

#[test]
fn what_a_primary_loses_that_not_all_replicas_have_seen_is_back_before_their_views_count() {
    nothing_goes_wrong_with(Fault::LoseUnheard);
}

#[test]
fn slots_that_move_take_no_revocation_with_them() {
    nothing_goes_wrong_with(Fault::Move);
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
