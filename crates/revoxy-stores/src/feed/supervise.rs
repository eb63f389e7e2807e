//! The loop that every feed shares: it follows the store, and tries again after a pause when that ends.

use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
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

/// A feed that follows nothing any more once it is dropped.
struct Following<F: Feed>(F);

impl<F: Feed> Drop for Following<F> {
    fn drop(&mut self) {
        self.0.metrics().following(false);
    }
}

/// Follows for as long as the process runs. What an attempt ends with is logged, but not again and again.
pub(crate) async fn supervise(feed: impl Feed) {
    let mut feed = Following(feed);
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    let mut last = String::new();
    loop {
        let started = Moment::now();
        let (why, state) = match follow(&mut feed.0).await {
            Ended::Refused(why) => (why.clone(), FeedState::Refused(why)),
            Ended::Broken(why) => (why.clone(), FeedState::Starting(why)),
        };
        let feed = &feed.0;
        feed.metrics().following(false);
        feed.metrics().reconnecting();
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

/// Follows the store until that ends. A bug that panics ends one attempt only, as a broken connection does: the
/// next one reads everything again.
async fn follow(feed: &mut impl Feed) -> Ended {
    match AssertUnwindSafe(feed.follow()).catch_unwind().await {
        Ok(Ok(never)) => match never {},
        Ok(Err(ended)) => ended,
        Err(_) => {
            tracing::error!("the revocation feed has panicked and starts again: report this bug");
            Ended::Broken("the feed has panicked".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A feed that panics in its first attempt.
    struct Panicking {
        attempts: u32,
        state: watch::Sender<FeedState>,
    }

    impl Feed for Panicking {
        async fn follow(&mut self) -> Result<Infallible, Ended> {
            self.attempts += 1;
            assert!(self.attempts > 1, "a bug");
            self.state.send_replace(FeedState::Complete);
            std::future::pending().await
        }

        fn state(&self) -> &watch::Sender<FeedState> {
            &self.state
        }

        fn metrics(&self) -> &dyn FeedMetrics {
            &()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_feed_that_panics_starts_again() {
        let (state, mut states) = watch::channel(FeedState::Starting(String::new()));
        let feed = supervise(Panicking { attempts: 0, state });
        let complete = states.wait_for(|state| *state == FeedState::Complete);
        tokio::select! {
            () = feed => {}
            reached = complete => drop(reached.unwrap()),
        }
    }
}
