//! Loads the issuers' keys, and keeps them current.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::config::{Config, IssuerConfig, Problems};
use crate::jwt::{Issuer, IssuerProfile, KeyDemand, KeyFile, TokenType};
use crate::keys::{FetchError, Fetcher, KeySource, Refresher, RemoteKeys, watch_file};
use crate::metrics::Metrics;

use super::keys_loaded::KeysLoaded;

/// The interval at which key files are polled.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The issuers, and what keeps their keys current.
#[derive(Default)]
pub(crate) struct Issuers {
    issuers: Vec<Arc<Issuer>>,
    files: Vec<(Arc<Issuer>, KeyFile)>,
    remote: Vec<(Arc<Issuer>, RemoteKeys, Fetcher)>,
}

/// Loads every issuer's key files, and reports keys that cannot be used. Fetches nothing yet.
pub(crate) fn load(config: &Config, problems: &mut Problems) -> Issuers {
    let mut loaded = Issuers::default();
    for issuer in &config.issuers {
        let name = &*issuer.profile.name;
        let refresh = match refresh_keys(issuer) {
            Ok(refresh) => refresh,
            Err(why) => {
                let path = format!("{}.refresh_keys", issuer.path);
                problems.push(config.document.problem(&path, why));
                None
            }
        };
        match load_keys(issuer.profile.clone(), &issuer.keys, refresh.as_ref()) {
            Ok((issuer, mut skipped, upkeep)) => {
                if let Some((refresh, left_out, file)) = refresh {
                    skipped.extend(left_out);
                    loaded.files.push((refresh, file));
                }
                for why in skipped {
                    tracing::warn!(issuer = name, why, "a key is left out");
                }
                loaded.issuers.push(Arc::clone(&issuer));
                match upkeep {
                    Upkeep::File(file) => loaded.files.push((issuer, file)),
                    Upkeep::None => {}
                    Upkeep::Remote(remote) => {
                        let (keys, fetcher) = *remote;
                        loaded.remote.push((issuer, keys, fetcher));
                    }
                }
            }
            Err(why) => {
                problems.push(
                    config
                        .document
                        .problem(&format!("{}.keys", issuer.path), why),
                );
            }
        }
    }
    loaded
}

enum Upkeep {
    None,
    File(KeyFile),
    Remote(Box<(RemoteKeys, Fetcher)>),
}

/// The issuer with the keys of its refresh tokens, notes on keys that were left out, and the file.
type RefreshKeys = (Arc<Issuer>, Vec<String>, KeyFile);

/// Loads the keys of the refresh tokens, if these have keys of their own.
fn refresh_keys(issuer: &IssuerConfig) -> Result<Option<RefreshKeys>, String> {
    let Some(KeySource::File(file)) = &issuer.refresh_keys else {
        return Ok(None);
    };
    let profile = IssuerProfile {
        type_of_keys: Some(TokenType::Refresh),
        ..issuer.profile.clone()
    };
    let (keys, skipped) = file.load(&profile.algorithms).map_err(|e| e.to_string())?;
    let issuer = Arc::new(Issuer::new(profile, keys).watched(at_once()));
    Ok(Some((issuer, skipped, file.clone())))
}

/// A demand without rate limit, for callers that need the current content of a key file at once. Reading the
/// file costs no more than a signature, and there is only one read at a time.
fn at_once() -> KeyDemand {
    KeyDemand::new(Duration::ZERO, Duration::ZERO)
}

/// Returns the name of the issuer's keys in metrics and logs.
fn label(issuer: &Issuer) -> String {
    let profile = issuer.profile();
    match profile.type_of_keys {
        Some(TokenType::Refresh) => format!("{}/refresh", profile.name),
        _ => profile.name.to_string(),
    }
}

/// Describes how many keys an issuer has, and where they come from.
fn keys_of(issuer: &Issuer, config: &Config) -> Option<String> {
    let (name, of_keys) = (&issuer.profile().name, issuer.profile().type_of_keys);
    let configured = config.issuers.iter().find(|i| i.profile.name == *name)?;
    let (source, whose) = match of_keys {
        Some(TokenType::Refresh) => (configured.refresh_keys.as_ref()?, " for refresh tokens"),
        _ => (&configured.keys, ""),
    };
    let from = match source {
        KeySource::File(file) => file.path().display().to_string(),
        KeySource::Remote(keys) => keys.location.named(),
        KeySource::Proxy(_) => {
            return Some(format!("issuer {name}: Envoy verifies the signatures"));
        }
    };
    let count = match issuer.key_count() {
        1 => "1 key".to_owned(),
        count => format!("{count} keys"),
    };
    Some(format!("issuer {name}: {count}{whose} from {from}"))
}

fn load_keys(
    profile: IssuerProfile,
    source: &KeySource,
    refresh: Option<&RefreshKeys>,
) -> Result<(Arc<Issuer>, Vec<String>, Upkeep), String> {
    let whole = |issuer: Issuer| match refresh {
        Some((refresh, ..)) => Arc::new(issuer.with_refresh_keys(Arc::clone(refresh))),
        None => Arc::new(issuer),
    };
    match source {
        KeySource::File(file) => {
            let (keys, skipped) = file.load(&profile.algorithms).map_err(|e| e.to_string())?;
            let issuer = whole(Issuer::new(profile, keys).watched(at_once()));
            Ok((issuer, skipped, Upkeep::File(file.clone())))
        }
        KeySource::Proxy(key) => {
            tracing::warn!(
                issuer = &*profile.name,
                "signatures of this issuer are not verified here: every route to this service must pass \
                 Envoy's jwt_authn first, and nothing else may write its metadata"
            );
            let issuer = Arc::new(Issuer::proxied(profile, key.clone()));
            Ok((issuer, Vec::new(), Upkeep::None))
        }
        KeySource::Remote(keys) => {
            let upkeep = Upkeep::Remote(Box::new((keys.clone(), keys.fetcher()?)));
            let issuer = whole(Issuer::fetched(profile, keys.timing.demand()));
            Ok((issuer, Vec::new(), upkeep))
        }
    }
}

impl Issuers {
    /// Returns the issuers.
    pub fn all(&self) -> Vec<Arc<Issuer>> {
        self.issuers.clone()
    }

    /// Fetches the keys of every issuer with a URL once, and reports failures. Returns how many keys every
    /// issuer has, and where they come from.
    pub async fn probe(
        self,
        config: &Config,
        clock: &Arc<dyn Clock>,
        metrics: &Metrics,
        problems: &mut Problems,
    ) -> Vec<String> {
        for (issuer, keys, fetcher) in self.remote {
            let name = &issuer.profile().name;
            let place = config.issuers.iter().find(|i| i.profile.name == *name);
            let place = place.map_or("issuers".to_owned(), |i| format!("{}.keys", i.path));
            let metrics = metrics.issuer_keys(name, &FetchError::LABELS);
            let refresher = Refresher::new(
                Arc::clone(&issuer),
                &keys,
                fetcher,
                Arc::clone(clock),
                metrics,
            );
            if let Err(error) = refresher.probe().await {
                problems.push(config.document.problem(&place, error.to_string()));
            }
        }
        // The files contain the keys of these issuers, or of their refresh tokens.
        let of_files = self.files.iter().map(|(issuer, _)| issuer);
        let others = of_files.filter(|i| i.profile().type_of_keys == Some(TokenType::Refresh));
        let issuers = self.issuers.iter().chain(others);
        issuers.filter_map(|i| keys_of(i, config)).collect()
    }

    /// Starts tasks that keep the keys current and never end by themselves. Returns a handle that reports
    /// when every issuer has had keys.
    pub fn keep_current(
        self,
        clock: &Arc<dyn Clock>,
        metrics: &Metrics,
    ) -> (JoinSet<()>, KeysLoaded) {
        let mut tasks = JoinSet::new();
        let (loaded, all_loaded) = KeysLoaded::of(self.remote.len());
        for (issuer, file) in self.files {
            let name = label(&issuer);
            let metrics = metrics.issuer_keys(&name, &["invalid"]);
            metrics.replaced(issuer.key_count());
            tasks.spawn(watch_file(
                name,
                issuer,
                file,
                LOOK_EVERY,
                Arc::clone(clock),
                metrics,
            ));
        }
        for (issuer, keys, fetcher) in self.remote {
            let (name, url) = (&*issuer.profile().name, keys.location.named());
            tracing::info!(issuer = name, url, "fetching keys");
            let metrics = metrics.issuer_keys(name, &FetchError::LABELS);
            let clock = Arc::clone(clock);
            let loaded = loaded.clone();
            let refresher = Refresher::new(issuer, &keys, fetcher, clock, metrics);
            // There is room for each: sending fails only if nobody is waiting any more.
            tasks.spawn(refresher.run(move || {
                let _ = loaded.try_send(());
            }));
        }
        (tasks, all_loaded)
    }
}
