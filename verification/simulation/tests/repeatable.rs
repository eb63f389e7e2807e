//! A schedule is a seed: what is run again runs the same.

use revoxy_simulation::scene::{Wishes, run};
use revoxy_simulation::trace::Keep;

#[test]
fn a_seed_runs_the_same_twice() {
    for seed in 1..=40 {
        let (one, other) = (
            run(seed, &Wishes::default(), Keep::Nothing),
            run(seed, &Wishes::default(), Keep::Lines),
        );
        assert_eq!(one.digest, other.digest, "seed {seed}");
        assert_eq!(one.checks, other.checks, "seed {seed}");
    }
}
