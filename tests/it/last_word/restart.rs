//! The server is killed, and starts again from a snapshot that was made between the two statements.

use super::{ALLOWED, MAX_STALENESS, REVOKED, Scene, all_become, all_keep_saying};
use crate::support::{Redis, Scratch};

/// Whether a deleted key is an un-revocation or a loss must not matter to what the API has said.
const DELETIONS: [&str; 2] = ["deletions: honour", "deletions: ignore"];

/// A server without an append-only file: what a snapshot does not have is lost with the process.
async fn server() -> (Redis, Scratch) {
    let scratch = Scratch::new();
    (Redis::start(&scratch).await, scratch)
}

async fn comes_back_from_its_snapshot(redis: &mut Redis, scratch: &Scratch) {
    redis.kill();
    redis.restart(scratch).await;
}

#[tokio::test]
async fn what_was_revoked_again_stays_so_when_redis_restarts_from_a_snapshot_of_the_un_revocation()
{
    for deletions in DELETIONS {
        let (mut redis, data) = server().await;
        let scene = Scene::over(&redis.store(), MAX_STALENESS, &[deletions]);
        let (replicas, tokens) = (scene.replicas().await, scene.tokens());
        replicas[0].revoke(&tokens).await;
        all_become(&replicas, &tokens, "revoked").await;
        replicas[1].unrevoke().await;
        all_become(&replicas, &tokens, "ok").await;
        let () = redis.run(&["SAVE"]);
        replicas[2].revoke(&tokens).await;
        all_become(&replicas, &tokens, "revoked").await;
        comes_back_from_its_snapshot(&mut redis, &data).await;
        all_keep_saying(&scene, &replicas, &tokens, REVOKED).await;
    }
}

#[tokio::test]
async fn what_was_taken_back_stays_so_when_redis_restarts_from_a_snapshot_of_the_revocation() {
    for deletions in DELETIONS {
        let (mut redis, data) = server().await;
        let scene = Scene::over(&redis.store(), MAX_STALENESS, &[deletions]);
        let (replicas, tokens) = (scene.replicas().await, scene.tokens());
        replicas[0].revoke(&tokens).await;
        all_become(&replicas, &tokens, "revoked").await;
        let () = redis.run(&["SAVE"]);
        replicas[1].unrevoke().await;
        all_become(&replicas, &tokens, "ok").await;
        comes_back_from_its_snapshot(&mut redis, &data).await;
        all_keep_saying(&scene, &replicas, &tokens, ALLOWED).await;
    }
}

#[tokio::test]
async fn what_was_revoked_twice_and_taken_back_twice_is_what_was_said_last() {
    let (mut redis, data) = server().await;
    let scene = Scene::over(&redis.store(), MAX_STALENESS, &[]);
    let (replicas, tokens) = (scene.replicas().await, scene.tokens());
    for round in 0..2 {
        replicas[round].revoke(&tokens).await;
        all_become(&replicas, &tokens, "revoked").await;
        let () = redis.run(&["SAVE"]);
        replicas[round + 1].unrevoke().await;
        all_become(&replicas, &tokens, "ok").await;
        comes_back_from_its_snapshot(&mut redis, &data).await;
        all_keep_saying(&scene, &replicas, &tokens, ALLOWED).await;
    }
    replicas[2].revoke(&tokens).await;
    all_become(&replicas, &tokens, "revoked").await;
    comes_back_from_its_snapshot(&mut redis, &data).await;
    all_keep_saying(&scene, &replicas, &tokens, REVOKED).await;
}
