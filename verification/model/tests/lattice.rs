//! The merge of statements as an algebra: tried on every state of a small domain.

use revoxy_model::lattice::{ALL, EARLY, LATE, Level, NOTHING, State};

/// Every state with versions up to 2.
fn states() -> Vec<State> {
    let mut states = Vec::new();
    for unrevoked in 0..=2 {
        for all in 0..=2 {
            for version in 0..=2 {
                for cutoff in [NOTHING, EARLY, LATE] {
                    for expires_at in 0..=1 {
                        states.push(State {
                            unrevoked,
                            all,
                            up_to: (version, cutoff),
                            expires_at,
                        });
                    }
                }
            }
        }
    }
    states
}

/// Histories of three statements, each with the version of its place: a level, or an un-revocation.
fn histories() -> Vec<Vec<State>> {
    let statement = |version, choice| match choice {
        NOTHING => State::unrevocation(version),
        level => State::revocation(version, level),
    };
    let levels = [NOTHING, EARLY, LATE, ALL];
    let mut histories = Vec::new();
    for one in levels {
        for two in levels {
            for three in levels {
                histories.push(vec![
                    statement(1, one),
                    statement(2, two),
                    statement(3, three),
                ]);
            }
        }
    }
    histories
}

/// What a history says, without any merging: the most of what was stated after the last un-revocation.
fn level_of(history: &[State]) -> Level {
    let last = history.iter().map(|s| s.unrevoked).max().unwrap_or(0);
    let counts = |s: &&State| s.highest() > last;
    history
        .iter()
        .filter(counts)
        .map(|s| s.level())
        .max()
        .unwrap_or(NOTHING)
}

const ORDERS: [[usize; 3]; 6] = [
    [0, 1, 2],
    [0, 2, 1],
    [1, 0, 2],
    [1, 2, 0],
    [2, 0, 1],
    [2, 1, 0],
];

#[test]
fn merging_is_commutative_and_idempotent() {
    for one in states() {
        assert_eq!(one.join(one), one);
        for other in states() {
            assert_eq!(one.join(other), other.join(one));
        }
    }
}

#[test]
fn merging_is_associative() {
    let states: Vec<_> = states().into_iter().filter(|s| s.expires_at == 0).collect();
    for one in &states {
        for two in &states {
            let both = one.join(*two);
            for three in &states {
                assert_eq!(both.join(*three), one.join(two.join(*three)));
            }
        }
    }
}

#[test]
fn a_merge_covers_both_and_nothing_is_its_neutral_element() {
    for one in states() {
        assert_eq!(one.join(State::NONE), one);
        for other in states() {
            let both = one.join(other);
            assert!(both.covers(one) && both.covers(other));
        }
    }
}

#[test]
fn a_tie_unrevokes() {
    let revoked = State::revocation(2, ALL);
    assert_eq!(revoked.join(State::unrevocation(2)).level(), NOTHING);
    assert_eq!(revoked.join(State::unrevocation(1)).level(), ALL);
}

#[test]
fn what_is_held_in_one_version_says_the_same_and_is_held_again_unchanged() {
    for state in states() {
        assert_eq!(state.project().level(), state.level());
        assert_eq!(state.project().project(), state.project());
        assert!(state.project().unrevoked == state.unrevoked);
    }
}

#[test]
fn in_whatever_order_statements_are_heard_nothing_is_refused_less_than_was_stated() {
    for history in histories() {
        for order in ORDERS {
            for two_versions in [false, true] {
                let hear = |held: State, index: usize| held.join(history[index]).held(two_versions);
                let held = order.into_iter().fold(State::NONE, hear);
                assert!(held.level() >= level_of(&history), "{history:?} {order:?}");
            }
        }
    }
}

#[test]
fn with_two_versions_every_token_is_refused_only_where_that_was_stated_last() {
    for history in histories() {
        for order in ORDERS {
            let hear = |held: State, index: usize| held.join(history[index]);
            let held = order.into_iter().fold(State::NONE, hear);
            assert_eq!(held.level() == ALL, level_of(&history) == ALL);
            assert_eq!(held.level() == NOTHING, level_of(&history) == NOTHING);
        }
    }
}

#[test]
fn with_one_version_a_cutoff_can_bring_back_what_was_unrevoked_before_it() {
    let [all, unrevoked, cutoff] = [
        State::revocation(1, ALL),
        State::unrevocation(2),
        State::revocation(3, EARLY),
    ];
    // Heard in the order of their versions, all is well.
    let held = all.join(unrevoked).project().join(cutoff).project();
    assert_eq!(held.level(), EARLY);
    // One that hears of the un-revocation last has lent the cutoff's version to the revocation of every token.
    let held = all.join(cutoff).project().join(unrevoked).project();
    assert_eq!(held.level(), ALL);
}
