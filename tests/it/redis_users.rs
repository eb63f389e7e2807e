//! The user that Revoxy is to Redis: the least that it must be allowed, and a password that changes.

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::Algorithm;
use revoxy::clock::{Clock as _, SystemClock};
use revoxy::jwt::TokenType;
use revoxy::metrics::{CheckLabels, Metrics};
use revoxy::revocation::{
    Credentials, Cutoff, Deletions, FeedSettings, KeyKind, Lookups, RedisOptions, RedisStore,
    RegistrationKey, Revocation, RevocationKey, RevocationStore, StoreError, TokenRecord,
};

use crate::support::server::run_with;
use crate::support::{Config, PATIENCE, Redis, Revoxy, Scratch, SigningKey, Token, eventually};

/// What `docs/operations.md` grants with `read: view`, and nothing that is not needed.
const WITH_VIEW: [&str; 15] = [
    "+ping",
    "+time",
    "+info",
    "+client|tracking",
    "+scan",
    "+mget",
    "+get",
    "+pttl",
    "+set",
    "+del",
    "+evalsha",
    "+script|load",
    "+multi",
    "+exec",
    "+select",
];
/// The same with `read: store`.
const WITHOUT_VIEW: [&str; 12] = [
    "+ping",
    "+time",
    "+scan",
    "+get",
    "+pttl",
    "+set",
    "+del",
    "+evalsha",
    "+script|load",
    "+multi",
    "+exec",
    "+select",
];
/// What comes on top where tokens are recorded.
const FOR_TOKENS: [&str; 12] = [
    "~revoxy-tokens:*",
    "+exists",
    "+zadd",
    "+zrange",
    "+zrangebyscore",
    "+zrem",
    "+zscore",
    "+hset",
    "+hget",
    "+hmget",
    "+hdel",
    "+pexpireat",
];

fn allow(redis: &Redis, password: &str, commands: &[&str]) {
    let head = ["ACL", "SETUSER", "revoxy", "reset", "on", password];
    let keys = ["~revoxy:*", "resetchannels", "-@all"];
    let () = redis.run(&[&head[..], &keys, commands].concat());
}

fn options(redis: &Redis, scratch: &Scratch) -> RedisOptions {
    // Another database than the first, which has to be selected.
    let mut options = RedisOptions::url(redis.url_of_database(1), PATIENCE);
    options.credentials = Credentials {
        username: Some("revoxy".to_owned()),
        password_file: Some(scratch.write("password", "secret\n")),
    };
    options
}

fn revocation(key: &RevocationKey) -> Revocation {
    Revocation {
        key: key.clone(),
        cutoff: Cutoff::All,
        expires_at: SystemClock.now().plus(Duration::from_secs(3600)),
        reason: None,
        actor: None,
        revoked_at: SystemClock.now(),
    }
}

/// Goes through everything that a store does for others. What is not allowed is told by the server's own log.
async fn use_everything(store: &dyn RevocationStore) -> Result<(), StoreError> {
    let key = |value| RevocationKey::new(KeyKind::TokenId, "shop", value);
    let (a, b) = (key("a"), key("b"));
    store.revoke(&revocation(&a)).await?;
    store.revoke(&revocation(&b)).await?;
    let found = store.lookup(&[a.clone(), key("c")]).await?;
    assert_eq!(found, [Some(Cutoff::All), None]);
    assert!(store.get(&a).await?.is_some());
    assert_eq!(store.list(None, 10).await?.revocations.len(), 2);
    assert!(store.unrevoke(&b).await?);
    assert_eq!(store.lookup(&[b]).await?, [None]);
    Ok(())
}

/// Also has the server forget, and waits until the view has written back what was forgotten.
async fn use_with_view(redis: &Redis, scratch: &Scratch, patience: Duration) -> Result<(), String> {
    let labels = CheckLabels {
        outcomes: &[],
        policies: &[],
    };
    let metrics = Metrics::new(&labels, &StoreError::LABELS).map_err(|e| e.to_string())?;
    let settings = FeedSettings {
        max_staleness: Duration::from_millis(200),
        deletions: Deletions::Ignore,
        compare_every: Duration::from_secs(3600),
        lookups: Lookups::default(),
        issuers: Vec::new(),
    };
    let (clock, options) = (Arc::new(SystemClock), options(redis, scratch));
    let store = RedisStore::with_view(&options, settings, clock, metrics.feed.clone());
    let store = store.map_err(|e| e.to_string())?;
    store.ready(patience).await.map_err(|e| e.to_string())?;
    use_everything(&store).await.map_err(|e| e.to_string())?;
    let view = store.view().ok_or("no view")?;
    let within = async |what: &str, is: &dyn Fn() -> bool| {
        let found = eventually(what, async || is().then_some(()));
        let late = |_| format!("not in time: {what}");
        tokio::time::timeout(patience, found).await.map_err(late)
    };
    within("an entry of the view", &|| view.len() == 1).await?;
    let () = redis.run(&["FLUSHALL"]);
    within("a restored revocation", &|| metrics.feed.restored.get() > 0).await?;
    let a = RevocationKey::new(KeyKind::TokenId, "shop", "a");
    let taken_back = store.unrevoke(&a).await.map_err(|e| e.to_string())?;
    assert!(taken_back);
    within("an empty view", &|| view.is_empty()).await
}

async fn use_without_view(
    redis: &Redis,
    scratch: &Scratch,
    patience: Duration,
) -> Result<(), String> {
    let store = RedisStore::new(&options(redis, scratch), Arc::new(SystemClock));
    let store = store.map_err(|e| e.to_string())?;
    store.ready(patience).await.map_err(|e| e.to_string())?;
    use_everything(&store).await.map_err(|e| e.to_string())
}

/// Starts anew, without data, scripts and log.
fn begin(redis: &Redis, commands: &[&str]) {
    for command in [
        &["FLUSHALL"][..],
        &["SCRIPT", "FLUSH"],
        &["ACL", "LOG", "RESET"],
    ] {
        let () = redis.run(command);
    }
    allow(redis, ">secret", commands);
}

/// What was asked for and not allowed.
fn refused(redis: &Redis) -> Vec<String> {
    let log: Vec<std::collections::HashMap<String, redis::Value>> = redis.run(&["ACL", "LOG"]);
    let object = |entry: &std::collections::HashMap<String, redis::Value>| {
        redis::from_redis_value::<String>(entry["object"].clone()).unwrap()
    };
    log.iter().map(object).collect()
}

/// Registers and notes tokens, lists and finds them, and meets one that has expired.
async fn use_tokens(redis: &Redis, scratch: &Scratch, patience: Duration) -> Result<(), String> {
    let store = RedisStore::new(&options(redis, scratch), Arc::new(SystemClock));
    let store = store.map_err(|e| e.to_string())?;
    store.ready(patience).await.map_err(|e| e.to_string())?;
    let failed = |e: StoreError| e.to_string();
    let record = |jti: &str, life: Duration| TokenRecord {
        token: RevocationKey::new(KeyKind::TokenId, "shop", jti),
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
    let (brief, long) = (
        record("brief", Duration::from_millis(50)),
        record("long", hour),
    );
    let registry = store.registry().ok_or("no registry")?;
    registry
        .note(std::slice::from_ref(&brief))
        .await
        .map_err(failed)?;
    eventually("the end of a token", async || {
        (SystemClock.now() > brief.expires_at).then_some(())
    })
    .await;
    let records = std::slice::from_ref(&long);
    registry.register(records).await.map_err(failed)?;
    registry.note(records).await.map_err(failed)?;
    let key = RegistrationKey::of(&long.token);
    assert!(registry.is_registered(&key).await.map_err(failed)?);
    let page = registry.of_subject("shop", "alice", None, 10).await;
    assert_eq!(page.map_err(failed)?.records.len(), 1);
    for subject in [Some("alice"), None] {
        let found = registry.find(&long.token, subject).await.map_err(failed)?;
        assert!(found.is_some_and(|f| f.registered));
    }
    Ok(())
}

async fn each_is_needed(
    redis: &Redis,
    commands: &[&str],
    exercise: impl AsyncFn(Duration) -> Result<(), String>,
) {
    begin(redis, commands);
    exercise(PATIENCE).await.unwrap();
    assert_eq!(refused(redis), Vec::<String>::new());
    for missing in commands.iter().filter(|c| c.starts_with('+')) {
        let others: Vec<_> = commands.iter().copied().filter(|c| c != missing).collect();
        begin(redis, &others);
        // Much goes on without; but it was asked for.
        let _ = exercise(Duration::from_secs(1)).await;
        let refused = refused(redis);
        let name = missing.trim_start_matches('+');
        assert!(refused.iter().any(|r| r == name), "{missing}: {refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_view_the_least_user_suffices_and_needs_every_one_of_its_rights() {
    let scratch = Scratch::new();
    let redis = Redis::durable(&scratch).await;
    let exercise = async |patience| use_with_view(&redis, &scratch, patience).await;
    each_is_needed(&redis, &WITH_VIEW, exercise).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_view_the_least_user_suffices_and_needs_every_one_of_its_rights() {
    let scratch = Scratch::new();
    let redis = Redis::durable(&scratch).await;
    let exercise = async |patience| use_without_view(&redis, &scratch, patience).await;
    each_is_needed(&redis, &WITHOUT_VIEW, exercise).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_tokens_are_recorded_a_few_rights_more_suffice() {
    let scratch = Scratch::new();
    let redis = Redis::durable(&scratch).await;
    // Of the others, those that every connection and every script needs.
    let common = [
        "+ping",
        "+get",
        "+pttl",
        "+set",
        "+evalsha",
        "+script|load",
        "+select",
    ];
    let exercise = async |patience| use_tokens(&redis, &scratch, patience).await;
    each_is_needed(&redis, &[&common[..], &FOR_TOKENS].concat(), exercise).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_rights_suffice_in_valkey() {
    let scratch = Scratch::new();
    let valkey = Redis::valkey(&scratch).await;
    begin(&valkey, &WITH_VIEW);
    use_with_view(&valkey, &scratch, PATIENCE).await.unwrap();
    begin(&valkey, &WITHOUT_VIEW);
    use_without_view(&valkey, &scratch, PATIENCE).await.unwrap();
    assert_eq!(refused(&valkey), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_with_the_rights_of_the_first_version_need_not_be_changed_before_an_upgrade() {
    let scratch = Scratch::new();
    let redis = Redis::durable(&scratch).await;
    let timeless = |commands: &[&'static str]| -> Vec<&'static str> {
        let others = commands.iter().filter(|right| **right != "+time");
        others.copied().collect()
    };
    begin(&redis, &timeless(&WITH_VIEW));
    use_with_view(&redis, &scratch, PATIENCE).await.unwrap();
    begin(&redis, &timeless(&WITHOUT_VIEW));
    use_without_view(&redis, &scratch, PATIENCE).await.unwrap();
}

/// What is said to a user with these rights: by a look at the store, and at the start.
async fn said_to(redis: &Redis, scratch: &Scratch, rights: &[&str], lines: &[&str]) -> [String; 2] {
    allow(redis, ">secret", rights);
    let key = SigningKey::generate(Algorithm::ES256);
    let password = scratch.write("password", "secret");
    let store = format!(
        "redis: {{ url: {:?}, username: revoxy, password_file: {password:?} }}",
        redis.url()
    );
    let config = Config::trusting(&key, scratch).store(store);
    let config = lines.iter().fold(config, |c, line| c.revocation(line));
    let yaml = config.yaml();
    let (status, found) = run_with(scratch, &["check-config", "--connect"], &yaml).await;
    assert_eq!(status.code(), Some(0), "{found}");
    let (_, examined) = run_with(scratch, &["doctor"], &yaml).await;
    let revoxy = Revoxy::start(scratch, &config).await;
    [found + &examined, revoxy.log().await]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_to_write_that_is_missing_is_told_before_the_first_logout() {
    let scratch = Scratch::new();
    let redis = Redis::durable(&scratch).await;
    let all = [&WITH_VIEW[..], &FOR_TOKENS].concat();
    let without = |right: &str| -> Vec<&'static str> {
        all.iter()
            .copied()
            .filter(|other| *other != right)
            .collect()
    };
    for right in ["+set", "+del", "+evalsha"] {
        for said in said_to(&redis, &scratch, &without(right), &[]).await {
            assert!(
                said.contains("may not write revocations"),
                "{right}: {said}"
            );
            assert!(said.contains(right), "{right}: {said}");
        }
    }
    // That is needed only where tokens are recorded.
    for (lines, expected) in [(&[][..], false), (&["note_tokens: true"], true)] {
        for said in said_to(&redis, &scratch, &without("+zadd"), lines).await {
            assert_eq!(said.contains("grant +zadd"), expected, "{said}");
        }
    }
    for said in said_to(&redis, &scratch, &all, &["note_tokens: true"]).await {
        assert!(!said.contains("may not write"), "{said}");
    }
    let keys: Vec<String> = redis.run(&["KEYS", "*"]);
    assert_eq!(keys, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_that_may_only_read_keys_is_told_so() {
    let scratch = Scratch::new();
    let redis = Redis::durable(&scratch).await;
    let () = redis.run(&["ACL", "SETUSER", "revoxy", "reset", "on", ">secret"]);
    for said in said_to(
        &redis,
        &scratch,
        &[&WITH_VIEW[..], &["resetkeys", "%R~revoxy:*"]].concat(),
        &[],
    )
    .await
    {
        assert!(said.contains("grant +del +set, for the keys"), "{said}");
    }
}

#[tokio::test]
async fn the_log_names_the_command_that_a_logout_was_refused_for() {
    let scratch = Scratch::new();
    let redis = Redis::durable(&scratch).await;
    // Redis 7.0 does not name a command that a script was refused.
    for (right, expected) in [("+set", "revoxy doctor"), ("+evalsha", "grant +evalsha")] {
        let rights: Vec<_> = WITH_VIEW.iter().copied().filter(|r| *r != right).collect();
        begin(&redis, &rights);
        let store = RedisStore::new(&options(&redis, &scratch), Arc::new(SystemClock)).unwrap();
        let key = RevocationKey::new(KeyKind::TokenId, "shop", "a");
        let refused = store
            .revoke(&revocation(&key))
            .await
            .unwrap_err()
            .to_string();
        assert!(refused.contains(expected), "{refused}");
    }
}

#[tokio::test]
async fn a_password_that_changed_in_redis_and_in_its_file_is_used_by_the_next_connection() {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    let redis = Redis::durable(&scratch).await;
    for view in ["view", "store"] {
        allow(&redis, ">old", &WITH_VIEW);
        let password = scratch.write("password", "old");
        let store = format!(
            "redis: {{ url: {:?}, username: revoxy, password_file: {password:?} }}",
            redis.url()
        );
        let config = Config::trusting(&key, &scratch)
            .store(store)
            .revocation(&format!("read: {view}"));
        let revoxy = Revoxy::start(&scratch, &config).await;
        let checks = revoxy.checks().await;
        let () = redis.run(&["ACL", "SETUSER", "revoxy", ">new", "<old"]);
        scratch.write("password", "new\n");
        let killed: i64 = redis.run(&["CLIENT", "KILL", "USER", "revoxy"]);
        assert!(killed > 0);
        let jti = format!("after the change, {view}");
        let token = Token::access(&jti).sign(&key);
        let name = format!("revoxy:jti:shop:{jti}");
        let () = redis.run(&["SET", &name, "", "EX", "3600"]);
        eventually("a denial", async || {
            (checks.bearer(&token).await.reason() == "revoked").then_some(())
        })
        .await;
    }
}
