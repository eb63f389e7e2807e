//! Why the feed stops following a server.

use redis::RedisError;

use super::super::feed::supervise::Ended;
use super::dialer::ConnectError;
use super::error::{describe, has_code};

/// Why the feed stopped following a server.
#[derive(Debug)]
pub(super) enum FeedEnd {
    /// The server cannot be followed at all.
    Refused(String),
    /// The server is a replica, from the start or since a moment ago.
    NotPrimary,
    /// The server process, or its replication history, changed while the server was being followed.
    OtherHistory,
    /// The Sentinels name another server as the primary.
    Superseded,
    /// The set of primaries in the cluster, or the role of one of them, has changed.
    Topology(String),
    /// The connection broke, or the server sent an invalid answer.
    Broken(String),
}

impl From<FeedEnd> for Ended {
    fn from(end: FeedEnd) -> Self {
        let why = match end {
            FeedEnd::Refused(why) => return Self::Refused(why),
            FeedEnd::NotPrimary => "the server is a replica, not a primary",
            FeedEnd::OtherHistory => {
                "the server has another replication history than when it was connected to"
            }
            FeedEnd::Superseded => "the Sentinels name another server",
            FeedEnd::Topology(why) | FeedEnd::Broken(why) => return Self::Broken(why),
        };
        Self::Broken(why.to_owned())
    }
}

impl From<RedisError> for FeedEnd {
    fn from(error: RedisError) -> Self {
        Self::Broken(describe(&error))
    }
}

impl From<ConnectError> for FeedEnd {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Redis(error)
                if error.kind() == redis::ErrorKind::RESP3NotSupported
                    || has_code(&error, &["NOPROTO", "ERR"]) =>
            {
                Self::Refused(refusal("it does not speak RESP3 (Redis 6 and later do)"))
            }
            other => Self::Broken(other.to_string()),
        }
    }
}

/// Formats why a server cannot be followed, and what to do about it.
pub(super) fn refusal(why: &str) -> String {
    format!(
        "the server cannot keep a view current: {why}; say `read: store` to ask it on every check instead"
    )
}
