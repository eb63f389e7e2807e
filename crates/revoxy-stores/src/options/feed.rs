//! The settings of a feed, which keeps a view.

use std::time::Duration;

use super::super::lookups::Lookups;
use super::deletions::Deletions;

/// Settings of the feed.
#[derive(Clone, Debug)]
pub struct FeedSettings {
    /// How old the view may be before checks query the server instead of the view.
    pub max_staleness: Duration,
    /// What a deleted key means.
    pub deletions: Deletions,
    /// The interval between two slow comparisons.
    pub compare_every: Duration,
    /// The application keys to follow in addition to our own.
    pub lookups: Lookups,
    /// The names of the configured issuers: keys of other issuers are reported as mistakes.
    pub issuers: Vec<String>,
}
