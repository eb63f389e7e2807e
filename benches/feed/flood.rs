//! What it costs to follow a Redis server to which many revocations a second are written.

use std::time::{Duration, Instant};

use jsonwebtoken::Algorithm;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::common::{cpu_time, pid_in, resident, revoke, setting};
use crate::support::{Config, Redis, Revoxy, Scratch, SigningKey, eventually};

/// Writes come in bursts, this often.
const BURSTS: usize = 100;

pub async fn run() {
    let rate = setting("BENCH_RATE", 10_000);
    let seconds = setting("BENCH_SECONDS", 10);
    let scratch = Scratch::new();
    let redis = Redis::start(&scratch).await;
    let key = SigningKey::generate(Algorithm::ES256);
    let config = Config::trusting(&key, &scratch).store(redis.store());
    let revoxy = Revoxy::start(&scratch, &config).await;
    let info: String = redis.run(&["INFO", "server"]);
    let (pid, server) = (revoxy.process.pid(), pid_in(&info));
    let empty = resident(pid);

    let before = cpu_time(pid);
    sleep(Duration::from_secs(3)).await;
    let idle = (cpu_time(pid) - before).as_secs_f64() / 3.0;

    let client = redis::Client::open(redis.url()).unwrap();
    let mut writer = client.get_multiplexed_async_connection().await.unwrap();
    let (before, before_server) = (cpu_time(pid), cpu_time(server));
    let started = Instant::now();
    let mut bursts = interval(Duration::from_secs(1) / u32::try_from(BURSTS).unwrap());
    bursts.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let total = rate * seconds;
    let size = rate / BURSTS;
    let mut oldest = 0.0_f64;
    for burst in 0..total / size {
        bursts.tick().await;
        let mut pipe = redis::pipe();
        for n in 0..size {
            let key = format!("revoxy:jti:shop:{burst:08}-{n:04}-4f3e-9d0f-2f6c1f0b8a11");
            revoke(&mut pipe, &key);
        }
        pipe.exec_async(&mut writer).await.unwrap();
        if burst % BURSTS == 0 {
            oldest = oldest.max(revoxy.metric("revoxy_revocation_view_age_seconds").await);
        }
    }
    let took = started.elapsed().as_secs_f64();
    eventually("a view with all of them", async || {
        let entries = revoxy.metric("revoxy_revocation_view_entries").await;
        (entries as usize == total).then_some(())
    })
    .await;
    let caught_up = started.elapsed().as_secs_f64() - took;
    let cores = |pid, before: Duration| (cpu_time(pid) - before).as_secs_f64() / took;
    println!(
        "flood: {:.0} revocations a second for {took:.1} s",
        total as f64 / took
    );
    println!(
        "  Revoxy              {:.3} cores; {idle:.4} when nothing is written",
        cores(pid, before)
    );
    println!(
        "  redis-server        {:.3} cores",
        cores(server, before_server)
    );
    println!(
        "  greatest view age   {:.0} ms, of one look a second; all there {:.0} ms after the last write",
        oldest * 1e3,
        caught_up * 1e3
    );
    println!(
        "  resident            {:.1} MiB before, {:.1} after",
        mib(empty),
        mib(resident(pid))
    );
}

fn mib(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
