//! How long whoever needs keys that are being fetched waits for them.

use std::time::Duration;

use tokio::time::Instant;

use super::error::PendingKeys;

/// How many fetches are waited for: one may have been under way already when the keys changed.
const MOST_FETCHES: usize = 2;

/// The time that there is for one token, whatever number of fetches it waits for.
#[derive(Debug, Default)]
pub struct KeyWait {
    patience: Option<Duration>,
    until: Option<Instant>,
    fetches: usize,
}

impl KeyWait {
    /// So much time. The default is as much as the issuer is configured with for a check.
    pub fn of(patience: Duration) -> Self {
        Self {
            patience: Some(patience),
            ..Self::default()
        }
    }

    /// Waits for these keys, in what is left of the time. True if they were fetched, or an attempt was made, so that verifying
    /// again may have another result.
    pub async fn on(&mut self, keys: &PendingKeys) -> bool {
        if self.fetches == MOST_FETCHES {
            return false;
        }
        self.fetches += 1;
        let patience = self.patience.unwrap_or_else(|| keys.patience());
        let until = self.until.get_or_insert_with(|| Instant::now() + patience);
        let until = *until;
        keys.fetched(until).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

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
        // One fetch is under way, and the next, which the check asks for, never ends.
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
