//! Why the feed stops following a server.

use super::super::StoreError;
use super::super::feed::supervise::Ended;
use super::error;

/// Why the feed stopped following a server.
#[derive(Debug)]
pub(super) enum FeedEnd {
    /// The server cannot be followed at all.
    Refused(String),
    /// A heartbeat was sent and not received.
    Silent,
    /// The connection broke, or the server sent an invalid answer.
    Broken(String),
}

impl From<FeedEnd> for Ended {
    fn from(end: FeedEnd) -> Self {
        match end {
            FeedEnd::Refused(why) => Self::Refused(why),
            FeedEnd::Silent => Self::Broken("a heartbeat was sent and not heard".to_owned()),
            FeedEnd::Broken(why) => Self::Broken(why),
        }
    }
}

impl From<StoreError> for FeedEnd {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(why) | StoreError::Failed(why) => Self::Broken(why),
            other => Self::Broken(other.to_string()),
        }
    }
}

impl From<sqlx::Error> for FeedEnd {
    fn from(error: sqlx::Error) -> Self {
        Self::Broken(error::describe(&error))
    }
}
