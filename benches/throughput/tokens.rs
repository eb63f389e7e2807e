//! Tokens that are known, and tokens that are seen for the first time.

use jsonwebtoken::Algorithm;

use crate::common::{fill, pid_in, pin, setting};
use crate::support::{Config, Redis, Scratch, SigningKey};
use crate::{LOAD_CORE, compare, do_nothing, revoxy, server, token};

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
    let forgetting = config.clone().section("verification: { cache_entries: 0 }");
    let sqlite = format!("sqlite: {{ path: {:?} }}", scratch.name("bench.db"));
    let idle = do_nothing::start(&scratch, &[]).await;
    let verifying = do_nothing::start(&scratch, &do_nothing::work(&scratch, &key, &token)).await;
    let memory = revoxy(&scratch, &config, &token).await;
    let sqlite = revoxy(&scratch, &config.clone().store(sqlite), &token).await;
    let full = revoxy(&scratch, &config.clone().store(redis.store()), &token).await;
    let first = revoxy(&scratch, &forgetting, &token).await;
    // Each with the server that it is compared to.
    let servers = [
        (0, idle.server("do nothing")),
        (0, server("known token, memory, nothing revoked", &memory)),
        (0, server("known token, SQLite, nothing revoked", &sqlite)),
        (
            0,
            server(&format!("known token, Redis, {entries} revoked"), &full),
        ),
        (
            4,
            verifying.server("do nothing but verify one RS256 signature"),
        ),
        (4, server("token never seen before, RS256", &first)),
    ];
    compare("tokens", &scratch, &token, &servers);
}
