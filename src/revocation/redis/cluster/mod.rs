//! A Redis Cluster: finding its primaries, and asking about keys in any slot.
//!
//! # Why "fresh as of *t*" is true of a cluster
//!
//! The feed tracks on a connection to every primary before anything is read. What `feed.rs` says of one server is then
//! true of each: when its answer to a heartbeat is here, so is every push for a write that it had acknowledged. What
//! has to be shown is that no other node can have acknowledged a write. So a heartbeat asks every primary for its table
//! of the cluster, and proves something only when
//!
//! - each has answered, takes itself for a primary, and says that the cluster works;
//! - their tables are of one cluster, every slot has an owner, and whoever any of them names as the owner of a slot, or as
//!   another primary without slots, is connected to: a client is sent by `MOVED` or `ASK` only to nodes in these tables;
//! - none of them holds a primary for dead. A replica takes over by itself only when more than half of the primaries
//!   have voted for it, and these hold the old one for dead at that moment;
//! - every key that was pushed could be read, wherever its slot is on the way; and where slots have another owner than was
//!   known, what was pushed since the heartbeat before the last has been read again, as the one from before may have answered.
//!
//! What a heartbeat has proved counts when the next one finds the same primaries. By then a node that has taken over
//! without anybody's death (`CLUSTER FAILOVER`) has told the others: it does so before it takes its first write, and
//! the bus between them has an eighth of the bound to carry that.
//!
//! Primaries may disagree about who of them has a slot, as they do while slots move: each of them pushes.
//!
//! What cannot be guaranteed, because Redis Cluster does not: a write that a primary acknowledged and had not yet passed
//! on to the replica that took its place is lost, unless a view holds it (it is written back then). And where
//! `CLUSTER FAILOVER TAKEOVER` makes a replica a primary that is cut off from all other primaries, nobody can know.
//!
//! # Which cluster
//!
//! Who answers at an address may have been removed from the cluster, or be of another one by now. So only tables that are
//! connected by node ids are put together, and of several such parts the one counts that knows the owners of slots from before:
//! `same.rs`. Feed and router share what they remember of them (`Seeds`), and so never follow different ones.
//!
//! # When nodes fail and slots move
//!
//! Other primaries than before, or one of them a replica: the feed connects anew and reads everything, in one round over
//! all of them, since the view knows only hashes and so no slots. Slots that move among the same primaries interrupt
//! nothing: source and destination push the keys that move. `MOVED` and `ASK` are followed, and where nobody answers,
//! the key is read again before a heartbeat counts.
//!
//! A primary that was started refuses all keys for two seconds, and all of them do while one is held for dead. So nothing is read, and no time is
//! given to other replicas of ours to write back, before a heartbeat has proved something: what is missing could not be written back, and the
//! cluster serves again for everybody at the same moment.
//!
//! What is gone since slots have moved counts as lost and not as deleted, until everything has been compared: a slot can
//! be given to a node without its keys.

mod ask;
mod data;
mod discovery;
mod doubt;
mod keeper;
mod nodes;
mod router;
mod same;
mod slot;
mod store;
mod surveyor;
mod told;
mod topology;
mod write;

pub(super) use discovery::{Seeds, diagnose, primaries};
pub(super) use nodes::{Beat, Primaries};
pub use store::RedisClusterStore;
