//! The server becomes a replica of an older copy of itself, takes over that copy's data, and is a primary again.

use super::{ALLOWED, MAX_STALENESS, REVOKED, Scene, all_become, all_keep_saying};
use crate::support::{Redis, Scratch, eventually};

/// A second server, with the data that the first has now.
async fn copy_of(redis: &Redis, data: &Scratch) -> (Redis, Scratch) {
    const SNAPSHOT: &str = "dump.rdb";
    let () = redis.run(&["SAVE"]);
    let elsewhere = Scratch::new();
    std::fs::copy(data.file(SNAPSHOT), elsewhere.file(SNAPSHOT)).unwrap();
    (Redis::start(&elsewhere).await, elsewhere)
}

async fn takes_over_the_data_of(redis: &Redis, copy: &Redis) {
    let port = copy.port().to_string();
    let () = redis.run(&["REPLICAOF", "127.0.0.1", &port]);
    eventually("the data of the copy", async || {
        let info: String = redis.run(&["INFO", "replication"]);
        info.contains("master_link_status:up").then_some(())
    })
    .await;
    let () = redis.run(&["REPLICAOF", "NO", "ONE"]);
}

#[tokio::test]
async fn what_was_revoked_again_stays_so_when_redis_takes_over_the_data_of_an_older_copy() {
    let data = Scratch::new();
    let redis = Redis::start(&data).await;
    let scene = Scene::over(&redis.store(), MAX_STALENESS, &[]);
    let (replicas, tokens) = (scene.replicas().await, scene.tokens());
    replicas[0].revoke(&tokens).await;
    all_become(&replicas, &tokens, "revoked").await;
    replicas[1].unrevoke().await;
    all_become(&replicas, &tokens, "ok").await;
    let (copy, _elsewhere) = copy_of(&redis, &data).await;
    replicas[2].revoke(&tokens).await;
    all_become(&replicas, &tokens, "revoked").await;
    takes_over_the_data_of(&redis, &copy).await;
    all_keep_saying(&scene, &replicas, &tokens, REVOKED).await;
}

#[tokio::test]
async fn what_was_taken_back_stays_so_when_redis_takes_over_the_data_of_an_older_copy() {
    let data = Scratch::new();
    let redis = Redis::start(&data).await;
    let scene = Scene::over(&redis.store(), MAX_STALENESS, &[]);
    let (replicas, tokens) = (scene.replicas().await, scene.tokens());
    replicas[0].revoke(&tokens).await;
    all_become(&replicas, &tokens, "revoked").await;
    let (copy, _elsewhere) = copy_of(&redis, &data).await;
    replicas[1].unrevoke().await;
    all_become(&replicas, &tokens, "ok").await;
    takes_over_the_data_of(&redis, &copy).await;
    all_keep_saying(&scene, &replicas, &tokens, ALLOWED).await;
}
