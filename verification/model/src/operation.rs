//! One call of the API, from the request to its answer.

use crate::lattice::{Level, Version};
use crate::server::Identity;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Request {
    Revoke(Level),
    Unrevoke,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// On its way to a server.
    Sent { to: usize },
    /// By the rules before versions: the key is written, the tombstone not yet deleted.
    Half { to: usize },
    /// The server has answered.
    Answered {
        by: Identity,
        /// A heartbeat that was begun afterwards has confirmed that server.
        confirmed: bool,
        /// A heartbeat that was begun afterwards has confirmed another server.
        elsewhere: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Operation {
    pub replica: usize,
    pub key: usize,
    pub request: Request,
    pub version: Version,
    pub stage: Stage,
    /// What else was stated of the key since the request: nobody can say which of them is the later one.
    pub stated_since: Level,
    pub undone_since: bool,
}
