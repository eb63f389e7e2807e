//! Checks per second on one core, beside a gRPC server on the same stack that does nothing.
//!
//! The servers share one core and h2load has another. They are loaded in turns, so that whatever else the machine does
//! meets all alike; the ratios within a round are the result. `BENCH_ROUNDS`, `BENCH_SECONDS` (of each load) and
//! `BENCH_ENTRIES` change how long it takes. `cargo bench --bench throughput -- tokens` or `-- stores` measures one half.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    reason = "a benchmark prints, and may fail in the shortest way there is"
)]

#[path = "../common/mod.rs"]
#[allow(dead_code, reason = "other benchmarks use the rest")]
mod common;
mod do_nothing;
mod frame;
mod load;
mod stores;
#[path = "../../tests/it/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the tests use the rest")]
mod support;
mod tokens;

use common::{Spread, is_chosen, pin, setting};
use load::{Load, Sample, Server};
use support::{Config, Revoxy, Scratch, SigningKey, Token};

const SERVER_CORE: &str = "0";
const LOAD_CORE: &str = "1";

fn main() {
    if do_nothing::is_meant() {
        return do_nothing::serve();
    }
    // What is started from here on inherits this, and tokio makes as many workers as it finds cores.
    pin(std::process::id(), SERVER_CORE);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(run());
}

async fn run() {
    let chosen = |name| is_chosen(name, &["tokens", "stores"]);
    if chosen("tokens") {
        tokens::run().await;
    }
    if chosen("stores") {
        stores::run().await;
    }
}

/// The token that is checked.
fn token(key: &SigningKey) -> String {
    Token::access("7f3c0d9e-5a61-4f3e-9d0f-2f6c1f0b8a11")
        .with("sid", "0a8f2b34-77aa-4f51-8a77-64dc1a9f3ee2")
        .with("azp", "web")
        .with("scope", "read write")
        .sign(key)
}

/// Loads each server in turns, and prints it beside the one, by its place, that it is compared to.
fn compare(title: &str, scratch: &Scratch, token: &str, servers: &[(usize, Server)]) {
    let rounds = setting("BENCH_ROUNDS", 7);
    let seconds = setting("BENCH_SECONDS", 2);
    let frame = frame::of(token);
    println!(
        "throughput, {title}: {rounds} rounds of {seconds} s each, in turns; a CheckRequest of {} bytes; median (least–greatest)",
        frame.len()
    );
    let load = Load {
        core: LOAD_CORE,
        frame: scratch.write("check.bin", frame),
        seconds,
    };
    let mut samples: Vec<Vec<Sample>> = servers.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds {
        let mut order: Vec<_> = (0..servers.len()).collect();
        // Nobody always comes after the same neighbour's noise.
        order.rotate_left(round % servers.len());
        for at in order {
            samples[at].push(load.run(&servers[at].1));
        }
    }
    println!(
        "  {:<44} {:>26}  {:>22}  {:>18}  {:>18}",
        "", "checks/s", "CPU µs a check", "ratio of checks/s", "ratio of CPU"
    );
    for (at, (reference, server)) in servers.iter().enumerate() {
        let rates = |at: usize| samples[at].iter().map(|s| s.per_second);
        let costs = |at: usize| samples[at].iter().map(|s| s.cpu_micros);
        let (rate, cost) = (Spread::of(rates(at)), Spread::of(costs(at)));
        let by_rate = Spread::of(rates(at).zip(rates(*reference)).map(|(a, b)| a / b));
        let by_cost = Spread::of(costs(at).zip(costs(*reference)).map(|(a, b)| b / a));
        println!(
            "  {:<44} {:>26}  {:>22}  {:>18}  {:>18}",
            server.name,
            rate.show(0),
            cost.show(2),
            by_rate.show(2),
            by_cost.show(2)
        );
    }
}

fn server(name: &str, revoxy: &Revoxy) -> Server {
    Server {
        name: name.to_owned(),
        address: revoxy.check.clone(),
        pid: revoxy.process.pid(),
    }
}

/// A Revoxy that does its work: h2load counts a denial as a success too.
async fn revoxy(scratch: &Scratch, config: &Config, token: &str) -> Revoxy {
    let revoxy = Revoxy::start(scratch, config).await;
    let checks = revoxy.checks().await;
    assert!(checks.bearer(token).await.allows());
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let spoiled: String = signature.chars().rev().collect();
    let answer = checks.bearer(&format!("{signed}.{spoiled}")).await;
    assert_eq!(answer.status, 401);
    revoxy
}
