//! Runs schedules, and runs one again.

use std::time::{Duration, Instant};

use clap::{Parser, Subcommand, ValueEnum};
use revoxy::revocation::Deletions;
use revoxy_simulation::scene::{self, Outcome, Wishes};
use revoxy_simulation::trace::Keep;

/// Most of a schedule is small pieces that come and go.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "Deterministic simulation of Revoxy's Redis feed against a model Redis")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the schedules of many seeds.
    Run {
        /// Which, as FIRST..LAST.
        #[arg(long, value_parser = seeds)]
        seeds: (u64, u64),
        /// After how many failures to stop.
        #[arg(long, default_value_t = 1)]
        failures: u64,
        /// Runs each twice and compares.
        #[arg(long)]
        twice: bool,
        #[command(flatten)]
        wishes: Given,
    },
    /// Runs the schedule of one seed and tells everything; with `RUST_LOG` set, what the replicas log among it.
    Replay {
        /// Which.
        #[arg(long)]
        seed: u64,
        #[command(flatten)]
        wishes: Given,
    },
}

#[derive(Clone, Copy, clap::Args)]
struct Given {
    /// Over what.
    #[arg(long, default_value = "redis")]
    over: Over,
    /// What a deletion by hand means; the seed decides where this is not given.
    #[arg(long)]
    deletions: Option<Means>,
    /// The one kind of fault that is to come, as `src/scene/plan.rs` names it.
    #[arg(long, value_parser = fault)]
    only: Option<scene::Fault>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Over {
    /// One server.
    Redis,
    /// Two servers and three Sentinels.
    Sentinel,
    /// A cluster of two or three primaries, each with a replica.
    Cluster,
}

#[derive(Clone, Copy, ValueEnum)]
enum Means {
    /// The revocation was taken back.
    Honour,
    /// Nothing.
    Ignore,
}

impl Given {
    fn wishes(self) -> Wishes {
        Wishes {
            over: match self.over {
                Over::Redis => scene::Over::Redis,
                Over::Sentinel => scene::Over::Sentinel,
                Over::Cluster => scene::Over::Cluster,
            },
            deletions: self.deletions.map(|means| match means {
                Means::Honour => Deletions::Honour,
                Means::Ignore => Deletions::Ignore,
            }),
            only: self.only,
        }
    }
}

fn fault(name: &str) -> Result<scene::Fault, String> {
    scene::Fault::named(name).ok_or_else(|| format!("no fault is called {name}"))
}

fn seeds(text: &str) -> Result<(u64, u64), String> {
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    let number = |text: &str| text.parse().map_err(|_| format!("no number: {text}"));
    Ok((number(first)?, number(last)?))
}

fn main() -> std::process::ExitCode {
    let failed = match Arguments::parse().command {
        Command::Run {
            seeds,
            failures,
            twice,
            wishes,
        } => run(seeds, failures, twice, &wishes.wishes()),
        Command::Replay { seed, wishes } => {
            let _logging = std::env::var_os("RUST_LOG")
                .map(|_| revoxy::logging::init(revoxy::logging::LogFormat::Text));
            let outcome = scene::run(seed, &wishes.wishes(), Keep::Print);
            println!("{:?}", outcome.violations.first());
            println!(
                "lasted {:?}, healed after {:?}, {} checks, digest {:016x}",
                outcome.lasted, outcome.healed, outcome.checks, outcome.digest
            );
            u64::from(!outcome.violations.is_empty())
        }
    };
    u8::from(failed > 0).into()
}

/// What many schedules came to.
#[derive(Default)]
struct Totals {
    schedules: u64,
    checks: u64,
    lasted: Duration,
    longest_to_heal: (Duration, u64),
    failed: u64,
}

impl Totals {
    fn add(&mut self, seed: u64, outcome: &Outcome) {
        self.schedules += 1;
        self.checks += outcome.checks;
        self.lasted += outcome.lasted;
        self.longest_to_heal = self.longest_to_heal.max((outcome.healed, seed));
        self.failed += u64::from(!outcome.violations.is_empty());
    }

    fn print(&self, since: Instant) {
        let real = since.elapsed().as_secs_f64();
        println!(
            "{} schedules in {real:.1} s ({:.1} a second): {:.0} s simulated, {} checks; {} failed; longest to heal {:?} (seed {})",
            self.schedules,
            self.schedules as f64 / real,
            self.lasted.as_secs_f64(),
            self.checks,
            self.failed,
            self.longest_to_heal.0,
            self.longest_to_heal.1,
        );
    }
}

/// Tells how many failed.
fn run((first, last): (u64, u64), failures: u64, twice: bool, wishes: &Wishes) -> u64 {
    let (began, mut totals) = (Instant::now(), Totals::default());
    let mut said = Instant::now();
    for seed in first..=last {
        let outcome = scene::run(seed, wishes, Keep::Nothing);
        totals.add(seed, &outcome);
        if let Some((violation, _)) = outcome.violations.first() {
            println!("seed {seed}: {violation:?}");
            show_the_end(seed, wishes);
        }
        if twice {
            let again = scene::run(seed, wishes, Keep::Nothing);
            if again.digest != outcome.digest {
                println!("seed {seed} did not run the same twice");
                totals.failed += 1;
            }
        }
        if said.elapsed() > Duration::from_secs(10) {
            said = Instant::now();
            totals.print(began);
        }
        if totals.failed >= failures {
            break;
        }
    }
    totals.print(began);
    totals.failed
}

/// Runs a schedule that failed again, and tells what happened up to the failure.
fn show_the_end(seed: u64, wishes: &Wishes) {
    let lines = scene::run(seed, wishes, Keep::Lines).lines;
    let until = lines.iter().position(|line| line.contains("VIOLATION"));
    let until = until.map_or(lines.len(), |at| at + 1);
    for line in &lines[until.saturating_sub(40)..until] {
        println!("    {line}");
    }
}
