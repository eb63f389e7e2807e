//! A model of a Redis server: what Revoxy uses of it, over a simulated network.
//!
//! The conformance script holds it to the real ones.

mod cjson;
mod client;
mod cluster;
mod clustered;
mod commands;
mod info;
mod keyspace;
mod machine;
mod node;
mod process;
mod replication;
mod scripts;
mod sentinels;
mod sets;
mod slots;
mod strings;

pub use cluster::{Cluster, NODES};
pub use keyspace::{Entry, Keyspace, Value};
pub use machine::Machine;
pub use node::{Node, Peer};
pub use process::{Age, Data, Process, Role};
pub use scripts::sha1;
pub use sentinels::{Ensemble, MASTER, SENTINELS, SERVERS};
pub use slots::{SLOTS, slot_of, slot_of_command};
