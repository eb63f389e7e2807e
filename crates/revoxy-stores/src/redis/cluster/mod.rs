//! A Redis Cluster: discovers its primaries, and queries keys in any slot.
//!
//! # Why "fresh as of *t*" is true of a cluster
//!
//! The feed enables tracking on a connection to every primary before anything is read. What `feed.rs` proves for
//! one server then holds for each: once the answer of a server to a heartbeat has arrived, every push for a write
//! that the server acknowledged before has arrived, too. It remains to show that no other node can have
//! acknowledged a write. So a heartbeat asks every primary for its report of the cluster, and proves this only if
//!
//! - each has answered, considers itself a primary, and reports that the cluster is up;
//! - their reports belong to one cluster, every slot has an owner, and the feed is connected to every node that
//!   any report names as a slot owner, or as another primary without slots: `MOVED` and `ASK` send a client
//!   only to nodes in these reports;
//! - no report marks a primary as failed. A replica takes over automatically only after more than half of the
//!   primaries have voted for it, and at that moment these primaries consider the old primary failed;
//! - every pushed key could be read, wherever its slot is in a migration; and if slots turned out to have a new
//!   owner, the keys pushed since the heartbeat before the last have been read again, because the previous owner
//!   may have answered for them.
//!
//! The proof of a heartbeat counts once the next heartbeat has found the same primaries. By then, a node that has
//! taken over although no primary had failed (`CLUSTER FAILOVER`) has announced that to the other nodes: it does so
//! before it accepts its first write, and the cluster bus has the interval between two heartbeats (an eighth of
//! `max_staleness`, but at most 250 ms) to deliver the announcement.
//!
//! Primaries may disagree about which of them owns a slot, as they do while slots move. The proof still holds,
//! because each of them pushes its own writes.
//!
//! What cannot be guaranteed, because Redis Cluster does not guarantee it: a write that a primary acknowledged, but
//! had not yet replicated to the replica that took its place, is lost unless a view holds the write (then it is
//! written back). And if `CLUSTER FAILOVER TAKEOVER` promotes a replica that is cut off from all other primaries,
//! no client can detect that.
//!
//! # Which cluster
//!
//! The node that answers at an address may have been removed from the cluster, or may belong to another one by now.
//! So only reports that are connected by node ids are merged, and of several such groups, the group that names the
//! previously known slot owners is used: see `membership.rs`. The feed and the router share the remembered owners
//! (`Seeds`), so they never follow different clusters.
//!
//! # When nodes fail and slots move
//!
//! If the set of primaries has changed, or one of them has become a replica, the feed reconnects and reads all keys
//! of all primaries in one round: the view stores only hashes of keys, so it does not know their slots. Slots that
//! move among the same primaries do not interrupt the feed: source and destination push the keys that move. `MOVED`
//! and `ASK` are followed, and if no node answers, the key is read again before a heartbeat counts.
//!
//! A primary that was just started rejects all keys for two seconds, and all primaries do while one is marked as
//! failed. So until a heartbeat is proven, the feed reads no keys, and the time that other Revoxy replicas get to
//! write back does not start: missing entries could not be written back yet, and the cluster resumes service for
//! all replicas at the same moment.
//!
//! A key that disappears after slots have moved counts as lost and not as deleted, until all keys have been
//! compared: a slot can be assigned to a node without its keys.

mod data;
mod discovery;
mod doctor;
mod membership;
mod node_report;
mod nodes;
mod queries;
mod router;
mod seeds;
mod slot;
mod surveyor;
mod topology;
mod trust_log;
mod write;

pub(super) use discovery::primaries;
pub(super) use doctor::diagnose;
pub(super) use nodes::{Beat, Primaries};
pub(super) use queries::Question;
pub(super) use router::{BOUND, Router};
pub(super) use seeds::Seeds;
