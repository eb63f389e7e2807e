//! Sentinels replace a primary that is well by a replica that has not heard the later statement.

use super::{ALLOWED, MAX_STALENESS, REVOKED, Scene, all_become, all_keep_saying};
use crate::support::sentinel::Trio;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_revoked_again_stays_so_when_a_replica_that_lacks_it_takes_over() {
    let trio = Trio::start().await;
    let primary = trio.primary().await;
    let scene = Scene::over(&trio.store(), MAX_STALENESS, &[]);
    let (replicas, tokens) = (scene.replicas().await, scene.tokens());
    replicas[0].revoke(&tokens).await;
    all_become(&replicas, &tokens, "revoked").await;
    replicas[1].unrevoke().await;
    all_become(&replicas, &tokens, "ok").await;
    trio.lock_out_replicas_of(primary).await;
    replicas[2].revoke(&tokens).await;
    all_become(&replicas, &tokens, "revoked").await;
    trio.fail_over().await;
    trio.successor_of(primary).await;
    trio.let_in();
    all_keep_saying(&scene, &replicas, &tokens, REVOKED).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_taken_back_stays_so_when_a_replica_that_lacks_it_takes_over() {
    let trio = Trio::start().await;
    let primary = trio.primary().await;
    let scene = Scene::over(&trio.store(), MAX_STALENESS, &[]);
    let (replicas, tokens) = (scene.replicas().await, scene.tokens());
    replicas[0].revoke(&tokens).await;
    all_become(&replicas, &tokens, "revoked").await;
    trio.lock_out_replicas_of(primary).await;
    replicas[1].unrevoke().await;
    all_become(&replicas, &tokens, "ok").await;
    trio.fail_over().await;
    trio.successor_of(primary).await;
    trio.let_in();
    all_keep_saying(&scene, &replicas, &tokens, ALLOWED).await;
}
