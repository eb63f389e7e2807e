//! The integration tests: a real Revoxy process, and around it a real Envoy, a real Redis, and an application.
//!
//! Every test starts what it needs on free ports, in a directory of its own, and takes it down again, so that tests run
//! in any order and beside each other. What a process said is shown when the test that started it fails.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test may fail in the shortest way there is, in its helpers too"
)]

mod answers;
mod applications;
mod architecture;
mod bounds;
mod check;
mod claim_headers;
mod cluster;
mod config;
mod connect;
mod cutoffs;
mod doctor;
mod durable;
mod envoy;
mod explain;
mod forgetting;
mod half_open;
mod histories;
mod http_check;
mod keys;
mod last_word;
mod leftovers;
mod lifecycle;
mod log_level;
mod logout_route;
mod lookups;
mod methods;
mod metrics;
mod model;
mod older_lives;
mod outage;
mod policies;
mod postgres;
mod readiness;
mod redis_tls;
mod redis_users;
mod refusal;
mod resources;
mod revoke;
mod safety;
mod sentinel;
mod sentinel_tls;
mod shapes;
mod signing_keys;
mod sleep;
mod slow_keys;
mod stalled_log;
mod stores;
mod successor;
mod support;
mod suspects;
mod taken_ports;
mod tokens;
mod unavailable;
mod vanishing;
mod verification;
mod verification_envoy;
mod words;
