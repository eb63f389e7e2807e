//! `revoxy doctor`: says why revocations are not safe with a store.

use jsonwebtoken::Algorithm;

use crate::support::server::{revoxy, run};
use crate::support::{Config, Postgres, Redis, Revoxy, Scratch, SigningKey};

async fn doctor(scratch: &Scratch, store: String) -> (Option<i32>, String) {
    let key = SigningKey::generate(Algorithm::ES256);
    let yaml = Config::trusting(&key, scratch).store(store).yaml();
    let path = scratch.write("revoxy.yaml", yaml);
    let arguments = ["doctor", "--config", path.to_str().unwrap()];
    let (status, said) = run(scratch, &mut revoxy(&arguments)).await;
    (status.code(), said)
}

#[tokio::test]
async fn a_redis_that_forgets_or_evicts_is_named_with_what_to_do() {
    let scratch = Scratch::new();
    let redis = Redis::start(&scratch).await;
    let (status, said) = doctor(&scratch, redis.store()).await;
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("appendonly yes"), "{said}");
    assert!(!said.contains("noeviction"), "{said}");
    let () = redis.run(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    let (status, said) = doctor(&scratch, redis.store()).await;
    assert_eq!(status, Some(1), "{said}");
    for part in [
        "appendonly yes",
        "allkeys-lru",
        "maxmemory-policy noeviction",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[tokio::test]
async fn a_durable_redis_that_does_not_evict_is_sound() {
    let scratch = Scratch::new();
    let redis = Redis::durable(&scratch).await;
    let (status, said) = doctor(&scratch, redis.store()).await;
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("nothing found"), "{said}");
    // The other way to become so, without a restart.
    let (scratch, redis) = (Scratch::new(), redis);
    let forgetful = Redis::start(&scratch).await;
    let () = forgetful.run(&["CONFIG", "SET", "appendonly", "yes"]);
    let (status, said) = doctor(&scratch, forgetful.store()).await;
    assert_eq!(status, Some(0), "{said}");
    drop(redis);
}

#[tokio::test]
async fn a_replica_is_no_place_to_write_revocations() {
    let scratch = Scratch::new();
    let (redis, primary) = (Redis::durable(&scratch).await, Scratch::new());
    let primary = Redis::start(&primary).await;
    let port = primary.port().to_string();
    let () = redis.run(&["REPLICAOF", "127.0.0.1", &port]);
    let (status, said) = doctor(&scratch, redis.store()).await;
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("connect to the primary"), "{said}");
}

#[tokio::test]
async fn a_postgres_that_loses_or_keeps_silent_is_named_with_what_to_do() {
    let scratch = Scratch::new();
    let postgres = Postgres::start(&scratch).await;
    let key = SigningKey::generate(Algorithm::ES256);
    let config = Config::trusting(&key, &scratch).store(postgres.store());
    drop(Revoxy::start(&scratch, &config).await);
    postgres
        .run(
            "ALTER ROLE postgres SET synchronous_commit = off; \
             ALTER TABLE revocations DISABLE TRIGGER revocation_changed; \
             ALTER TABLE revocations SET UNLOGGED",
        )
        .await;
    let (status, said) = doctor(&scratch, postgres.store()).await;
    assert_eq!(status, Some(1), "{said}");
    for part in [
        "fsync = on",
        "synchronous_commit = on",
        "ENABLE ALWAYS TRIGGER revocation_changed",
        "SET LOGGED",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // And nothing where nothing is wrong, before the first start as well.
    let (scratch, settings) = (Scratch::new(), ["fsync=on"]);
    let sound = Postgres::start_with(&scratch, &settings).await;
    let (status, said) = doctor(&scratch, sound.store()).await;
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("nothing found"), "{said}");
    assert_eq!(
        sound
            .ask("SELECT (to_regclass('revocations') IS NULL)::text")
            .await,
        "true"
    );
}

#[tokio::test]
async fn a_store_that_is_not_there_is_a_mistake_in_the_configuration() {
    let scratch = Scratch::new();
    let mut redis = Redis::start(&scratch).await;
    redis.kill();
    let (status, said) = doctor(&scratch, redis.store()).await;
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("revocation.store.redis"), "{said}");
    assert!(said.contains("refused"), "{said}");
}

#[tokio::test]
async fn a_store_in_memory_forgets_and_one_in_a_file_does_not() {
    let scratch = Scratch::new();
    let (status, said) = doctor(&scratch, "memory: {}".to_owned()).await;
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("forgets"), "{said}");
    let (status, said) = doctor(&scratch, "sqlite: { path: revoxy.db }".to_owned()).await;
    assert_eq!(status, Some(0), "{said}");
}
