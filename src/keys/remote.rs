//! Keys by URL: fetched at start, again before they grow old, and when a token names one that is not there.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep_until};
use url::{Host, Url};

use crate::clock::Clock;
use crate::jwt::{Issuer, KeyDemand, KeySet, parse_set};
use crate::metrics::KeyMetrics;

use super::fetch::{FetchError, Fetcher, origin};

/// Keys that are fetched, as configured.
#[derive(Clone, Debug)]
pub struct RemoteKeys {
    /// From where.
    pub location: Location,
    /// When, and how long they hold.
    pub timing: Timing,
    /// How long one fetch may take.
    pub timeout: Duration,
    /// Whether plain HTTP may be spoken with other machines.
    pub allow_http: bool,
    /// Certificate authorities in place of the system's.
    pub ca_file: Option<std::path::PathBuf>,
    /// Hosts that a redirect may lead to, beside the one that was asked.
    pub redirect_hosts: Vec<Host>,
}

/// Where keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// The JWK set itself.
    Jwks(Url),
    /// The provider's metadata (OpenID Connect Discovery 1.0 §4), which names the JWK set.
    Discovery(Url),
}

/// When keys are fetched, and how long they hold.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// The time between fetches, whatever the server says.
    pub refresh: Option<Duration>,
    /// The least time between fetches that unknown keys cause.
    pub cooldown: Duration,
    /// How long a check waits for such a fetch.
    pub patience: Duration,
    /// How long keys are believed that could not be fetched again.
    pub max_age: Duration,
}

/// Without a word from the server.
const DEFAULT_REFRESH: Duration = Duration::from_secs(300);
/// What the server says is honoured within these.
const MIN_REFRESH: Duration = Duration::from_secs(60);
const MAX_REFRESH: Duration = Duration::from_secs(3600);
/// After a failure: the first retry, then twice as long each time.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const MAX_RETRY: Duration = Duration::from_secs(60);

impl RemoteKeys {
    /// What fetches them; the error says why nothing could ever be fetched.
    pub fn fetcher(&self) -> Result<Fetcher, String> {
        let fetcher = Fetcher::new(self.timeout, self.allow_http, self.ca_file.clone())?;
        Ok(fetcher.with_redirect_hosts(self.redirect_hosts.clone()))
    }
}

impl Timing {
    /// The demand that goes with it.
    pub fn demand(&self) -> KeyDemand {
        KeyDemand::new(self.cooldown, self.patience)
    }

    fn next_refresh(&self, max_age: Option<Duration>) -> Duration {
        let by_server = max_age.map(|age| age.clamp(MIN_REFRESH, MAX_REFRESH));
        self.refresh.or(by_server).unwrap_or(DEFAULT_REFRESH)
    }
}

/// Keeps the keys of one issuer current.
pub struct Refresher {
    issuer: Arc<Issuer>,
    location: Location,
    timing: Timing,
    fetcher: Fetcher,
    clock: Arc<dyn Clock>,
    metrics: KeyMetrics,
    /// What the present keys were read from: the same again changes nothing and leaves verified tokens verified.
    present: Option<Vec<u8>>,
}

impl Refresher {
    /// A refresher for `issuer`.
    pub fn new(
        issuer: Arc<Issuer>,
        keys: &RemoteKeys,
        fetcher: Fetcher,
        clock: Arc<dyn Clock>,
        metrics: KeyMetrics,
    ) -> Self {
        Self {
            issuer,
            location: keys.location.clone(),
            timing: keys.timing,
            fetcher,
            clock,
            metrics,
            present: None,
        }
    }

    /// Fetches once, to see whether it can be done.
    pub async fn probe(mut self) -> Result<(), FetchError> {
        self.refresh().await.map(|_| ())
    }

    /// Fetches for ever. Calls `loaded` when there are keys for the first time.
    pub async fn run(mut self, loaded: impl FnOnce()) {
        let issuer = Arc::clone(&self.issuer);
        let Some(demand) = issuer.demand() else {
            return;
        };
        let mut loaded = Some(loaded);
        let (mut failures, mut succeeded) = (0, Instant::now());
        loop {
            let fetching = demand.begin();
            let wait = match self.refresh().await {
                Ok(max_age) => {
                    (failures, succeeded) = (0, Instant::now());
                    if let Some(loaded) = loaded.take() {
                        loaded();
                    }
                    jittered(self.timing.next_refresh(max_age))
                }
                Err(error) => {
                    self.failed(&error, failures == 0, succeeded);
                    failures += 1;
                    jittered(retry(failures))
                }
            };
            drop(fetching);
            let mut until = Instant::now() + wait;
            if self.present.is_some() {
                until = until.min(succeeded + self.timing.max_age);
            }
            tokio::select! {
                () = sleep_until(until) => {}
                () = demand.asked() => {}
            }
        }
    }

    async fn refresh(&mut self) -> Result<Option<Duration>, FetchError> {
        let (body, max_age) = self.fetch().await?;
        if self.present.as_ref() != Some(&body) {
            let keys = self.parse(&body)?;
            self.metrics.replaced(keys.len());
            self.issuer.replace_keys(keys);
            self.present = Some(body);
        }
        self.metrics.refreshed(self.clock.now().secs());
        Ok(max_age)
    }

    async fn fetch(&self) -> Result<(Vec<u8>, Option<Duration>), FetchError> {
        let jwks = match &self.location {
            Location::Jwks(url) => url.clone(),
            Location::Discovery(url) => {
                let metadata = self.fetcher.get(url).await?;
                let iss = self.issuer.profile().issuer.as_deref();
                jwks_uri(&metadata.body, iss.unwrap_or_default()).map_err(FetchError::Invalid)?
            }
        };
        let fetched = self.fetcher.get(&jwks).await?;
        Ok((fetched.body, fetched.max_age))
    }

    fn parse(&self, body: &[u8]) -> Result<KeySet, FetchError> {
        let profile = self.issuer.profile();
        let (keys, skipped) = parse_set(body, &profile.algorithms).map_err(FetchError::Invalid)?;
        for why in skipped {
            tracing::warn!(issuer = &*profile.name, why, "a key is left out");
        }
        tracing::info!(issuer = &*profile.name, keys = keys.len(), "new keys");
        Ok(keys)
    }

    fn failed(&mut self, error: &FetchError, first: bool, succeeded: Instant) {
        let name = &*self.issuer.profile().name;
        self.metrics.failed(error.label());
        if self.present.is_some() && succeeded.elapsed() >= self.timing.max_age {
            tracing::error!(issuer = name, %error, "the keys are too old to be believed; its tokens cannot be verified");
            self.issuer.replace_keys(KeySet::default());
            self.metrics.replaced(0);
            self.present = None;
        } else if first {
            let kept = self.present.is_some();
            tracing::warn!(issuer = name, %error, kept, "cannot fetch the keys; trying again");
        } else {
            tracing::debug!(issuer = name, %error, "cannot fetch the keys; trying again");
        }
    }
}

/// The URL of the JWK set in a provider's metadata, which must be that of the issuer that we mean
/// (OpenID Connect Discovery 1.0 §4.3).
fn jwks_uri(metadata: &[u8], issuer: &str) -> Result<Url, String> {
    let metadata: Value =
        serde_json::from_slice(metadata).map_err(|_| "the provider's metadata is not JSON")?;
    if metadata.get("issuer").and_then(Value::as_str) != Some(issuer) {
        return Err("the provider's metadata is that of another `issuer`".to_owned());
    }
    let uri = metadata.get("jwks_uri").and_then(Value::as_str);
    let url = uri.and_then(|uri| Url::parse(uri).ok());
    url.ok_or_else(|| "the provider's metadata has no usable `jwks_uri`".to_owned())
}

impl Location {
    /// The metadata of an issuer (OpenID Connect Discovery 1.0 §4).
    pub fn discovery(issuer: &str) -> Option<Self> {
        let base = issuer.trim_end_matches('/');
        let url = Url::parse(&format!("{base}/.well-known/openid-configuration")).ok()?;
        Some(Self::Discovery(url))
    }

    /// Where the first request goes.
    pub fn url(&self) -> &Url {
        match self {
            Self::Jwks(url) | Self::Discovery(url) => url,
        }
    }

    /// What may stand in a log.
    pub fn origin(&self) -> String {
        origin(self.url())
    }
}

fn retry(failures: u32) -> Duration {
    let doubled = FIRST_RETRY.saturating_mul(1 << failures.saturating_sub(1).min(10));
    doubled.min(MAX_RETRY)
}

/// Up to a tenth less, so that replicas started together do not ask together for ever.
fn jittered(duration: Duration) -> Duration {
    let percent = RandomState::new().hash_one(0) % 11;
    duration.mul_f64(1.0 - 0.01 * f64::from(u8::try_from(percent).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_word_counts_within_bounds_and_ours_counts_more() {
        let timing = |refresh: Option<u64>| Timing {
            refresh: refresh.map(Duration::from_secs),
            cooldown: Duration::ZERO,
            patience: Duration::ZERO,
            max_age: Duration::ZERO,
        };
        for (ours, theirs, expected) in [
            (None, None, 300),
            (None, Some(0), 60),
            (None, Some(600), 600),
            (None, Some(1_000_000), 3600),
            (Some(5), Some(600), 5),
            (Some(7200), None, 7200),
        ] {
            let next = timing(ours).next_refresh(theirs.map(Duration::from_secs));
            assert_eq!(next, Duration::from_secs(expected), "{ours:?} {theirs:?}");
        }
    }

    #[test]
    fn retries_become_rarer_up_to_a_minute() {
        let seconds: Vec<_> = (1..9).map(|n| retry(n).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(retry(u32::MAX), MAX_RETRY);
    }

    #[test]
    fn jitter_takes_a_tenth_at_most() {
        for _ in 0..100 {
            let waited = jittered(Duration::from_secs(100));
            assert!((90..=100).contains(&waited.as_secs()), "{waited:?}");
        }
    }

    #[test]
    fn metadata_counts_only_for_its_own_issuer() {
        let issuer = "https://auth.example/realm";
        let metadata = |issuer: &str| {
            format!(r#"{{"issuer":"{issuer}","jwks_uri":"https://keys.example/jwks"}}"#)
        };
        let uri = jwks_uri(metadata(issuer).as_bytes(), issuer).unwrap();
        assert_eq!(uri.as_str(), "https://keys.example/jwks");
        for wrong in ["https://auth.example/realm/", "https://evil.example", ""] {
            assert!(jwks_uri(metadata(wrong).as_bytes(), issuer).is_err());
        }
        assert!(jwks_uri(b"<html>", issuer).is_err());
        assert!(jwks_uri(br#"{"issuer":"i"}"#, "i").is_err());
        assert!(jwks_uri(br#"{"issuer":"i","jwks_uri":"/jwks"}"#, "i").is_err());
    }

    #[test]
    fn metadata_is_looked_for_under_the_issuer() {
        for issuer in ["https://auth.example/realm", "https://auth.example/realm/"] {
            let location = Location::discovery(issuer).unwrap();
            let expected = "https://auth.example/realm/.well-known/openid-configuration";
            assert_eq!(location.url().as_str(), expected);
        }
    }
}
