//! Housekeeping: prunes expired revocations, so that they do not fill memory or disk.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::clock::Clock;

use super::Store;

const EVERY: Duration = Duration::from_secs(60);
/// Longer than any run that makes progress.
const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) async fn run(store: Store, clock: Arc<dyn Clock>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match tokio::time::timeout(DEADLINE, store.prune(clock.now())).await {
            Ok(Ok(0)) => {}
            Ok(Ok(pruned)) => tracing::debug!(pruned, "swept expired revocations"),
            Ok(Err(error)) => tracing::warn!(%error, "cannot sweep expired revocations"),
            Err(_) => tracing::warn!("sweeping expired revocations took too long"),
        }
    }
}
