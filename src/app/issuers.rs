//! Loads the issuers' keys, and keeps them current.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::config::{Config, IssuerConfig, Problems};
use crate::jwt::{Issuer, IssuerProfile, KeyDemand, KeyFile, TokenType};
use crate::keys::{FetchError, Fetcher, KeySource, Refresher, RemoteKeys, watch_file};
use crate::metrics::Metrics;

/// How often key files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The issuers, and what keeps their keys current.
#[derive(Default)]
pub(super) struct Issuers {
    issuers: Vec<Arc<Issuer>>,
    files: Vec<(Arc<Issuer>, KeyFile)>,
    remote: Vec<(Arc<Issuer>, RemoteKeys, Fetcher)>,
}

/// Loads every issuer from files; those whose keys cannot be used are reported. Fetches nothing yet.
pub(super) fn load(config: &Config, problems: &mut Problems) -> Issuers {
    let mut loaded = Issuers::default();
    for issuer in &config.issuers {
        let name = &*issuer.profile.name;
        let refresh = match refresh_keys(issuer) {
            Ok(refresh) => refresh,
            Err(why) => {
                let path = issuer.keys_path.replace(".keys", ".refresh_keys");
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
                problems.push(config.document.problem(&issuer.keys_path, why));
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

/// The issuer with its keys for refresh tokens, notes on keys that were left out, and where they are from.
type RefreshKeys = (Arc<Issuer>, Vec<String>, KeyFile);

/// Loads the keys for refresh tokens, if those have keys of their own.
fn refresh_keys(issuer: &IssuerConfig) -> Result<Option<RefreshKeys>, String> {
    let Some(KeySource::File(file)) = &issuer.refresh_keys else {
        return Ok(None);
    };
    let profile = IssuerProfile {
        type_of_keys: Some(TokenType::Refresh),
        ..issuer.profile.clone()
    };
    let (keys, skipped) = file.load(&profile.algorithms).map_err(|e| e.to_string())?;
    let issuer = Arc::new(Issuer::new(profile, keys));
    Ok(Some((issuer, skipped, file.clone())))
}

/// What metrics and logs call the issuer's keys.
fn label(issuer: &Issuer) -> String {
    let profile = issuer.profile();
    match profile.type_of_keys {
        Some(TokenType::Refresh) => format!("{}/refresh", profile.name),
        _ => profile.name.to_string(),
    }
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
            // Whoever has to know at once may always have it looked at. That costs no more than a signature, and is done once at
            // a time.
            let demand = KeyDemand::new(Duration::ZERO, Duration::ZERO);
            let issuer = whole(Issuer::new(profile, keys).watched(demand));
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
    /// The issuers.
    pub fn all(&self) -> Vec<Arc<Issuer>> {
        self.issuers.clone()
    }

    /// Fetches the keys of every issuer that has a URL once; what fails is reported.
    pub async fn probe(
        self,
        config: &Config,
        clock: &Arc<dyn Clock>,
        metrics: &Metrics,
        problems: &mut Problems,
    ) {
        for (issuer, keys, fetcher) in self.remote {
            let name = &issuer.profile().name;
            let place = config.issuers.iter().find(|i| i.profile.name == *name);
            let place = place.map_or("issuers", |i| &i.keys_path);
            let metrics = metrics.issuer_keys(name, &FetchError::LABELS);
            let refresher = Refresher::new(
                Arc::clone(&issuer),
                &keys,
                fetcher,
                Arc::clone(clock),
                metrics,
            );
            if let Err(error) = refresher.probe().await {
                problems.push(config.document.problem(place, error.to_string()));
            }
        }
    }

    /// Starts to keep the keys current. The receiver is closed when every issuer has had keys.
    pub fn keep_current(self, clock: &Arc<dyn Clock>, metrics: &Metrics) -> (JoinSet<()>, Loaded) {
        let mut tasks = JoinSet::new();
        let (waiting, loaded) = tokio::sync::mpsc::channel(1);
        for (issuer, file) in self.files {
            let metrics = metrics.issuer_keys(&label(&issuer), &["invalid"]);
            metrics.replaced(issuer.key_count());
            tasks.spawn(watch_file(
                issuer,
                file,
                LOOK_EVERY,
                Arc::clone(clock),
                metrics,
            ));
        }
        for (issuer, keys, fetcher) in self.remote {
            let (name, origin) = (&*issuer.profile().name, keys.location.origin());
            tracing::info!(issuer = name, origin, "fetching keys");
            let metrics = metrics.issuer_keys(name, &FetchError::LABELS);
            let clock = Arc::clone(clock);
            let waiting = waiting.clone();
            let refresher = Refresher::new(issuer, &keys, fetcher, clock, metrics);
            tasks.spawn(refresher.run(|| drop(waiting)));
        }
        (tasks, Loaded(loaded))
    }
}

/// Tells when every issuer has had keys.
pub(super) struct Loaded(tokio::sync::mpsc::Receiver<()>);

impl Loaded {
    /// Resolves then.
    pub async fn wait(mut self) {
        // Nothing is ever sent: it ends when the last sender is dropped.
        self.0.recv().await;
    }
}
