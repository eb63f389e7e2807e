//! Each store, with its view and asked on every check. The servers of the stores share a core with h2load.

use jsonwebtoken::Algorithm;

use crate::common::{fill, fill_cluster, pid_in, pin, setting};
use crate::support::cluster::{Cluster, Flavour};
use crate::support::sentinel::Trio;
use crate::support::{Config, Postgres, Redis, Revoxy, Scratch, SigningKey};
use crate::{LOAD_CORE, compare, do_nothing, revoxy, server, token};

pub async fn run() {
    let entries = setting("BENCH_ENTRIES", 1_000_000);
    let scratch = Scratch::new();
    let key = SigningKey::generate(Algorithm::RS256);
    let token = token(&key);
    let redis = Redis::start(&scratch).await;
    let trio = Trio::without_replicas().await;
    let postgres = Postgres::start(&scratch).await;
    pin(postmaster(&postgres), LOAD_CORE);
    for redis in [&redis, &trio.servers[0].redis] {
        let info: String = redis.run(&["INFO", "server"]);
        pin(pid_in(&info), LOAD_CORE);
        fill(&redis.url(), entries);
    }

    let cluster = Cluster::start(&scratch, Flavour::Redis).await;
    for node in 0..cluster.nodes.len() {
        let info: String = cluster.run(node, &["INFO", "server"]);
        pin(pid_in(&info), LOAD_CORE);
    }
    let urls: Vec<_> = (0..cluster.nodes.len()).map(|n| cluster.url(n)).collect();
    fill_cluster(&urls, entries, |key| cluster.slot_of(key));

    let config = Config::trusting(&key, &scratch);
    // It makes the tables.
    let start = |store: &str| config.clone().store(store);
    drop(Revoxy::start(&scratch, &start(&postgres.store())).await);
    fill_postgres(&postgres, entries).await;

    let sqlite = format!("sqlite: {{ path: {:?} }}", scratch.name("bench.db"));
    let idle = do_nothing::start(&scratch, &[]).await;
    let mut servers = vec![(0, idle.server("do nothing"))];
    let mut subjects = Vec::new();
    for (name, store, reads) in [
        ("memory", "memory: {}".to_owned(), &["view"][..]),
        ("SQLite", sqlite, &["view"]),
        ("Redis", patient(redis.store()), &["view", "store"]),
        ("Sentinel", patient(trio.store()), &["view", "store"]),
        ("Cluster", patient(cluster.store()), &["view", "store"]),
        ("PostgreSQL", patient(postgres.store()), &["view", "store"]),
    ] {
        for read in reads {
            let read_it = format!("read: {read}");
            let revoxy = revoxy(&scratch, &start(&store).revocation(&read_it), &token).await;
            servers.push((0, server(&format!("{name}, {read_it}"), &revoxy)));
            subjects.push(revoxy);
        }
    }
    let title = format!("stores, {entries} revocations in each that is shared");
    compare(&title, &scratch, &token, &servers);
    for revoxy in &subjects {
        must_have_allowed(revoxy).await;
    }
}

/// At full load an answer takes longer than a check would wait in production.
fn patient(store: String) -> String {
    let open = store.strip_suffix(" }").expect("a map in braces");
    format!("{open}, timeout: 5s }}")
}

/// The process that all others of a PostgreSQL come from.
fn postmaster(postgres: &Postgres) -> u32 {
    let file = std::fs::read_to_string(postgres.data().join("postmaster.pid")).unwrap();
    file.lines().next().unwrap().trim().parse().unwrap()
}

/// Revokes so many tokens, without telling anybody.
async fn fill_postgres(postgres: &Postgres, entries: usize) {
    let rows = format!(
        "SET session_replication_role = replica;
         INSERT INTO revocations (key, expires_at)
         SELECT convert_to('revoxy:jti:shop:' || lpad(n::text, 8, '0') || '-5a61-4f3e-9d0f-2f6c1f0b8a11', 'UTF8'),
                now() + interval '1 day'
         FROM generate_series(1, {entries}) AS n;
         ANALYZE revocations"
    );
    postgres.run(&rows).await;
}

/// h2load counts an error as a success too.
async fn must_have_allowed(revoxy: &Revoxy) {
    let (_, text) = revoxy.get("/metrics").await;
    let errors: f64 = text
        .lines()
        .filter(|line| {
            line.starts_with("revoxy_checks_total") && line.contains("decision=\"error\"")
        })
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
        .sum();
    assert!(errors < 1.0, "{errors} checks ended in an error");
}
