//! The promise: *a check that starts more than `max_staleness` after the store acknowledged a revocation never allows
//! that token.* Over every fault that we can think of.
//!
//! Writers revoke in a real store and note when each revocation was acknowledged. Readers check through three real
//! Revoxy processes. Meanwhile faults happen, drawn from a seed. What a run did is repeated with its seed:
//!
//! ```text
//! REVOXY_SAFETY_SEED=17 REVOXY_SAFETY_FAULTS=200 cargo test --test it safety:: -- --nocapture
//! ```
//!
//! What no process of ours had ever seen when the server lost it is lost, whoever asks: before a fault that destroys
//! data, the writers rest until every replica has caught up. Everything else may come at any moment.

mod backing;
mod faults;
mod history;
mod over_cluster;
mod over_postgres;
mod over_redis;
mod over_sentinel;
mod scene;

use backing::Backing;
use faults::Faults;
use over_cluster::{OverRedisCluster, OverValkeyCluster};
use over_postgres::OverPostgres;
use over_redis::{OverRedis, OverRedisIgnoringDeletions};
use over_sentinel::OverSentinel;
use scene::Scene;

fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().expect("a number"),
        Err(_) => default,
    }
}

/// How many faults a run goes through: in `make test` each kind once.
async fn keeps_the_promise<B: Backing>(seed: u64) {
    let seed = setting("REVOXY_SAFETY_SEED", seed);
    let mut scene = Scene::<B>::set().await;
    let kinds = scene.backing.kinds();
    let count = setting("REVOXY_SAFETY_FAULTS", kinds.len() as u64);
    let over = std::any::type_name::<B>().rsplit("::").next();
    let over = over.unwrap_or_default();
    eprintln!("safety: {over}, seed {seed}, {count} faults");
    let work = scene.put_to_work();
    let mut faults = Faults::drawn_from(seed, kinds);
    for _ in 0..count {
        let fault = faults.next().expect("there is always another");
        eprintln!("safety: {fault:?}");
        scene.suffer(fault).await;
        scene.history.must_be_kept();
    }
    scene.recovers().await;
    work.stop().await;
    scene.history.must_be_kept();
    scene.takes_back().await;
    eprintln!("safety: {over}: {}", scene.history.summary());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_revoked_token_is_allowed_whatever_happens_to_redis() {
    keeps_the_promise::<OverRedis>(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_revoked_token_is_allowed_even_where_keys_are_deleted() {
    keeps_the_promise::<OverRedisIgnoringDeletions>(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_revoked_token_is_allowed_whatever_happens_to_postgres() {
    keeps_the_promise::<OverPostgres>(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_revoked_token_is_allowed_whatever_happens_to_sentinels_and_primaries() {
    keeps_the_promise::<OverSentinel>(4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_revoked_token_is_allowed_whatever_happens_to_a_cluster() {
    keeps_the_promise::<OverRedisCluster>(5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_revoked_token_is_allowed_whatever_happens_to_a_cluster_of_valkey() {
    keeps_the_promise::<OverValkeyCluster>(6).await;
}
