//! Each store, with its view and asked on every check. The servers of the stores share a core with h2load.

use jsonwebtoken::Algorithm;

use crate::common::{fill, pid_in, pin, setting};
use crate::load::Server;
use crate::support::{Config, Redis, Revoxy, Scratch, SigningKey};
use crate::{LOAD_CORE, compare, do_nothing, revoxy, server, token};

/// A Revoxy over some store.
struct Subject {
    revoxy: Revoxy,
    server: Server,
}

pub async fn run() {
    let entries = setting("BENCH_ENTRIES", 1_000_000);
    let scratch = Scratch::new();
    let key = SigningKey::generate(Algorithm::RS256);
    let token = token(&key);
    let redis = Redis::start(&scratch).await;
    let info: String = redis.run(&["INFO", "server"]);
    pin(pid_in(&info), LOAD_CORE);
    fill(&redis.url(), entries);

    let config = Config::trusting(&key, &scratch);
    let sqlite = format!("sqlite: {{ path: {:?} }}", scratch.name("bench.db"));
    // At full load an answer takes longer than a check would wait in production.
    let redis = format!("redis: {{ url: {:?}, timeout: 5s }}", redis.url());
    let idle = do_nothing::start(&scratch, &[]).await;
    let mut subjects = Vec::new();
    for (name, store, read) in [
        ("memory", "memory: {}", "view"),
        ("SQLite", &sqlite, "view"),
        ("Redis", &redis, "view"),
        ("Redis", &redis, "store"),
    ] {
        let config = config
            .clone()
            .store(store)
            .revocation(&format!("read: {read}"));
        let revoxy = revoxy(&scratch, &config, &token).await;
        let server = server(&format!("{name}, read: {read}"), &revoxy);
        subjects.push(Subject { revoxy, server });
    }
    let mut servers = vec![(0, idle.server("do nothing"))];
    let (revoxies, loaded): (Vec<_>, Vec<_>) =
        subjects.into_iter().map(|s| (s.revoxy, s.server)).unzip();
    servers.extend(loaded.into_iter().map(|server| (0, server)));
    let title = format!("stores with {entries} revocations in each that is shared");
    compare(&title, &scratch, &token, &servers);
    for revoxy in &revoxies {
        must_have_allowed(revoxy).await;
    }
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
