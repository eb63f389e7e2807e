//! How long a caller waits for keys that are being fetched.

use tokio::time::Instant;

use super::error::PendingKeys;

/// The maximum number of fetches to wait for: the first may already have been in flight when the keys
/// changed.
const MOST_FETCHES: usize = 2;

/// The time limit for one token's wait for keys, over all fetches: the issuer's `keys.wait`, unless a
/// deadline is given.
#[derive(Debug, Default)]
pub struct KeyWait {
    until: Option<Instant>,
    fetches: usize,
}

impl KeyWait {
    /// Waits until this moment at most.
    pub fn until(until: Instant) -> Self {
        Self {
            until: Some(until),
            ..Self::default()
        }
    }

    /// Waits for these keys in the time that is left. Returns `true` if they were fetched, or an
    /// attempt was made, so that verifying again may have another result.
    pub async fn on(&mut self, keys: &PendingKeys) -> bool {
        if self.fetches == MOST_FETCHES {
            return false;
        }
        self.fetches += 1;
        let by_issuer = || Instant::now() + keys.patience();
        let until = *self.until.get_or_insert_with(by_issuer);
        keys.fetched(until).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::testing;
    use super::*;
    use crate::jwt::{Issuer, KeyDemand, Rejection, Verifier, install_crypto};

    const PATIENCE: Duration = Duration::from_millis(50);

    #[tokio::test(start_paused = true)]
    async fn all_fetches_that_one_check_waits_for_share_its_time() {
        install_crypto().unwrap();
        let demand = KeyDemand::new(Duration::from_secs(10), PATIENCE);
        let issuer = Arc::new(Issuer::fetched(testing::profile(), demand));
        issuer.replace_keys(testing::all_keys());
        let verifier = Verifier::new([Arc::clone(&issuer)]);
        let token = testing::unsigned("ES256", "unheard-of");
        // One fetch is in flight, and the next, which the check requests, never ends.
        let fetching = issuer.demand().unwrap().begin();
        let first = async {
            tokio::time::sleep(PATIENCE / 2).await;
            drop(fetching);
        };
        let started = Instant::now();
        let check = verifier.await_keys(&token, testing::now(), KeyWait::default());
        let (verdict, ()) = tokio::join!(check, first);
        assert_eq!(verdict.err(), Some(Rejection::UnknownKey.into()));
        let waited = started.elapsed();
        let slack = Duration::from_millis(2);
        assert!(
            (PATIENCE..=PATIENCE + slack).contains(&waited),
            "{waited:?}"
        );
    }
}
