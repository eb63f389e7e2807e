//! What the user that Revoxy is to Redis must be allowed, beyond the rest, where tokens are known by themselves.

use std::sync::Arc;
use std::time::Duration;

use revoxy::clock::{Clock as _, SystemClock};
use revoxy::jwt::TokenType;
use revoxy::revocation::{
    Credentials, KeyKind, RedisOptions, RedisStore, RegistrationKey, RevocationKey,
    RevocationStore as _, StoreError, TokenRecord,
};

use crate::support::{PATIENCE, Redis, Scratch, eventually};

/// What `docs/operations.md` grants everybody, of what is needed here.
const BASE: [&str; 6] = ["+ping", "+get", "+pttl", "+set", "+evalsha", "+script|load"];
/// What it grants beyond that.
const MORE: [&str; 11] = [
    "+exists",
    "+hget",
    "+hmget",
    "+hset",
    "+hdel",
    "+zadd",
    "+zrange",
    "+zrangebyscore",
    "+zrem",
    "+zscore",
    "+pexpireat",
];

fn allow(redis: &Redis, keys: &[&str], commands: &[&str]) {
    let head = ["ACL", "SETUSER", "revoxy", "reset", "on", ">secret"];
    let head = [&head[..], &["resetchannels", "-@all"], keys].concat();
    let () = redis.run(&[&head[..], &BASE, commands].concat());
    let () = redis.run(&["FLUSHALL"]);
}

/// Goes through everything, also what is only done when something has expired.
async fn use_everything(redis: &Redis, scratch: &Scratch) -> Result<(), StoreError> {
    let mut options = RedisOptions::url(redis.url(), PATIENCE);
    options.credentials = Credentials {
        username: Some("revoxy".to_owned()),
        password_file: Some(scratch.write("password", "secret\n")),
    };
    let store = RedisStore::new(&options, Arc::new(SystemClock)).unwrap();
    store.ready(PATIENCE).await?;
    let registry = store.registry().unwrap();
    let record = |id: &str, life| TokenRecord {
        token: RevocationKey::new(KeyKind::TokenId, "shop", id),
        subject: Some("alice".to_owned()),
        session: None,
        client: None,
        kid: None,
        token_type: TokenType::Access,
        issued_at: None,
        expires_at: SystemClock.now().plus(life),
        registered: false,
        noted_at: SystemClock.now(),
    };
    let hour = Duration::from_secs(3600);
    let short = record("short", Duration::from_millis(200));
    registry.note(std::slice::from_ref(&short)).await?;
    eventually("the end of a token", async || {
        (SystemClock.now() > short.expires_at).then_some(())
    })
    .await;
    let (seen, registered) = (record("seen", hour), record("registered", hour));
    for _ in 0..2 {
        registry.note(std::slice::from_ref(&seen)).await?;
        registry.register(std::slice::from_ref(&registered)).await?;
    }
    let key = RegistrationKey::of(&registered.token);
    assert!(registry.is_registered(&key).await?);
    let page = registry.of_subject("shop", "alice", None, 10).await?;
    assert_eq!(page.records.len(), 2);
    for subject in [None, Some("alice")] {
        let found = registry.find(&registered.token, subject).await?;
        assert!(found.is_some_and(|r| r.registered));
    }
    Ok(())
}

#[tokio::test]
async fn the_rights_that_the_documentation_grants_suffice_and_each_is_needed() {
    let scratch = Scratch::new();
    let redis = Redis::start(&scratch).await;
    let keys = ["~revoxy:*", "~revoxy-tokens:*"];
    allow(&redis, &keys, &MORE);
    use_everything(&redis, &scratch).await.unwrap();
    for missing in MORE {
        let others: Vec<&str> = MORE.into_iter().filter(|c| *c != missing).collect();
        allow(&redis, &keys, &others);
        let used = use_everything(&redis, &scratch).await;
        assert!(
            matches!(used, Err(StoreError::Failed(_))),
            "without {missing}: {used:?}"
        );
    }
    for key in keys {
        allow(&redis, &[key], &MORE);
        assert!(
            use_everything(&redis, &scratch).await.is_err(),
            "only {key}"
        );
    }
}
