//! From the moment at which Redis acknowledges a revocation to the first denial by each of three replicas.

use std::time::{Duration, Instant};

use jsonwebtoken::Algorithm;
use tokio::time::sleep;

use crate::common::{quantile, setting};
use crate::support::{Checks, Config, Redis, Revoxy, Scratch, SigningKey, Token};

const REPLICAS: usize = 3;
/// Between two revocations: the machine is otherwise idle.
const PAUSE: Duration = Duration::from_millis(20);

pub async fn run() {
    let revocations = setting("BENCH_REVOCATIONS", 500);
    let scratch = Scratch::new();
    let redis = Redis::start(&scratch).await;
    let client = redis::Client::open(redis.url()).unwrap();
    let mut writer = client.get_multiplexed_async_connection().await.unwrap();
    let key = SigningKey::generate(Algorithm::ES256);
    let config = Config::trusting(&key, &scratch).store(redis.store());
    let (mut replicas, mut checks) = (Vec::new(), Vec::new());
    for _ in 0..REPLICAS {
        let revoxy = Revoxy::start(&scratch, &config).await;
        checks.push(revoxy.checks().await);
        replicas.push(revoxy);
    }
    let mut tokens = Vec::new();
    for n in 0..revocations {
        let id = format!("token-{n}");
        let token = Token::access(&id).sign(&key);
        for replica in &checks {
            assert!(replica.bearer(&token).await.allows());
        }
        tokens.push((id, token));
    }

    let (mut each, mut last) = (Vec::new(), Vec::new());
    for (id, token) in &tokens {
        sleep(PAUSE).await;
        let mut set = redis::cmd("SET");
        set.arg(format!("revoxy:jti:shop:{id}"))
            .arg("")
            .arg("EX")
            .arg(3600);
        set.exec_async(&mut writer).await.unwrap();
        let acknowledged = Instant::now();
        let [a, b, c] = checks.as_slice() else {
            unreachable!("three were started")
        };
        let denied = tokio::join!(denied(a, token), denied(b, token), denied(c, token));
        let after = [denied.0, denied.1, denied.2].map(|at| millis(at - acknowledged));
        each.extend(after);
        last.push(after.into_iter().fold(0.0, f64::max));
    }
    each.sort_by(f64::total_cmp);
    last.sort_by(f64::total_cmp);
    println!(
        "propagation: {revocations} revocations, {REPLICAS} replicas; from acknowledged to denied, ms"
    );
    for (name, values) in [("at a replica", each), ("at the last of them", last)] {
        let at = |q| quantile(&values, q);
        println!(
            "  {name:<20} p50 {:.2}, p99 {:.2}, greatest {:.2}",
            at(0.5),
            at(0.99),
            at(1.0)
        );
    }
}

/// Asks until the answer is no; when that was here.
async fn denied(checks: &Checks, token: &str) -> Instant {
    loop {
        if !checks.bearer(token).await.allows() {
            return Instant::now();
        }
    }
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}
