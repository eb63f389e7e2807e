//! A model of a Redis server: what Revoxy uses of it, over a simulated network.
//!
//! The conformance script holds it to the real ones.

mod cjson;
mod client;
mod commands;
mod info;
mod keyspace;
mod machine;
mod process;
mod scripts;
mod sentinels;
mod sets;
mod strings;

pub use keyspace::{Entry, Keyspace, Value};
pub use machine::Machine;
pub use process::{Age, Data, Process, Role};
pub use scripts::sha1;
pub use sentinels::{Ensemble, MASTER, SENTINELS, SERVERS};
