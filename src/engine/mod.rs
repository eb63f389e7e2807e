//! The engine: everything that decides about requests, built from a configuration. It does not depend on a
//! front end: the gRPC service uses [`Engine::authorizer`], and any other front end can do the same.

pub(crate) mod issuers;
pub(crate) mod keys_loaded;
mod maintenance;
pub(crate) mod store;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};

use crate::authz::{Authorizer, Outcome};
use crate::clock::Clock;
use crate::config::{Config, Mode, Problems};
use crate::jwt::{CachingVerifier, Verifier};
use crate::metrics::{CheckLabels, Metrics, MetricsError};
use crate::recorder::{RecorderTask, TokenRecorder};
use crate::revocation::{CheckedTypes, Checker, CheckerSettings, RevocationStore, StoreError};

use keys_loaded::KeysLoaded;

/// A store of any kind.
pub type Store = Arc<dyn RevocationStore>;

/// The time limit for writing the remaining records of tokens when the engine ends.
const LAST_RECORDS: Duration = Duration::from_secs(2);

/// The authorizer and its components, and the tasks that keep them current. The tasks end with the engine.
pub struct Engine {
    authorizer: Arc<Authorizer>,
    verifier: Arc<Verifier>,
    store: Store,
    recording: Option<RecorderTask>,
    maintenance: AbortHandle,
    /// Resolves when every issuer has had keys: the engine is ready.
    pub(crate) keys_loaded: KeysLoaded,
    /// The tasks that keep the issuers' keys current. They never end by themselves.
    pub(crate) upkeep: JoinSet<()>,
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.maintenance.abort();
    }
}

impl Engine {
    /// Loads the keys and opens the store, unless the caller has a store of its `own`. Always does both, so
    /// that all `problems` are reported together. Returns `None` if there are any, including problems that
    /// the caller has found before.
    pub async fn open(
        config: &Config,
        own: Option<Store>,
        clock: &Arc<dyn Clock>,
        metrics: &Metrics,
        problems: &mut Problems,
    ) -> Option<Self> {
        let issuers = issuers::load(config, problems);
        let store = match own {
            Some(store) => {
                store::suffices(&store, config, problems).await;
                Some(store)
            }
            None => store::open(config, Arc::clone(clock), &metrics.feed, problems).await,
        }?;
        store::keeps_records(&store, config, problems);
        if !problems.is_empty() {
            return None;
        }
        if config.revocation.mode == Mode::AllowList && config.admin_key_file.is_none() {
            tracing::warn!(
                "an allow-list without `api.admin_key_file`: tokens can be registered in the store itself only"
            );
        }
        let (recorder, recording) = recorder(config, &store, clock, metrics).unzip();
        let verifier = Arc::new(Verifier::new(issuers.all()));
        let (upkeep, keys_loaded) = issuers.keep_current(clock, metrics);
        let maintenance = tokio::spawn(maintenance::run(Arc::clone(&store), Arc::clone(clock)));
        Some(Self {
            authorizer: Arc::new(authorizer(
                config, &store, &verifier, clock, metrics, recorder,
            )),
            verifier,
            store,
            recording,
            maintenance: maintenance.abort_handle(),
            keys_loaded,
            upkeep,
        })
    }

    /// Returns the authorizer, which decides about requests.
    pub fn authorizer(&self) -> &Arc<Authorizer> {
        &self.authorizer
    }

    /// Returns the verifier of tokens.
    pub fn verifier(&self) -> &Arc<Verifier> {
        &self.verifier
    }

    /// Returns the store of the revocations.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Writes the remaining records of tokens that were seen, and ends.
    pub async fn end(mut self) {
        if let Some(recording) = self.recording.take() {
            recording.finish(LAST_RECORDS).await;
        }
    }
}

/// Makes all metrics, with the labels of this configuration.
pub(crate) fn metrics(config: &Config) -> Result<Metrics, MetricsError> {
    let outcomes: Vec<_> = Outcome::all().map(|o| (o.decision(), o.reason())).collect();
    let labels = CheckLabels {
        outcomes: &outcomes,
        policies: &config.policies.names(),
    };
    Metrics::new(&labels, &StoreError::LABELS)
}

/// Returns the upper bound on the time until every replica has applied a change that the store has
/// acknowledged.
pub(crate) fn enforced_within(config: &Config, store: &Store) -> Duration {
    match store.view() {
        Some(view) if !view.is_always_fresh() => config.revocation.max_staleness,
        _ => Duration::ZERO,
    }
}

/// Starts to record the tokens that are seen, if that is configured.
fn recorder(
    config: &Config,
    store: &Store,
    clock: &Arc<dyn Clock>,
    metrics: &Metrics,
) -> Option<(TokenRecorder, RecorderTask)> {
    let revocation = &config.revocation;
    revocation.note_tokens.then(|| {
        let (store, clock) = (Arc::clone(store), Arc::clone(clock));
        TokenRecorder::start(store, revocation.types, clock, metrics.notes())
    })
}

fn authorizer(
    config: &Config,
    store: &Store,
    verifier: &Arc<Verifier>,
    clock: &Arc<dyn Clock>,
    metrics: &Metrics,
    recorder: Option<TokenRecorder>,
) -> Authorizer {
    let revocation = &config.revocation;
    let checker = (revocation.types != CheckedTypes::NONE).then(|| {
        let settings = CheckerSettings {
            types: revocation.types,
            deadline: revocation.timeout,
            max_staleness: revocation.max_staleness,
        };
        Checker::new(Arc::clone(store), settings, metrics.store.clone())
    });
    let rules = revocation.key_rules();
    let cache = config.verification.cache;
    let verifier = CachingVerifier::new(Arc::clone(verifier), cache, move |claims, token| {
        let keys = rules.keys_of(claims, token);
        if let Some(recorder) = &recorder {
            recorder.see(claims, &keys);
        }
        keys
    });
    Authorizer::new(
        config.policies.clone(),
        verifier,
        checker,
        Arc::clone(clock),
    )
    .with_token_sources(config.token_sources.clone())
    .with_claim_headers(config.upstream.headers.clone())
    .with_claim_metadata(config.upstream.metadata.clone())
}
