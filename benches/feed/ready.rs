//! How long a start takes with many revocations in Redis, or in a cluster, beside a bare `SCAN` of the same keys.

use std::time::Instant;

use jsonwebtoken::Algorithm;

use crate::common::{Spread, fill, fill_cluster, resident, setting};
use crate::support::cluster::{Cluster, Flavour};
use crate::support::{Config, Redis, Revoxy, Scratch, SigningKey};

const ROUNDS: usize = 3;

pub async fn run() {
    let entries = setting("BENCH_ENTRIES", 1_000_000);
    let scratch = Scratch::new();
    {
        let redis = Redis::start(&scratch).await;
        fill(&redis.url(), entries);
        measure("one server", &scratch, redis.store(), &[redis.url()]).await;
    }
    let cluster = Cluster::start(&scratch, Flavour::Redis).await;
    let url = |node: &crate::support::cluster::Node| format!("redis://127.0.0.1:{}", node.port);
    let urls: Vec<_> = cluster.nodes.iter().map(url).collect();
    fill_cluster(&urls, entries, |key| cluster.slot_of(key));
    measure("three primaries", &scratch, cluster.store(), &urls).await;
}

async fn measure(title: &str, scratch: &Scratch, store: String, urls: &[String]) {
    let entries = setting("BENCH_ENTRIES", 1_000_000);
    let key = SigningKey::generate(Algorithm::ES256);
    let config = Config::trusting(&key, scratch).store(store);
    let scan_all = |read| -> f64 {
        let (mut seconds, mut seen) = (0.0, 0);
        for url in urls {
            let (time, keys) = scan(url, read);
            seconds += time;
            seen += keys;
        }
        assert!(seen >= entries);
        seconds
    };
    let (mut scans, mut reads, mut starts, mut memory) = (vec![], vec![], vec![], 0);
    for _ in 0..ROUNDS {
        scans.push(scan_all(false));
        reads.push(scan_all(true));
        let started = Instant::now();
        let revoxy = Revoxy::start(scratch, &config).await;
        starts.push(started.elapsed().as_secs_f64());
        assert!(revoxy.metric("revoxy_revocation_view_entries").await as usize >= entries);
        memory = resident(revoxy.process.pid());
    }
    let ratio = |to: &[f64]| Spread::of(starts.iter().zip(to).map(|(a, b)| a / b)).show(2);
    println!("ready, {title}: {entries} keys, {ROUNDS} rounds in turns; median (least–greatest)");
    println!(
        "  bare SCAN, COUNT 1000             {} s",
        Spread::of(scans.clone()).show(2)
    );
    println!(
        "  the same, with GET and PTTL       {} s",
        Spread::of(reads.clone()).show(2)
    );
    println!(
        "  start of Revoxy until ready       {} s",
        Spread::of(starts.clone()).show(2)
    );
    println!("    of a bare SCAN                  {} ×", ratio(&scans));
    println!("    of SCAN, GET and PTTL           {} ×", ratio(&reads));
    println!("  resident then                     {} MiB", memory >> 20);
}

/// Seconds that it takes to list all keys, and to read them too, with no more than a client must do; and how many.
fn scan(url: &str, read: bool) -> (f64, usize) {
    let mut connection = redis::Client::open(url).unwrap().get_connection().unwrap();
    let started = Instant::now();
    let (mut cursor, mut seen) = (0, 0);
    loop {
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor)
            .arg("MATCH")
            .arg("revoxy:*")
            .arg("COUNT")
            .arg(1000);
        let (next, keys): (u64, Vec<Vec<u8>>) = scan.query(&mut connection).unwrap();
        seen += keys.len();
        if read && !keys.is_empty() {
            let mut pipe = redis::pipe();
            for key in &keys {
                pipe.cmd("GET").arg(key).cmd("PTTL").arg(key);
            }
            let answers: Vec<redis::Value> = pipe.query(&mut connection).unwrap();
            assert_eq!(answers.len(), keys.len() * 2);
        }
        if next == 0 {
            break;
        }
        cursor = next;
    }
    (started.elapsed().as_secs_f64(), seen)
}
