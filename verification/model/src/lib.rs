//! A model of the protocol between Revoxy and Redis, and an exhaustive search for schedules that break its promise.
//!
//! # What is modelled
//!
//! - **Servers** (`server.rs`): one Redis with a snapshot, from which it restarts after `kill -9`, or a primary and a second
//!   server, which takes over with what was replicated to it so far. Each has a run id, a replication id and a count of
//!   evictions. A replaced primary goes on taking writes until it is demoted.
//! - **Replicas of Revoxy** (`replica.rs`): they connect and track, read everything, act upon pushes by reading the key, write
//!   back what the server lost, wait for others to do the same, and claim freshness by heartbeats. `unversioned.rs` has what
//!   was different before there were versions.
//! - **Writers** (`statements.rs`): revocations, with a cutoff and without, and un-revocations through the API of a replica, in
//!   steps: sent, executed by the server, answered; and keys set and deleted by hand.
//! - **What is true** (`truth.rs`): kept beside all that, for the properties (`properties.rs`).
//!
//! # What is checked
//!
//! There is no time in the model, only order. *A replica never claims freshness as of an instant after the acknowledgement of a
//! revocation while its view does not refuse.* That is more than what is promised, which adds `max_staleness` to it. Then: a
//! direct read that is believed refuses as well; nobody refuses what was never stated; and what was un-revoked does not come
//! back in a view that has claimed freshness as of after the acknowledgement of the un-revocation. The last is not asked for
//! keys that were ever written by hand on a server that lost writes.
//!
//! # How to run it
//!
//! ```sh
//! cargo test --release                   # about two minutes on a core
//! cargo run --release -- check           # three replicas, two keys, two statements, two faults
//! cargo run --release -- check --only failover --statements 3 --faults 1
//! cargo run --release -- find --replicas 2 --keys 1 --fine --without settling --only restarts
//! ```
//!
//! `check` says of each part how many worlds it has gone through, and ends with status 1 if one is wrong. `find` searches
//! breadth first, so that the schedule that it prints is one of the shortest. Rules and assumptions that can be switched off are
//! in `rules.rs`; each has a test in `tests/switches.rs`.
//!
//! # How it is kept small
//!
//! - Worlds that differ only in the names of replicas or of keys have one hash (`symmetry.rs`). The search keeps hashes of 64
//!   bits only; that two of ten million different worlds share one has a chance of three in a million.
//! - What is pushed is a set of keys: a push names a key, and the key is read later.
//! - A heartbeat is one step, in which nothing is left to be acted upon. A longer one is fresh as of its beginning, and what was
//!   acknowledged before that has been pushed before its answer.
//! - To wait for the settling time is to wait until every other replica has read everything and written back, or knows
//!   nothing that the server lacks. That a replica is not slower than that is an assumption of the promise.
//! - Coarse steps (three replicas) read all that was pushed and write back at once; fine steps (two replicas) read key by
//!   key and write back later.
//! - `check` goes through scenes, each with some kinds of faults, and not through all kinds together.
//!
//! # What it leaves out
//!
//! - Time: expiry, and the life of what stands for an un-revocation. The merge of expiries is tested as an algebra only.
//! - A pause needs no action of its own: every step can be delayed without bound. Nor does a late answer.
//! - Two calls of the API at the same time; keys set and deleted by hand come between the steps of one. A write that the
//!   server takes after the API has answered 503.
//! - Sentinels one by one: there is one server that most of them name, and everybody can ask. Cluster and its slots.
//! - `SWAPDB`, `REPLICAOF` an older copy and back (like a restart with another replication id, without losing connections),
//!   refused write-backs, applications' keys, allow-lists.
//! - Liveness: that views become fresh again, and that the API answers 200 in the end.
//! - What no running replica had seen when the server lost it is not asked for, nor what only a replica had seen that was
//!   restarted before it wrote back.
//!
//! # Where it is stricter than the code
//!
//! Three rules of the model are not in the code, and `docs/promise.md` says what follows. `evictions_watched`: a replica that had
//! not seen an evicted key learns of it by another replica's comparison. `two_versions`: a revocation of every token and a cutoff
//! that are joined count as the former. `floor`: a statement never gets a version above a later one that it meets; it is made anew.
//!
//! # How far it was gone through
//!
//! The rules with versions, exhaustively and without a counterexample, on one core that was shared with others:
//!
//! | scene (3 replicas, 2 keys, 2 statements, coarse) | worlds with 1 fault | with 2 faults | time with 2 |
//! |---|---|---|---|
//! | restarts, connections lost | 0.50 million | 4.39 million | 96 s |
//! | cutoffs: two kinds of revocation, restarts | 1.91 million | 13.06 million | 201 s |
//! | by hand: set and deleted, restarts | 2.70 million | 23.17 million | 423 s |
//! | the same, deletions ignored | 2.73 million | not gone through | |
//! | evictions, connections lost | 0.11 million | 3.81 million | 59 s |
//! | failovers, connections lost | 1.35 million | not gone through | |
//! | replicas restarted, restarts | 0.54 million | not gone through | |
//!
//! It never took more than 0.4 GB of memory. With two faults, failovers, replicas that restart and ignored deletions have been
//! gone through for two replicas and one key only, or not at all: see the tests.
//!
//! The bounds of the tests are in `tests/new_rules.rs`: two replicas and one key in fine steps, three statements and one fault
//! or two and two, up to 1.2 million worlds each.

mod actions;
mod faults;
pub mod lattice;
pub mod operation;
pub mod properties;
pub mod replica;
pub mod rules;
pub mod scope;
pub mod search;
pub mod server;
mod statements;
mod steps;
mod symmetry;
pub mod truth;
mod unversioned;
pub mod world;
