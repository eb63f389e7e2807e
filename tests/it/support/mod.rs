//! The servers and clients of the tests, one per file.

pub mod admin;
pub mod application;
pub mod authority;
pub mod bus;
pub mod cleanup;
pub mod client;
pub mod cluster;
pub mod envoy;
pub mod freezer;
pub mod key_server;
pub mod nginx;
pub mod node;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod raw_http2;
pub mod redis;
pub mod reshard;
pub mod scratch;
pub mod sentinel;
pub mod server;
pub mod tokens;
pub mod upstream;

use std::time::{Duration, Instant};

pub use admin::Admin;
pub use authority::Authority;
pub use client::{Answer, Ask, Checks};
pub use envoy::Envoy;
pub use key_server::KeyServer;
pub use nginx::Nginx;
pub use postgres::Postgres;
pub use process::Process;
pub use proxy::{Mood, Proxy};
pub use raw_http2::RawHttp2;
pub use redis::Redis;
pub use scratch::Scratch;
pub use server::{Config, Revoxy};
pub use tokens::{SigningKey, Token};
pub use upstream::Upstream;

/// How long a test waits for something that must happen. It fails afterwards, so this is generous: the
/// machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Polls until `probe` finds something.
pub async fn eventually<T>(what: &str, probe: impl AsyncFnMut() -> Option<T>) -> T {
    within(PATIENCE, what, probe).await
}

/// Polls until `probe` finds something, with a timeout of `patience`.
pub async fn within<T>(
    patience: Duration,
    what: &str,
    mut probe: impl AsyncFnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(
            Instant::now() < deadline,
            "not after {patience:?}, although awaited: {what}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
