//! The rules before versions break the promise. Each schedule was first met on real servers.

mod common;

use common::{finds, replays};
use revoxy_model::lattice::{ALL, EARLY, LATE};
use revoxy_model::properties::{DIRECT, NO_FALSE_REFUSAL, REFUSES};
use revoxy_model::rules::Rules;
use revoxy_model::scope::Scope;
use revoxy_model::world::Action::{self, *};

/// Both of them say that a token was allowed too late.
const ALLOWED: &[&str] = &[REFUSES, DIRECT];

/// One replica of Revoxy, nothing but the API, and no fault of the network.
fn alone() -> Scope {
    Scope {
        replicas: 1,
        levels: vec![ALL],
        cut: false,
        precise: false,
        ..Scope::small()
    }
}

/// The rules before versions, but for the read in two steps, which breaks more than one thing.
fn reading_at_once() -> Rules {
    Rules {
        atomic_read: true,
        ..Rules::unversioned()
    }
}

#[test]
fn an_older_tombstone_in_a_snapshot_wins_against_the_later_revocation() {
    let found = finds(reading_at_once(), alone(), ALLOWED);
    assert!(found.actions.contains(&Kill));
    assert!(found.actions.contains(&Snapshot));
}

#[test]
fn three_views_forget_a_revocation_that_all_of_them_had_refused() {
    let (replica, key, level) = (0, 0, ALL);
    let hear = |id| [Read { replica: id, key }, Heartbeat(id)];
    let revoke = [
        Revoke {
            replica,
            key,
            level,
        },
        Execute,
        Execute,
        Acknowledge,
    ];
    let unrevoke = [Unrevoke { replica, key }, Execute, Acknowledge];
    let all_hear = || (0..3).flat_map(hear).collect::<Vec<_>>();
    let restart = |id| vec![Connect(id), Read { replica: id, key }, WriteBack(id)];
    let schedule: Vec<Action> = [
        revoke.to_vec(),
        all_hear(),
        unrevoke.to_vec(),
        all_hear(),
        vec![Snapshot],
        revoke.to_vec(),
        all_hear(),
        vec![Kill],
        (0..3).flat_map(restart).collect(),
        (0..3).map(Heartbeat).collect(),
    ]
    .concat();
    let scope = Scope {
        replicas: 3,
        ..alone()
    };
    let broken = replays(reading_at_once(), scope, &schedule);
    assert!(broken.contains(&REFUSES));
}

#[test]
fn a_replica_that_lacks_the_later_revocation_is_promoted_and_its_tombstone_wins() {
    let scope = Scope {
        failover: true,
        ..alone()
    };
    let found = finds(reading_at_once(), scope, ALLOWED);
    assert!(found.actions.contains(&Failover));
    assert!(found.actions.contains(&Replicate));
}

#[test]
fn a_cutoff_that_is_evicted_while_it_is_read_locks_the_user_out() {
    let scope = Scope {
        levels: vec![EARLY, LATE],
        evict: true,
        kill: false,
        statements: 2,
        ..alone()
    };
    let found = finds(Rules::unversioned(), scope, &[NO_FALSE_REFUSAL]);
    assert!(found.actions.contains(&EvictKey { key: 0 }));
    assert!(found.actions.contains(&ReadLife { replica: 0, key: 0 }));
}

#[test]
fn a_cutoff_read_in_one_step_locks_nobody_out() {
    let scope = Scope {
        levels: vec![EARLY, LATE],
        evict: true,
        kill: false,
        statements: 2,
        ..alone()
    };
    assert!(common::search(reading_at_once(), scope, &[NO_FALSE_REFUSAL]).is_none());
}

#[test]
fn a_primary_that_hung_takes_a_write_after_it_was_replaced_and_the_api_answers_200() {
    let scope = Scope {
        replicas: 2,
        statements: 1,
        failover: true,
        ..alone()
    };
    let (replica, key, level) = (0, 0, ALL);
    assert!(
        finds(reading_at_once(), scope.clone(), ALLOWED)
            .actions
            .contains(&Failover)
    );
    // Both replicas follow the new primary when the old one wakes up and takes what was sent to it.
    let schedule = [
        Revoke {
            replica,
            key,
            level,
        },
        Failover,
        Leave(0),
        Leave(1),
        Connect(0),
        Read { replica: 0, key },
        Connect(1),
        Read { replica: 1, key },
        Execute,
        Execute,
        Acknowledge,
        Heartbeat(1),
    ];
    let broken = replays(reading_at_once(), scope.clone(), &schedule);
    assert!(broken.contains(&REFUSES));
}
