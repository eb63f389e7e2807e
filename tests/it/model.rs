//! The view against the truth: random commands on a real server, and whenever the view says that it is fresh, it is
//! exactly what the server has.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use revoxy::clock::{Clock as _, Moment, SystemClock, Timestamp};
use revoxy::metrics::{CheckLabels, Metrics};
use revoxy::revocation::{
    Cutoff, Deletions, FeedSettings, KeyKind, Lookups, RedisStore, RevocationKey,
    RevocationStore as _, StoreError,
};

use crate::support::{PATIENCE, Redis, Scratch, eventually};

const KEYS: u64 = 24;
const ROUNDS: usize = 120;
/// What expires about now may be there or not.
const SLACK_MS: i64 = 3000;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

fn key(n: u64) -> RevocationKey {
    let kinds = [KeyKind::TokenId, KeyKind::Subject, KeyKind::Client];
    RevocationKey::new(
        kinds[usize::try_from(n % 3).unwrap()],
        "shop",
        &format!("value-{n}"),
    )
}

/// One random command.
fn command(random: &mut Random) -> Vec<String> {
    let name = |random: &mut Random| key(random.below(KEYS)).rendered().to_owned();
    let (a, b) = (name(random), name(random));
    let life = (5000 + random.below(60_000)).to_string();
    let words: Vec<&str> = match random.below(15) {
        0 | 1 => vec!["SET", &a, ""],
        2 | 3 => vec!["SET", &a, "", "PX", &life],
        4 => vec!["SET", &a, r#"{"not_before":1700000000.5}"#, "PX", &life],
        5 => vec!["SET", &a, r#"{"not_before":1800000000}"#],
        6 => vec!["DEL", &a],
        7 => vec!["UNLINK", &a, &b],
        8 => vec!["PEXPIRE", &a, &life],
        9 => vec!["PERSIST", &a],
        10 => vec!["RENAME", &a, &b],
        11 => vec!["COPY", &a, &b, "REPLACE"],
        12 => vec!["GETDEL", &a],
        13 => vec![
            "EVAL",
            "redis.call('SET', KEYS[1], '') redis.call('DEL', KEYS[2])",
            "2",
            &a,
            &b,
        ],
        _ if random.below(12) == 0 => vec!["FLUSHALL"],
        _ => vec!["PEXPIRE", &a, "1"],
    };
    words.into_iter().map(str::to_owned).collect()
}

/// What the server has: for each key the cutoff, or nothing; keys about to expire are left out.
async fn truth(
    connection: &mut redis::aio::MultiplexedConnection,
) -> BTreeMap<u64, Option<Cutoff>> {
    let mut truth = BTreeMap::new();
    for n in 0..KEYS {
        let name = key(n).rendered().to_owned();
        let (value, life): (Option<String>, i64) = redis::pipe()
            .get(&name)
            .pttl(&name)
            .query_async(connection)
            .await
            .unwrap();
        let cutoff = value.map(|value| match value.as_str() {
            "" => Cutoff::All,
            v if v.contains("17") => Cutoff::IssuedUpTo(Timestamp::from_millis(1_700_000_000_500)),
            _ => Cutoff::IssuedUpTo(Timestamp::from_secs(1_800_000_000)),
        });
        if !(0..SLACK_MS).contains(&life) {
            truth.insert(n, cutoff);
        }
    }
    truth
}

async fn the_view_is_the_truth(server: &Redis, seed: u64) {
    let labels = CheckLabels {
        outcomes: &[],
        policies: &[],
    };
    let metrics = Metrics::new(&labels, &StoreError::LABELS).unwrap();
    let options = server.options();
    let settings = FeedSettings {
        max_staleness: Duration::from_millis(200),
        deletions: Deletions::Honour,
        compare_every: Duration::from_secs(1),
        lookups: Lookups::default(),
        issuers: Vec::new(),
    };
    let clock = Arc::new(SystemClock);
    let store = RedisStore::with_view(&options, settings, clock, metrics.feed.clone()).unwrap();
    store.ready(PATIENCE).await.unwrap();
    let view = store.view().unwrap();
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut random = Random(seed);
    for round in 0..ROUNDS {
        let mut said = Vec::new();
        for _ in 0..=random.below(12) {
            let words = command(&mut random);
            let mut call = redis::Cmd::new();
            call.arg(&words);
            // RENAME of what is not there is an error, and changes nothing.
            let _: redis::RedisResult<redis::Value> = call.query_async(&mut connection).await;
            said.push(words.join(" "));
        }
        let written = Instant::now();
        eventually("a view that is younger than the last command", async || {
            let age = view.age(Moment::now())?;
            (age < written.elapsed()).then_some(())
        })
        .await;
        for (n, expected) in truth(&mut connection).await {
            let found = view.lookup(&key(n), SystemClock.now());
            assert_eq!(
                found,
                expected,
                "round {round} of seed {seed}: {:?}, after {said:#?}",
                key(n)
            );
        }
    }
    assert_eq!(metrics.feed.healed.get(), 0, "every difference was pushed");
}

#[tokio::test]
async fn the_view_is_what_redis_has_whenever_it_is_fresh() {
    let scratch = Scratch::new();
    the_view_is_the_truth(&Redis::start(&scratch).await, 7).await;
}

#[tokio::test]
async fn the_view_is_what_valkey_has_whenever_it_is_fresh() {
    let scratch = Scratch::new();
    the_view_is_the_truth(&Redis::valkey(&scratch).await, 8).await;
}
