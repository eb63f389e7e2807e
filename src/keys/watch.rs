//! Key files are read again when they change.
//!
//! By looking at the content every few seconds, not by watching the file system: Kubernetes swaps a symbolic link two
//! directories up, network volumes announce nothing, and an editor replaces the file; the content says it in all cases.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::clock::Clock;
use crate::jwt::{Issuer, KeyDemand, KeyError, KeyFile, LoadedKeys};
use crate::metrics::KeyMetrics;

/// Reads the issuer's key file again every `every`, and when somebody asks, for ever. A file that cannot be used changes nothing.
pub async fn watch_file(
    issuer: Arc<Issuer>,
    file: KeyFile,
    every: Duration,
    clock: Arc<dyn Clock>,
    metrics: KeyMetrics,
) {
    let name = Arc::clone(&issuer.profile().name);
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut present, mut reported) = (None, false);
    loop {
        match issuer.file_demand() {
            Some(demand) => tokio::select! {
                _ = ticks.tick() => {}
                () = demand.asked() => {}
            },
            None => drop(ticks.tick().await),
        }
        let reading = issuer.file_demand().map(KeyDemand::begin);
        match read(&issuer, &file, present).await {
            Ok(None) => reported = false,
            Ok(Some((digest, (keys, skipped)))) => {
                // What is found first is what the start has loaded and reported, or has changed since.
                if present.is_some() {
                    for why in skipped {
                        tracing::warn!(issuer = &*name, why, "a key is left out");
                    }
                    tracing::info!(issuer = &*name, keys = keys.len(), "new keys");
                }
                metrics.replaced(keys.len());
                metrics.refreshed(clock.now().secs());
                issuer.replace_keys(keys);
                (present, reported) = (Some(digest), false);
            }
            Err(error) => {
                metrics.failed("invalid");
                if !std::mem::replace(&mut reported, true) {
                    tracing::warn!(issuer = &*name, %error, "the key file cannot be used; the keys are kept");
                }
            }
        }
        drop(reading);
    }
}

type Digest = [u8; 32];

/// The file's keys and the digest of its content, unless that is the present one.
async fn read(
    issuer: &Arc<Issuer>,
    file: &KeyFile,
    present: Option<Digest>,
) -> Result<Option<(Digest, LoadedKeys)>, KeyError> {
    let (issuer, file) = (Arc::clone(issuer), file.clone());
    let reading = move || file.load_if_changed(&issuer.profile().algorithms, present);
    // Fails only if the process ends.
    tokio::task::spawn_blocking(reading)
        .await
        .unwrap_or(Ok(None))
}
