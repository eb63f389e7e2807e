//! One schedule: three replicas over one Redis, statements, checks and faults, from beginning to end.

mod failover;
mod faults;
mod lone;
mod migration;
mod plan;
mod replica;
mod stage;
mod takeover;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, RngSeed};
use tokio::time::{Instant, sleep, sleep_until};

use crate::judge::{Check, Violation};
use crate::net::Net;
use crate::redis::{Cluster, Data, Ensemble, Machine, NODES, SERVERS};
use crate::rng::Rng;
use crate::tokens::cast;
use crate::trace::{Keep, Trace};
use crate::world::{self, Wall};

pub use plan::{Fault, Over, Plan, Wishes};
use replica::Replica;
use stage::{REPLICAS, Stage};

/// How often tokens are checked.
const CHECK_EVERY: Duration = Duration::from_millis(20);
/// How long replicas may take to decide every check again, once all faults are over.
const HEALS_WITHIN: Duration = Duration::from_secs(20);

/// What came of a schedule.
#[derive(Debug)]
pub struct Outcome {
    /// What was found wrong, first things first.
    pub violations: Vec<(Violation, Check)>,
    /// How many checks were made.
    pub checks: u64,
    /// How long it lasted, in simulated time.
    pub lasted: Duration,
    /// How long after the last fault every check was decided.
    pub healed: Duration,
    /// What two runs of one seed have in common.
    pub digest: u64,
    /// What happened.
    pub lines: Vec<String>,
}

/// Runs the schedule of a seed.
pub fn run(seed: u64, wishes: &Wishes, keep: Keep) -> Outcome {
    let mut rng = Rng::new(seed);
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .rng_seed(RngSeed::from_bytes(&seed.to_le_bytes()))
        .build()
        .unwrap_or_else(|why| panic!("no runtime: {why}"));
    let wishes = *wishes;
    runtime.block_on(async move {
        let net = Net::new(rng.fork());
        let _world = world::enter(net.clone(), rng.fork());
        play(net, wishes, rng, Trace::new(keep)).await
    })
}

async fn play(net: Net, wishes: Wishes, mut rng: Rng, trace: Trace) -> Outcome {
    let plan = Plan::draw(&mut rng, &wishes);
    trace.event(&[0], || format!("{plan:?}"));
    let servers = start_servers(&net, &plan, &mut rng);
    let ensemble = (plan.over == Over::Sentinel).then(|| Ensemble::start(&net, servers.clone()));
    let cluster = (plan.over == Over::Cluster)
        .then(|| Cluster::start(servers.clone(), (0, plan.cluster.bus), rng.fork()));
    let replica = |at| Arc::new(Replica::new(format!("r{at}"), plan.ahead[at]));
    let replicas: Vec<_> = (0..REPLICAS).map(replica).collect();
    for (at, replica) in replicas.iter().enumerate() {
        let (low, high) = plan.latency_of(at);
        for end in faults::ends(&plan) {
            let path = net.path(&replica.name, end);
            path.set_latency(low, high);
            path.set_cuts(plan.cuts);
        }
    }
    let stage = Arc::new(Stage::new(
        net,
        servers,
        (ensemble, cluster),
        replicas,
        plan,
        trace,
    ));
    for at in 0..REPLICAS {
        stage.start_replica(at);
    }
    while !stage.replicas.iter().all(|r| r.running().is_some()) {
        sleep(Duration::from_millis(10)).await;
    }
    let checks = tokio::spawn(check_on(Arc::clone(&stage), rng.fork()));
    act(&stage, &mut rng).await;
    faults::heal(&stage);
    let healed = settle(&stage).await;
    checks.abort();
    let (violations, count) = stage.result();
    Outcome {
        violations,
        checks: count,
        lasted: stage.trace.elapsed(),
        healed,
        digest: stage.trace.digest(),
        lines: stage.trace.lines(),
    }
}

/// One server, or two, or the nodes of a cluster.
fn start_servers(net: &Net, plan: &Plan, rng: &mut Rng) -> Vec<Machine> {
    let names = match plan.over {
        Over::Redis => &SERVERS[..1],
        Over::Sentinel => &SERVERS[..],
        Over::Cluster => &NODES[..2 * plan.cluster.shards],
    };
    let start = |name: &&str| {
        let machine = Machine::new(name, net, Wall::new(), rng.fork());
        machine.start(Data::default(), Duration::ZERO, |process| {
            plan.begin(process);
        });
        machine
    };
    names.iter().map(start).collect()
}

/// States things and has faults come, as planned.
async fn act(stage: &Arc<Stage>, rng: &mut Rng) {
    let began = Instant::now();
    let plan = &stage.plan;
    let mut statements: Vec<Duration> = (0..plan.statements)
        .map(|_| Duration::from_millis(rng.below(plan.lasts.as_millis() as u64)))
        .collect();
    statements.sort();
    let (mut statements, mut faults) = (
        statements.into_iter().peekable(),
        plan.faults.iter().peekable(),
    );
    loop {
        let next_fault = faults.peek().map(|(at, _)| *at);
        let next_statement = statements.peek().copied();
        let Some(at) = [next_fault, next_statement].into_iter().flatten().min() else {
            break;
        };
        sleep_until(began + at).await;
        if next_statement == Some(at) {
            statements.next();
            writer::state(stage, *rng.pick(&plan.keys), rng);
        } else if let Some((_, fault)) = faults.next() {
            faults::strike(stage, *fault, rng).await;
        }
    }
    sleep_until(began + plan.lasts).await;
}

/// Checks tokens all the time.
async fn check_on(stage: Arc<Stage>, mut rng: Rng) {
    let tokens = cast().tokens.len();
    loop {
        sleep(CHECK_EVERY).await;
        for replica in &stage.replicas {
            let Some(running) = replica.running() else {
                continue;
            };
            // Most of the tokens while they cost nothing, few while each is a question to the server.
            let is_fresh = running
                .age()
                .is_some_and(|age| age <= stage.plan.max_staleness);
            let count = if is_fresh { tokens / 2 } else { 2 };
            for _ in 0..count {
                stage.check(&running, rng.below(tokens as u64) as usize, false);
            }
        }
    }
}

/// Waits until every check is decided, and as it must be. Tells how long that took.
async fn settle(stage: &Arc<Stage>) -> Duration {
    let began = Instant::now();
    let mut healed = None;
    while began.elapsed() < HEALS_WITHIN {
        sleep(Duration::from_millis(100)).await;
        let is_well = check_all(stage, false);
        match (healed, is_well) {
            (_, false) => healed = None,
            (None, true) => healed = Some(began.elapsed()),
            // It has to stay so for a while.
            (Some(since), true) if began.elapsed() > since + stage.plan.max_staleness => {
                return since;
            }
            (Some(_), true) => {}
        }
    }
    if let Some(cluster) = &stage.cluster {
        stage.trace.say(|| cluster.describe());
    }
    check_all(stage, true);
    sleep(Duration::from_secs(1)).await;
    HEALS_WITHIN
}

/// Checks every token at every replica. Tells whether all is as it must be in the end, as far as memory knows.
fn check_all(stage: &Arc<Stage>, is_last: bool) -> bool {
    let mut is_well = true;
    for replica in &stage.replicas {
        let Some(running) = replica.running() else {
            is_well = false;
            continue;
        };
        for token in 0..cast().tokens.len() {
            is_well &= stage.check(&running, token, is_last);
        }
    }
    is_well
}
