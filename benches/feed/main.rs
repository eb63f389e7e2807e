//! What following Redis costs: time until ready, time until a revocation is in force everywhere, processor and memory.
//!
//! With real processes: one redis-server, one or three of Revoxy. `BENCH_ENTRIES`, `BENCH_REVOCATIONS`, `BENCH_RATE` and
//! `BENCH_SECONDS` change how much is done; `cargo bench --bench feed -- ready`, `propagation` or `flood` measures one.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
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
mod flood;
mod propagation;
mod ready;
#[path = "../../tests/it/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the tests use the rest")]
mod support;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let chosen = |name| common::is_chosen(name, &["propagation", "flood", "ready"]);
    if chosen("propagation") {
        propagation::run().await;
    }
    if chosen("flood") {
        flood::run().await;
    }
    if chosen("ready") {
        ready::run().await;
    }
}
