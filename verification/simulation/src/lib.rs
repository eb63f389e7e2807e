//! Deterministic simulation of Revoxy's Redis feed.
//!
//! The code under test is the real one: stores with their views, feeds and checkers, for three replicas. What it runs on is
//! simulated: time, network, randomness, and a model of Redis. A schedule of statements, checks and faults is drawn from a seed, and
//! runs the same each time. A judge that knows only what was stated, and when that was acknowledged, looks at every check.

pub mod conformance;
pub mod hand;
pub mod history;
pub mod judge;
pub mod net;
pub mod redis;
pub mod resp;
pub mod rng;
pub mod scene;
pub mod tokens;
pub mod trace;
pub mod world;
