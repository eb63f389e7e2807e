//! The loop that every feed shares: it follows the store, and tries again after a pause when that ends.

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::{Backoff, Moment, jittered};
use crate::metrics::FeedMetrics;

use super::state::{FeedState, JITTER};

/// The backoff between attempts: the first and the longest pause.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(400);

/// Why an attempt to follow a store has ended.
pub(crate) enum Ended {
    /// The store cannot be followed at all. The text says why, and what to do.
    Refused(String),
    /// Something broke. The text says what.
    Broken(String),
}

/// A feed that keeps a view current.
pub(crate) trait Feed: Send {
    /// Connects, brings the view up to date, and keeps it current until something breaks.
    fn follow(&mut self) -> impl Future<Output = Result<Infallible, Ended>> + Send;

    /// Where the feed reports its state.
    fn state(&self) -> &watch::Sender<FeedState>;

    fn metrics(&self) -> &dyn FeedMetrics;
}

/// Follows for as long as the process runs. What an attempt ends with is logged, but not again and again.
pub(crate) async fn supervise(mut feed: impl Feed) {
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    let mut last = String::new();
    loop {
        let started = Moment::now();
        let ended = match feed.follow().await {
            Ok(never) => match never {},
            Err(ended) => ended,
        };
        feed.metrics().following(false);
        feed.metrics().reconnecting();
        let (why, state) = match ended {
            Ended::Refused(why) => (why.clone(), FeedState::Refused(why)),
            Ended::Broken(why) => (why.clone(), FeedState::Starting(why)),
        };
        if *feed.state().borrow() != FeedState::Complete {
            feed.state().send_replace(state);
        }
        let lasted = started.elapsed() > LONGEST_PAUSE;
        if why != last || lasted {
            tracing::warn!(
                why,
                "the revocation feed is interrupted; the view ages until it is back"
            );
            last = why;
        }
        if lasted {
            backoff.reset();
        }
        tokio::time::sleep(jittered(backoff.pause(), JITTER)).await;
    }
}
