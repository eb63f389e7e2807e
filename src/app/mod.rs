//! The composition root: builds every room from the configuration, opens the listeners, and ends in order.
//!
//! The only room that names concrete stores and listeners. Nothing imports it but the command line.

mod issuers;
mod listeners;
mod maintenance;
mod shutdown;
mod store;
mod workers;

use std::sync::Arc;

use crate::api::Api;
use crate::authz::{Authorizer, Outcome};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, Problems};
use crate::ext_authz::ExtAuthz;
use crate::jwt::{CachingVerifier, Verifier, install_crypto};
use crate::metrics::{CheckLabels, Metrics};
use crate::operations::{Operations, Readiness};
use crate::revocation::{
    CheckedTypes, Checker, CheckerSettings, RevocationStore, StoreError, TokenKeys,
};

use listeners::Listeners;
use shutdown::Stage;

/// Why the service did not start, or ended.
#[derive(Debug)]
pub enum StartError {
    /// The configuration is wrong: a key file, a store, a listener.
    Config(Problems),
    /// Something else.
    Other(anyhow::Error),
}

impl From<Problems> for StartError {
    fn from(problems: Problems) -> Self {
        Self::Config(problems)
    }
}

fn other(error: impl Into<anyhow::Error>) -> StartError {
    StartError::Other(error.into())
}

/// Reads everything that the configuration names, and with `connect` also opens the store, without serving.
pub async fn check(config: &Config, connect: bool) -> Result<(), StartError> {
    install_crypto().map_err(|e| other(anyhow::Error::msg(e)))?;
    let mut problems = Problems::default();
    issuers::load(config, &mut problems);
    store::check(config, &mut problems);
    if connect && problems.is_empty() {
        let metrics = metrics(config).map_err(other)?;
        store::open(config, Arc::new(SystemClock), &metrics.feed, &mut problems).await;
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems.into())
    }
}

/// Tells why the configured store could lose revocations; nothing where all is well.
pub async fn diagnose(config: &Config) -> Result<Vec<String>, StartError> {
    let mut problems = Problems::default();
    let warnings = store::diagnose(config, &mut problems).await;
    if problems.is_empty() {
        Ok(warnings)
    } else {
        Err(problems.into())
    }
}

/// Serves until a signal says to end.
pub async fn serve(config: Config) -> Result<(), StartError> {
    install_crypto().map_err(|e| other(anyhow::Error::msg(e)))?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mut problems = Problems::default();
    let issuers = issuers::load(&config, &mut problems);
    let metrics = Arc::new(metrics(&config).map_err(other)?);
    let store = store::open(&config, Arc::clone(&clock), &metrics.feed, &mut problems).await;
    let listeners = Listeners::bind(&config, &mut problems).await;
    let (Some(store), Some(listeners), true) = (store, listeners, problems.is_empty()) else {
        return Err(problems.into());
    };

    for issuer in &issuers {
        metrics.issuer_keys(&issuer.profile().name, issuer.key_count());
    }
    let verifier = Arc::new(Verifier::new(issuers));
    let checker = (config.revocation.types != CheckedTypes::NONE).then(|| {
        let settings = CheckerSettings {
            types: config.revocation.types,
            deadline: config.revocation.timeout,
            max_staleness: config.revocation.max_staleness,
        };
        Checker::new(Arc::clone(&store), settings, metrics.store.clone())
    });
    let authorizer = Authorizer::new(
        config.policies.clone(),
        CachingVerifier::new(
            Arc::clone(&verifier),
            config.verification.cache_entries,
            TokenKeys::of,
        ),
        checker,
        Arc::clone(&clock),
    );
    let check = ExtAuthz::new(
        Arc::new(authorizer),
        config.answers.clone(),
        metrics.checks.clone(),
    );
    let readiness = Readiness::default();
    let operations = Operations::new(Arc::clone(&metrics), readiness.clone(), Arc::clone(&store));
    let api = Api::new(
        verifier,
        Arc::clone(&store),
        config.revocation.types,
        Arc::clone(&clock),
        metrics,
    );

    let (stage, mut stages) = shutdown::stages();
    let maintenance = tokio::spawn(maintenance::run(store, clock));
    let mut servers = listeners.serve(check, operations, api, &stages);
    readiness.set(true);
    tracing::info!("ready");

    tokio::select! {
        () = shutdown::signalled(stage, config.server.shutdown, readiness) => {}
        ended = servers.join_next() => {
            // A server ends by itself only when its listener is broken beyond repair.
            let reason = ended.map_or_else(|| "no server".to_owned(), |e| format!("{e:?}"));
            return Err(other(anyhow::anyhow!("a server ended unexpectedly: {reason}")));
        }
    }
    shutdown::drained(servers, config.server.shutdown.drain).await;
    maintenance.abort();
    stages
        .wait_for(|s| *s == Stage::Ending)
        .await
        .map_err(other)?;
    tracing::info!("ended");
    Ok(())
}

fn metrics(config: &Config) -> Result<Metrics, crate::metrics::MetricsError> {
    let outcomes: Vec<_> = Outcome::all().map(|o| (o.decision(), o.reason())).collect();
    let labels = CheckLabels {
        outcomes: &outcomes,
        policies: &config.policies.names(),
    };
    Metrics::new(&labels, &StoreError::LABELS)
}

/// The store, whichever it is.
type Store = Arc<dyn RevocationStore>;
