//! Everything there is at one moment, and the search over what may follow.

use stateright::{Model, Property};

use crate::lattice::Level;
use crate::operation::Operation;
use crate::properties;
use crate::replica::{Keys, Replica};
use crate::rules::Rules;
use crate::scope::Scope;
use crate::server::{Record, Server};
use crate::truth::Truth;

/// What a search explores.
#[derive(Clone, Debug)]
pub struct Protocol {
    pub rules: Rules,
    pub scope: Scope,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct World {
    pub servers: [Server; 2],
    /// The server that most Sentinels name; with one server, that one.
    pub named: usize,
    /// With one server: what it has on its disk.
    pub snapshot: [Record; 2],
    pub replicas: [Replica; 3],
    pub truth: [Truth; 2],
    pub operation: Option<Operation>,
    /// The last version given, where clocks agree.
    pub clock: u8,
    /// How many replication ids and run ids there have been.
    pub histories: u8,
    pub statements: u8,
    pub faults: u8,
    /// Whether the server has lost writes.
    pub lost: bool,
    /// The keys of which it has lost the last that was written.
    pub gone: Keys,
    /// Whether a replica was restarted.
    pub forgot: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    Revoke {
        replica: usize,
        key: usize,
        level: Level,
    },
    Unrevoke {
        replica: usize,
        key: usize,
    },
    SetByHand {
        key: usize,
        level: Level,
    },
    DeleteByHand {
        key: usize,
    },
    /// The server takes the write under way.
    Execute,
    /// The API answers 200.
    Acknowledge,
    /// The API sends the write again, to the server that is named now.
    Repeat,
    /// The API answers 503.
    GiveUp,
    Connect(usize),
    /// A replica reads the life of a key, and in another step its value.
    ReadLife {
        replica: usize,
        key: usize,
    },
    Read {
        replica: usize,
        key: usize,
    },
    /// All keys in one step, and what is owed is written back.
    ReadAll(usize),
    WriteBack(usize),
    /// A heartbeat is answered. If nothing speaks against it, the view claims freshness.
    Heartbeat(usize),
    Compare(usize),
    /// A push does not arrive.
    LosePush {
        replica: usize,
        key: usize,
    },
    /// A replica leaves a server that is no longer named.
    Leave(usize),
    Cut(usize),
    RestartReplica(usize),
    Snapshot,
    Kill,
    EvictKey {
        key: usize,
    },
    EvictRestored {
        key: usize,
    },
    /// The second server gets all that the first holds.
    Replicate,
    Failover,
    /// The replaced primary becomes a replica.
    Demote,
}

impl Protocol {
    /// At the start the server holds nothing, and every view is complete with it.
    fn start(&self) -> World {
        let server = |identity, is_primary| Server {
            identity,
            is_primary,
            ..Server::default()
        };
        let mut world = World {
            servers: [server((0, 0), true), server((1, 0), false)],
            named: 0,
            snapshot: Default::default(),
            replicas: Default::default(),
            truth: Default::default(),
            operation: None,
            clock: 0,
            histories: 1,
            statements: 0,
            faults: 0,
            lost: false,
            gone: 0,
            forgot: false,
        };
        for id in 0..self.scope.replicas {
            world.take(Action::Connect(id), self);
            world.take(Action::ReadAll(id), self);
            world.take(Action::Heartbeat(id), self);
        }
        world
    }
}

impl World {
    /// The server that counts.
    pub fn primary(&self) -> &Server {
        &self.servers[self.named]
    }

    /// Whether a heartbeat that is answered now can confirm that this replica follows the right server.
    pub fn heartbeat_counts(&self, id: usize, rules: &Rules) -> bool {
        let replica = &self.replicas[id];
        let Some(session) = &replica.session else {
            return false;
        };
        let server = &self.servers[session.to];
        server.is_primary
            && (session.to == self.named || !rules.named_by_majority)
            && (server.evictions == replica.evictions || !rules.evictions_watched)
    }
}

impl Model for Protocol {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![self.start()]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        self.may_state(world, actions);
        self.may_go_on(world, actions);
        for replica in 0..self.scope.replicas {
            self.may_follow(world, replica, actions);
        }
        self.may_fail(world, actions);
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        next.take(action, self);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}
