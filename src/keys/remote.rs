//! Keys by URL: fetched at start, again before they grow old, and when a token names a key that is missing.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep_until};
use url::{Host, Url};

use crate::clock::{Backoff, Clock, jittered};
use crate::jwt::{Issuer, KeyDemand, KeySet, parse_set};
use crate::metrics::KeyMetrics;

use super::fetch::{FetchError, Fetched, Fetcher, named};

/// The configuration of keys that are fetched.
#[derive(Clone, Debug)]
pub struct RemoteKeys {
    /// The URL to fetch.
    pub location: Location,
    /// When to fetch, and how long keys are valid.
    pub timing: Timing,
    /// The timeout of one fetch.
    pub timeout: Duration,
    /// Whether plain HTTP may be used with other machines.
    pub allow_http: bool,
    /// Certificate authorities to trust instead of the system's.
    pub ca_file: Option<std::path::PathBuf>,
    /// Hosts that a redirect may lead to, in addition to the requested one.
    pub redirect_hosts: Vec<Host>,
}

/// The URL of the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// The JWK set itself.
    Jwks(Url),
    /// The provider's metadata (OpenID Connect Discovery 1.0 §4), which names the JWK set.
    Discovery(Url),
}

/// When keys are fetched, and how long they are valid.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// The interval between fetches, whatever `max-age` the server returns.
    pub refresh: Option<Duration>,
    /// The minimum time between fetches that unknown keys cause.
    pub cooldown: Duration,
    /// How long a check waits for such a fetch.
    pub patience: Duration,
    /// How long keys are trusted after the last successful fetch.
    pub max_age: Duration,
}

/// The interval between fetches if the server does not specify one.
const DEFAULT_REFRESH: Duration = Duration::from_secs(300);
/// The interval that the server specifies is clamped to these limits.
const MIN_REFRESH: Duration = Duration::from_secs(60);
const MAX_REFRESH: Duration = Duration::from_secs(3600);
/// The backoff after failures: the first pause, doubled each time up to the longest.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const MAX_RETRY: Duration = Duration::from_secs(60);
/// By how many percent at most each wait is shortened at random.
const JITTER: u32 = 10;

impl RemoteKeys {
    /// Makes the fetcher. The error says why no fetch can ever work.
    pub fn fetcher(&self) -> Result<Fetcher, String> {
        let fetcher = Fetcher::new(self.timeout, self.allow_http, self.ca_file.clone())?;
        Ok(fetcher.with_redirect_hosts(self.redirect_hosts.clone()))
    }
}

impl Timing {
    /// Makes the demand that goes with this timing.
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
    /// The document that the current keys were read from: if it is the same again, nothing changes, and
    /// verified tokens remain verified.
    present: Option<Vec<u8>>,
}

impl Refresher {
    /// Makes a refresher for `issuer`.
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

    /// Fetches once, to find out whether fetching works.
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
        let mut backoff = Backoff::new(FIRST_RETRY, MAX_RETRY);
        let (mut has_failed, mut succeeded) = (false, Instant::now());
        loop {
            let fetching = demand.begin();
            let wait = match self.refresh().await {
                Ok(max_age) => {
                    backoff.reset();
                    (has_failed, succeeded) = (false, Instant::now());
                    if let Some(loaded) = loaded.take() {
                        loaded();
                    }
                    jittered(self.timing.next_refresh(max_age), JITTER)
                }
                Err(error) => {
                    self.failed(&error, !has_failed, succeeded);
                    has_failed = true;
                    jittered(backoff.pause(), JITTER)
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
        let fetched = self.fetch().await?;
        if self.present.as_ref() != Some(&fetched.body) {
            let keys = self.parse(&fetched)?;
            self.metrics.replaced(keys.len());
            self.issuer.replace_keys(keys);
            self.present = Some(fetched.body);
        }
        self.metrics.refreshed(self.clock.now().secs());
        Ok(fetched.max_age)
    }

    async fn fetch(&self) -> Result<Fetched, FetchError> {
        let jwks = match &self.location {
            Location::Jwks(url) => url.clone(),
            Location::Discovery(url) => {
                let metadata = self.fetcher.get(url).await?;
                let iss = self.issuer.profile().issuer.as_deref();
                let uri = jwks_uri(&metadata.body, iss.unwrap_or_default());
                uri.map_err(|why| metadata.invalid(why))?
            }
        };
        self.fetcher.get(&jwks).await
    }

    fn parse(&self, fetched: &Fetched) -> Result<KeySet, FetchError> {
        let profile = self.issuer.profile();
        let parsed = match is_web_page(&fetched.body) {
            true => Err(WEB_PAGE.to_owned()),
            false => parse_set(&fetched.body, &profile.algorithms),
        };
        let (keys, skipped) = parsed.map_err(|why| fetched.invalid(why))?;
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
            tracing::error!(issuer = name, %error, "the keys are stale; tokens of this issuer cannot be verified");
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

/// The message for HTML instead of JSON: a login page, or a slightly wrong URL.
const WEB_PAGE: &str = "not JSON (does the URL point to a web page?)";

fn is_web_page(body: &[u8]) -> bool {
    body.trim_ascii_start().first() == Some(&b'<')
}

/// Returns the URL of the JWK set in a provider's metadata, which must be that of the configured issuer
/// (OpenID Connect Discovery 1.0 §4.3).
fn jwks_uri(metadata: &[u8], issuer: &str) -> Result<Url, String> {
    if is_web_page(metadata) {
        return Err(WEB_PAGE.to_owned());
    }
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
    /// Returns the URL of the metadata of an issuer (OpenID Connect Discovery 1.0 §4).
    pub fn discovery(issuer: &str) -> Option<Self> {
        let base = issuer.trim_end_matches('/');
        let url = Url::parse(&format!("{base}/.well-known/openid-configuration")).ok()?;
        Some(Self::Discovery(url))
    }

    /// Returns the URL of the first request.
    pub fn url(&self) -> &Url {
        match self {
            Self::Jwks(url) | Self::Discovery(url) => url,
        }
    }

    /// Returns the URL as it may be logged.
    pub fn named(&self) -> String {
        named(self.url())
    }
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
