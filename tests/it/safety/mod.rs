//! The promise: *a check that starts more than `max_staleness` after the store acknowledged a revocation
//! never allows that token.* Tested under every fault that we can think of.
//!
//! Some writers revoke directly in a real store; others revoke, un-revoke, and revoke again through the API
//! of three real Revoxy processes. Readers check tokens through these processes. Meanwhile, faults happen
//! that are drawn from a seed. Everybody records what began and ended when, and a judge (`judging`) decides
//! which checks were wrong:
//!
//! - allowed too late after an acknowledged revocation; on the replica that acknowledged it, allowed at all;
//! - refused as revoked although no statement revokes the token: it was never revoked, or issued after the
//!   cutoff;
//! - refused again by a replica that had allowed it, although nothing was stated in between;
//! - in the end not as stated last, on every replica and on one that is started then.
//!
//! A run is repeated with its seed, and can be limited to some kinds of faults:
//!
//! ```text
//! REVOXY_SAFETY_SEED=17 REVOXY_SAFETY_FAULTS=200 cargo test --test it safety:: -- --nocapture
//! REVOXY_SAFETY_KINDS=Relapse,Restart cargo test --test it safety:: -- --nocapture
//! ```
//!
//! What no Revoxy process had ever seen when the server lost it is lost for everybody: before a fault that
//! destroys data, the writers pause until every replica has caught up. All other faults may happen at any
//! moment.

mod backing;
mod cast;
mod faults;
mod history;
mod judging;
mod over_cluster;
mod over_postgres;
mod over_redis;
mod over_sentinel;
mod readers;
mod scene;
mod writers;

use backing::Backing;
use faults::{Faults, Kind};
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

/// The kinds of faults that can happen, or the selected ones of them.
fn kinds_of(backing: &impl Backing) -> Vec<Kind> {
    let mut kinds = backing.kinds();
    if let Ok(asked) = std::env::var("REVOXY_SAFETY_KINDS") {
        let asked: Vec<_> = asked.split(',').collect();
        kinds.retain(|kind| asked.contains(&format!("{kind:?}").as_str()));
    }
    kinds
}

/// The number of faults of a run: in `make test` each kind once, and a third as many more at random.
async fn keeps_the_promise<B: Backing>(seed: u64) {
    let seed = setting("REVOXY_SAFETY_SEED", seed);
    let mut scene = Scene::<B>::set().await;
    let kinds = kinds_of(&scene.backing);
    let count = setting("REVOXY_SAFETY_FAULTS", kinds.len() as u64 * 4 / 3);
    let over = std::any::type_name::<B>().rsplit("::").next();
    let over = over.unwrap_or_default();
    eprintln!("safety: {over}, seed {seed}, {count} faults");
    let work = scene.put_to_work(seed, count);
    let mut faults = Faults::drawn_from(seed, kinds);
    for _ in 0..count {
        let fault = faults.next().expect("there is always another");
        eprintln!("safety: {fault:?}");
        scene.suffer(fault).await;
        scene.history.must_be_kept();
    }
    work.stop().await;
    scene.recovers().await;
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
