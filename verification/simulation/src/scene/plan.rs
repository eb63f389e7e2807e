//! What a seed decides on before a schedule begins.

use std::time::Duration;

use revoxy::revocation::Deletions;

use crate::redis::{Age, Process};
use crate::rng::Rng;

/// What may happen to the servers, the replicas and the ways between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing passes between a replica and the server, in one direction or both; it comes late.
    Stall,
    /// A replica's connections break, and are refused for a while.
    Cut,
    /// A replica's connections break.
    Reset,
    /// Everything on a replica's way takes long.
    Slow,
    /// The server is stopped and goes on.
    Pause,
    /// The server is killed and started again with its data.
    Restart,
    /// The server writes a snapshot.
    Save,
    /// The server is killed and started again with its last snapshot.
    Rewind,
    /// The server is killed and started again with nothing.
    Lose,
    /// The server evicts keys.
    Evict,
    /// All keys are deleted.
    Flush,
    /// A key is deleted by somebody who may not take anything back.
    Delete,
    /// A replica is ended and started again.
    Replace,
    /// A replica's clock is set.
    Clock,
    /// The server's replica takes its place while it is well; it takes writes until it is told.
    Failover,
    /// The server is stopped, its replica takes its place, it goes on and takes writes until it is told.
    Hang,
    /// The server is killed, its replica takes its place, it is started again and takes writes until it is told.
    Crash,
    /// What the server's replica is sent comes late.
    Lag,
    /// Nothing passes between a replica of Revoxy and a Sentinel.
    Mute,
    /// A primary of a cluster is cut off from the other nodes, and its replica takes its place; it takes writes until it notices.
    Isolate,
    /// A replica of a cluster takes its primary's place without asking anybody (`CLUSTER FAILOVER TAKEOVER`).
    TakeOver,
    /// Slots move from one primary to another, key by key.
    Move,
    /// A slot is given to another primary without its keys, which are lost.
    GiveAway,
    /// A server is killed and started again with less, when one replica has not heard what the others have acknowledged.
    LoseUnheard,
}

/// What can happen in a cluster and not to one server.
const CLUSTER_ONLY: [Fault; 9] = [
    Fault::Failover,
    Fault::Hang,
    Fault::Crash,
    Fault::Lag,
    Fault::Isolate,
    Fault::TakeOver,
    Fault::Move,
    Fault::GiveAway,
    Fault::LoseUnheard,
];

/// What can happen with Sentinel.
const WITH_SENTINEL: [Fault; 13] = [
    Fault::Stall,
    Fault::Cut,
    Fault::Reset,
    Fault::Slow,
    Fault::Pause,
    Fault::Flush,
    Fault::Replace,
    Fault::Clock,
    Fault::Failover,
    Fault::Hang,
    Fault::Crash,
    Fault::Lag,
    Fault::Mute,
];

/// What can happen to one server; what strikes a server strikes one primary of a cluster.
const FAULTS: [Fault; 14] = [
    Fault::Stall,
    Fault::Cut,
    Fault::Reset,
    Fault::Slow,
    Fault::Pause,
    Fault::Restart,
    Fault::Save,
    Fault::Rewind,
    Fault::Lose,
    Fault::Evict,
    Fault::Flush,
    Fault::Delete,
    Fault::Replace,
    Fault::Clock,
];

impl Fault {
    /// The fault of this name, as it is written here.
    pub fn named(name: &str) -> Option<Self> {
        let all = CLUSTER_ONLY.iter().chain(&WITH_SENTINEL).chain(&FAULTS);
        all.copied().find(|fault| format!("{fault:?}") == name)
    }
}

/// Over what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Over {
    /// One server.
    #[default]
    Redis,
    /// Two servers, and Sentinels that watch over them.
    Sentinel,
    /// A cluster.
    Cluster,
}

/// What is asked of the program, beside the seed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wishes {
    /// Over what.
    pub over: Over,
    /// What a deletion by hand means; without, the seed decides.
    pub deletions: Option<Deletions>,
    /// The one kind of fault that comes; without, the seed decides on some.
    pub only: Option<Fault>,
}

/// A schedule, as far as it is decided beforehand.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Over what.
    pub over: Over,
    /// How old a view may be.
    pub max_staleness: Duration,
    /// How often everything is compared.
    pub compare_every: Duration,
    /// What a deletion by hand means.
    pub deletions: Deletions,
    /// For how long things are stated and faults come.
    pub lasts: Duration,
    /// How many statements are made.
    pub statements: u64,
    /// About how many keys.
    pub keys: Vec<usize>,
    /// What happens, and when.
    pub faults: Vec<(Duration, Fault)>,
    /// By how many milliseconds each replica's clock is ahead.
    pub ahead: [i64; 3],
    /// How many keys the server names at once.
    pub scan_at_most: usize,
    /// How old the server's program is.
    pub age: Age,
    /// One piece in so many arrives in two.
    pub cuts: u64,
    /// From and to how many milliseconds a piece takes.
    pub latency: (u64, u64),
    /// Whether clocks are set meanwhile.
    pub clocks_jump: bool,
    /// How the cluster is made, where there is one.
    pub cluster: ClusterPlan,
}

/// How a cluster is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClusterPlan {
    /// How many primaries own slots.
    pub shards: usize,
    /// How many nodes are configured.
    pub seeds: usize,
    /// How many milliseconds a word takes on the bus, at most, when a node takes another's place.
    pub bus: u64,
    /// The same, when a slot has another owner.
    pub gossip: u64,
    /// A replica of Revoxy whose ways are long: what the others have long acknowledged it has yet to hear of.
    pub far: Option<usize>,
}

impl ClusterPlan {
    fn draw(rng: &mut Rng, max_staleness: Duration) -> Self {
        let shards = rng.between(2, 3);
        // Between two heartbeats of the feed, an eighth of `max_staleness`, all others hear of a node that took over.
        let most = max_staleness.as_millis() as u64 / 10;
        Self {
            shards: shards as usize,
            seeds: rng.between(1, shards) as usize,
            bus: *rng.pick(&[0, 5, most]),
            gossip: *rng.pick(&[0, 100, 1_000]),
            far: *rng.pick(&[None, Some(0), Some(1), Some(2)]),
        }
    }
}

impl Plan {
    /// What a seed decides on.
    pub fn draw(rng: &mut Rng, wishes: &Wishes) -> Self {
        let lasts = Duration::from_millis(rng.between(2_500, 6_000));
        let deletions = wishes.deletions.unwrap_or_else(|| {
            *rng.pick(&[Deletions::Honour, Deletions::Honour, Deletions::Ignore])
        });
        // Only some kinds each time: what is rare together is then common in some schedules.
        let mut kinds: Vec<Fault> = match wishes.over {
            Over::Redis => FAULTS.to_vec(),
            Over::Sentinel => WITH_SENTINEL.to_vec(),
            Over::Cluster => [&FAULTS[..], &CLUSTER_ONLY].concat(),
        };
        kinds.retain(|_| rng.one_in(2));
        if let Some(only) = wishes.only {
            kinds = vec![only];
        }
        kinds.retain(|fault| *fault != Fault::Delete || deletions == Deletions::Ignore);
        // A replica that starts does not know what has been evicted, as the documents say.
        if kinds.contains(&Fault::Evict) {
            kinds.retain(|fault| *fault != Fault::Replace);
        }
        let mut faults = Vec::new();
        if !kinds.is_empty() {
            for _ in 0..rng.below(9) {
                let at = Duration::from_millis(rng.below(lasts.as_millis() as u64));
                faults.push((at, *rng.pick(&kinds)));
            }
        }
        faults.sort_by_key(|(at, _)| *at);
        let mut keys: Vec<usize> = (0..crate::tokens::cast().keys.len()).collect();
        let few = rng.between(1, 4) as usize;
        while keys.len() > few {
            keys.remove(rng.below(keys.len() as u64) as usize);
        }
        let skewed = rng.one_in(2);
        let mut ahead = || match skewed {
            true => i64::try_from(rng.below(40_000)).unwrap_or_default() - 20_000,
            false => 0,
        };
        let plan = Self {
            over: wishes.over,
            ahead: [ahead(), ahead(), ahead()],
            max_staleness: Duration::from_millis(*rng.pick(&[300, 600, 1_000])),
            compare_every: Duration::from_millis(*rng.pick(&[1_000, 3_000, 60_000])),
            deletions,
            lasts,
            statements: rng.between(4, 30),
            keys,
            scan_at_most: *rng.pick(&[1, 3, 1_000]),
            age: *rng.pick(&[Age::Six, Age::Seven, Age::Seven]),
            cuts: *rng.pick(&[0, 0, 8, 2]),
            latency: *rng.pick(&[(0, 0), (0, 1), (1, 5), (0, 30)]),
            clocks_jump: faults.iter().any(|(_, fault)| *fault == Fault::Clock),
            faults,
            cluster: ClusterPlan::default(),
        };
        match wishes.over {
            Over::Cluster => Self {
                cluster: ClusterPlan::draw(rng, plan.max_staleness),
                ..plan
            },
            Over::Redis | Over::Sentinel => plan,
        }
    }

    /// From and to how many milliseconds a piece takes to or from a replica of Revoxy.
    pub fn latency_of(&self, replica: usize) -> (u64, u64) {
        match self.cluster.far {
            // So that a view can be fresh nevertheless.
            Some(far) if far == replica => (10, self.max_staleness.as_millis() as u64 / 8),
            _ => self.latency,
        }
    }

    /// Makes a server as it is planned, that was started long before the schedule: nobody has to wait for other replicas.
    pub fn begin(&self, process: &mut Process) {
        self.apply(process);
        process.started -= 3_600_000;
    }

    /// Makes a server as it is planned.
    pub fn apply(&self, process: &mut Process) {
        process.scan_at_most = self.scan_at_most;
        process.age = self.age;
    }
}
