//! The Redis store: one string key per revocation, `revoxy:<kind>:<issuer name>:<value>`, with a TTL.
//!
//! So anybody can revoke with one line of `redis-cli`: `SET revoxy:jti:shop:<jti> "" EX <seconds>`. `format.rs`
//! defines the values; `stored.rs` and `tokens.rs` describe the other keys.
//!
//! With a view, `feed.rs` keeps a copy of all revocations in memory, and checks query the server only when the
//! copy is too old. Without a view, every check queries the server; that works with RESP2 and through any proxy.

mod address;
mod applications;
mod cluster;
mod connection;
mod connector;
mod dialer;
mod doctor;
mod durable;
mod error;
mod fault;
mod feed;
mod feed_end;
mod following;
mod format;
mod inventory;
mod link;
mod liveness;
mod local_replica;
mod loss_evidence;
mod merge;
mod missing_entries;
mod observed_stream;
mod one_server;
mod prefixes;
mod progress;
mod pushes;
mod reconcile;
mod record;
mod restore;
mod rights;
mod route;
mod scan;
mod script;
mod sentinel;
mod server;
mod session;
mod slot_moves;
mod store;
mod stored;
mod stored_key;
mod stream;
mod suspect;
mod tokens;
mod trusted_servers;
mod url;
mod write;
mod write_rights;

use std::time::Duration;

#[cfg(feature = "simulation")]
pub use script::text as script_text;
pub use store::RedisStore;

/// The longest TTL of a key, in ms: the largest integer that a Lua number holds exactly.
const LONGEST_LIFE: u64 = 1 << 53;
/// The error for a server that holds only part of the keys.
const IN_A_CLUSTER: &str =
    "the server is a node of a cluster: name some nodes in `cluster` instead of `url`";

/// How long an un-revocation is remembered if the revocation had no known expiry.
const TOMBSTONE_LIFE: Duration = Duration::from_secs(24 * 3600);
