//! Reads key files again when they change.
//!
//! Their content is polled every few seconds, instead of watching the file system: Kubernetes swaps a
//! symbolic link two directories up, network volumes send no notifications, and an editor replaces the file.
//! The content changes in all cases.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::clock::Clock;
use crate::jwt::{Issuer, KeyDemand, KeyError, KeyFile, LoadedKeys};
use crate::metrics::KeyMetrics;

/// Reads the issuer's key file again every `every`, and on demand, for ever. A file that cannot be used
/// changes nothing. `name` is the name of the issuer's keys in the log.
pub async fn watch_file(
    name: String,
    issuer: Arc<Issuer>,
    file: KeyFile,
    every: Duration,
    clock: Arc<dyn Clock>,
    metrics: KeyMetrics,
) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut present, mut reported) = (None, false);
    let demand = issuer.file_demand();
    loop {
        match demand {
            Some(demand) => tokio::select! {
                _ = ticks.tick() => {}
                () = demand.asked() => {}
            },
            None => drop(ticks.tick().await),
        }
        let reading = demand.map(KeyDemand::begin);
        match read(&issuer, &file, present).await {
            Ok(None) => reported = false,
            Ok(Some((digest, (keys, skipped)))) => {
                // The first read finds what was loaded and reported at start, or what has changed since.
                if present.is_some() {
                    for why in skipped {
                        tracing::warn!(issuer = name, why, "a key is left out");
                    }
                    tracing::info!(issuer = name, keys = keys.len(), "new keys");
                }
                metrics.replaced(keys.len());
                metrics.refreshed(clock.now().secs());
                issuer.replace_keys(keys);
                (present, reported) = (Some(digest), false);
            }
            Err(error) => {
                metrics.failed("invalid");
                if !std::mem::replace(&mut reported, true) {
                    tracing::warn!(issuer = name, %error, "the key file cannot be used; the keys are kept");
                }
                // Callers must not assume that the keys are those in the file now.
                if let Some(reading) = reading {
                    reading.fail();
                }
                continue;
            }
        }
        drop(reading);
    }
}

type Digest = [u8; 32];

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    /// The file cannot be used.
    #[error(transparent)]
    Key(KeyError),
    /// The parser has panicked.
    #[error("reading it ended in a panic, which is a defect of Revoxy")]
    Panicked,
}

/// Reads the file's keys and the digest of its content; `None` if the content is unchanged.
async fn read(
    issuer: &Arc<Issuer>,
    file: &KeyFile,
    present: Option<Digest>,
) -> Result<Option<(Digest, LoadedKeys)>, ReadError> {
    let (issuer, file) = (Arc::clone(issuer), file.clone());
    in_background(move || file.load_if_changed(&issuer.profile().algorithms, present)).await
}

/// Runs a read that may take long on another thread. A panic of the parser is reported like a mistake in the
/// file.
async fn in_background<T: Send + 'static>(
    reading: impl FnOnce() -> Result<Option<T>, KeyError> + Send + 'static,
) -> Result<Option<T>, ReadError> {
    match tokio::task::spawn_blocking(reading).await {
        Ok(read) => read.map_err(ReadError::Key),
        Err(error) if error.is_panic() => Err(ReadError::Panicked),
        // The process is ending.
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_while_reading_is_an_error_and_no_unchanged_file() {
        let read = in_background::<()>(|| unreachable!("a defect")).await;
        assert!(matches!(read, Err(ReadError::Panicked)));
    }
}
