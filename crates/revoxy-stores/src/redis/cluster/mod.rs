//! A Redis Cluster: discovers its primaries, and queries keys in any slot.
//!
//! # Why "fresh as of *t*" is true of a cluster
//!
//! The feed enables tracking on a connection to every primary before anything is read. What `feed.rs` proves
//! for one server then holds for each: once its answer to a heartbeat has arrived, so has every push for a
//! write that it acknowledged before. It remains to show that no other node can have acknowledged a write. So a
//! heartbeat asks every primary for its report of the cluster, and proves something only when
//!
//! - each has answered, considers itself a primary, and says that the cluster is up;
//! - their reports belong to one cluster, every slot has an owner, and the feed is connected to every node that
//!   any report names as a slot owner, or as another primary without slots: `MOVED` and `ASK` send a client
//!   only to nodes in these reports;
//! - no report marks a primary as failed. A replica takes over by itself only after more than half of the
//!   primaries have voted for it, and at that moment these consider the old primary failed;
//! - every pushed key could be read, wherever its slot is in a migration; and if slots have another owner than
//!   was known, the keys pushed since the heartbeat before the last have been read again, because the previous
//!   owner may have answered for them.
//!
//! What a heartbeat has proved counts when the next one finds the same primaries. By then a node that has taken
//! over although no primary had failed (`CLUSTER FAILOVER`) has told the others: it does so before it accepts
//! its first write, and the cluster bus has the interval between two heartbeats (an eighth of `max_staleness`,
//! but at most 250 ms) to deliver that.
//!
//! Primaries may disagree about which of them owns a slot, as they do while slots move: each of them pushes.
//!
//! What cannot be guaranteed, because Redis Cluster does not guarantee it: a write that a primary acknowledged,
//! but had not yet replicated to the replica that took its place, is lost unless a view holds it (then it is
//! written back). And if `CLUSTER FAILOVER TAKEOVER` promotes a replica that is cut off from all other
//! primaries, no client can detect that.
//!
//! # Which cluster
//!
//! The node that answers at an address may have been removed from the cluster, or may belong to another one by
//! now. So only reports that are connected by node ids are merged, and of several such groups, the one counts
//! that names the slot owners from before: see `membership.rs`. Feed and router share what they remember of the
//! owners (`Seeds`), and so never follow different clusters.
//!
//! # When nodes fail and slots move
//!
//! If the primaries differ from those before, or one of them is a replica, the feed reconnects and reads
//! everything, in one round over all of them: the view knows only hashes, and so no slots. Slots that move
//! among the same primaries interrupt nothing: source and destination push the keys that move. `MOVED` and
//! `ASK` are followed, and if no node answers, the key is read again before a heartbeat counts.
//!
//! A primary that was just started rejects all keys for two seconds, and all primaries do while one is marked
//! as failed. So before a heartbeat has proved something, nothing is read, and other Revoxy replicas are given
//! no time to write back: what is missing could not be written back yet, and the cluster resumes service for
//! everybody at the same moment.
//!
//! What disappears after slots have moved counts as lost and not as deleted, until everything has been
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
