//! `revoxy doctor`: says why revocations are not safe with a store.

use jsonwebtoken::Algorithm;

use crate::support::server::run_with;
use crate::support::{Config, Postgres, Redis, Revoxy, Scratch, SigningKey, Token, eventually};

async fn doctor(scratch: &Scratch, store: String) -> (Option<i32>, String) {
    let key = SigningKey::generate(Algorithm::ES256);
    let yaml = Config::trusting(&key, scratch).store(store).yaml();
    let (status, said) = run_with(scratch, &["doctor"], &yaml).await;
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
async fn a_primary_that_takes_writes_without_its_replicas_is_named_with_what_to_do() {
    let (scratch, other) = (Scratch::new(), Scratch::new());
    let (redis, replica) = (Redis::durable(&scratch).await, Redis::start(&other).await);
    let port = redis.port().to_string();
    let () = replica.run(&["REPLICAOF", "127.0.0.1", &port]);
    eventually("a replica", async || {
        let info: String = redis.run(&["INFO", "replication"]);
        info.contains("connected_slaves:1").then_some(())
    })
    .await;
    let (status, said) = doctor(&scratch, redis.store()).await;
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("min-replicas-to-write 1"), "{said}");
    let () = redis.run(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    let (status, said) = doctor(&scratch, redis.store()).await;
    assert_eq!(status, Some(0), "{said}");
}

#[tokio::test]
async fn what_a_redis_holds_is_told_what_others_and_older_versions_wrote_among_it() {
    let scratch = Scratch::new();
    let redis = Redis::durable(&scratch).await;
    let key = SigningKey::generate(Algorithm::ES256);
    let config = Config::trusting(&key, &scratch).store(redis.store());
    let revoxy = Revoxy::start(&scratch, &config).await;
    revoxy.revoke(&Token::access("a").sign(&key)).await;
    let hash = format!("{:032x}", 1_u128 << 64);
    for name in [
        "revoxy:jti:shop:b",
        &format!("revoxy:unrevoked:{{{hash}}}"),
        "revoxy:jit:shop:c",
    ] {
        let () = redis.run(&["SET", name, "", "EX", "3600"]);
    }
    let (status, said) = doctor(&scratch, redis.store()).await;
    assert_eq!(status, Some(0), "{said}");
    let command = ["check-config", "--connect"];
    let (status, checked) = run_with(&scratch, &command, &config.yaml()).await;
    assert_eq!(status.code(), Some(0), "{checked}");
    for said in [said, checked] {
        for part in [
            "2 revocations (1 without a version",
            "expire by themselves: 1",
            "keys that must be a mistake (unknown_kind): 1",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
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
