//! The composition root: builds every room from the configuration, opens the listeners, and ends in order.
//!
//! The only room that names concrete stores and listeners. Nothing imports it but the command line.

mod admin;
mod connection_limit;
mod guarded;
mod http;
mod issuers;
mod listeners;
mod maintenance;
mod shutdown;
mod store;
mod tokens;
mod workers;

use std::fmt;
use std::sync::Arc;

use tokio::task::JoinSet;

use crate::api::Api;
use crate::authz::{Authorizer, Outcome};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, IssuerConfig, Mode, Problems};
use crate::ext_authz::ExtAuthz;
use crate::jwt::{CachingVerifier, Verifier, install_crypto};
use crate::metrics::{CheckLabels, Metrics};
use crate::operations::{Operations, Readiness};
use crate::revocation::{
    CheckedTypes, Checker, CheckerSettings, Diagnosis, KeyRule, RevocationStore, StoreError,
    TokenKeys,
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

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(problems) => problems.fmt(f),
            Self::Other(error) => write!(f, "{error:#}"),
        }
    }
}

impl std::error::Error for StartError {}

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
    let issuers = issuers::load(config, &mut problems);
    store::check(config, &mut problems);
    admin::key(config, &mut problems);
    if connect && problems.is_empty() {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let metrics = metrics(config).map_err(other)?;
        issuers.probe(config, &clock, &metrics, &mut problems).await;
        store::open(config, clock, &metrics.feed, &mut problems).await;
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems.into())
    }
}

/// The issuers of a configuration, to verify tokens with outside of the service; with `fetch` keys are fetched too,
/// otherwise those that are not in files are not there.
pub async fn verifier(config: &Config, fetch: bool) -> Result<Verifier, StartError> {
    install_crypto().map_err(|e| other(anyhow::Error::msg(e)))?;
    let mut problems = Problems::default();
    let issuers = issuers::load(config, &mut problems);
    let verifier = Verifier::new(issuers.all());
    if fetch && problems.is_empty() {
        let (clock, metrics): (Arc<dyn Clock>, _) =
            (Arc::new(SystemClock), metrics(config).map_err(other)?);
        issuers.probe(config, &clock, &metrics, &mut problems).await;
    }
    if problems.is_empty() {
        Ok(verifier)
    } else {
        Err(problems.into())
    }
}

/// Tells why the configured store could lose revocations, and what it holds.
pub async fn diagnose(config: &Config) -> Result<Diagnosis, StartError> {
    let mut problems = Problems::default();
    let diagnosis = store::diagnose(config, &mut problems).await;
    if problems.is_empty() {
        Ok(diagnosis)
    } else {
        Err(problems.into())
    }
}

/// What is no mistake, and yet worth knowing.
pub fn notes(config: &Config) -> Vec<String> {
    let rules = config.revocation.lookups.rules();
    let asking = rules.filter(|rule| config.revocation.view && !rule.fits_in_view());
    let note = |rule: &KeyRule| {
        format!(
            "the keys {:?} of revocation.lookups cannot be kept in the view: Redis is asked on every check of a token \
             that has one",
            rule.key.as_str()
        )
    };
    let evaded = config.policies.evaded_by_case().map(|(index, laxer)| {
        format!(
            "routes.{index}: paths are compared with case: in another case, this path falls under the policy `{laxer}`, which \
             demands less. Where the application's router ignores case, let `default` demand a token, and list what needs none"
        )
    });
    let asking = asking.map(note);
    let warnings = config.issuers.iter().filter_map(IssuerConfig::warning);
    asking.chain(evaded).chain(warnings).collect()
}

/// In what the configuration is less strict than it could be.
pub fn relaxations(config: &Config) -> Vec<String> {
    let issuers = config.issuers.iter();
    issuers.filter_map(IssuerConfig::relaxations).collect()
}

/// Serves with the configured store until a signal says to end.
pub async fn serve(config: Config) -> Result<(), StartError> {
    serve_from(config, None).await
}

/// Serves with a store of the caller's own until a signal says to end: checks, the API, metrics and probes, as the
/// program itself does.
///
/// What `revocation.store` says is not looked at; what else the configuration wants of a store, this one must be able to
/// do. A store whose view follows a feed is to be passed in when the view has been complete once: the service is ready
/// as soon as it runs.
pub async fn serve_with(config: Config, store: Arc<dyn RevocationStore>) -> Result<(), StartError> {
    serve_from(config, Some(store)).await
}

async fn serve_from(config: Config, own: Option<Store>) -> Result<(), StartError> {
    install_crypto().map_err(|e| other(anyhow::Error::msg(e)))?;
    shutdown::report_sighup();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mut problems = Problems::default();
    let issuers = issuers::load(&config, &mut problems);
    let admin = admin::key(&config, &mut problems);
    let metrics = Arc::new(metrics(&config).map_err(other)?);
    let (stage, mut stages) = shutdown::stages();
    let readiness = Readiness::default();
    let operations = Operations::new(Arc::clone(&metrics), readiness.clone());
    let mut listeners = Listeners::bind(&config, &mut problems).await;
    let mut servers = match &mut listeners {
        Some(listeners) => listeners.serve_operations(operations.clone(), &stages),
        None => JoinSet::new(),
    };
    let store = match own {
        Some(store) => {
            store::suffices(&store, &config, &mut problems).await;
            Some(store)
        }
        None => store::open(&config, Arc::clone(&clock), &metrics.feed, &mut problems).await,
    };
    let (Some(store), Some(listeners), true) = (store, listeners, problems.is_empty()) else {
        return Err(problems.into());
    };
    operations.opened(Arc::clone(&store));
    let (tokens, noting) = tokens::start(&config, &store, &clock, &metrics, &mut problems);
    if !problems.is_empty() {
        return Err(problems.into());
    }
    for note in notes(&config) {
        tracing::warn!("{note}");
    }
    for warning in config.time_limit_warnings() {
        tracing::warn!("{warning}");
    }
    for relaxed in relaxations(&config) {
        tracing::info!("{relaxed}");
    }

    let verifier = Arc::new(Verifier::new(issuers.all()));
    let (_upkeep, keys_loaded) = issuers.keep_current(&clock, &metrics);
    let checker = (config.revocation.types != CheckedTypes::NONE).then(|| {
        let settings = CheckerSettings {
            types: config.revocation.types,
            deadline: config.revocation.timeout,
            max_staleness: config.revocation.max_staleness,
        };
        Checker::new(Arc::clone(&store), settings, metrics.store.clone())
    });
    let lookups = config.revocation.lookups.clone();
    let authorizer = Authorizer::new(
        config.policies.clone(),
        CachingVerifier::new(
            Arc::clone(&verifier),
            config.verification.cache,
            move |claims, token| {
                let keys = tokens.see(claims, TokenKeys::of(claims));
                lookups.add_to(keys, claims, token)
            },
        ),
        checker,
        Arc::clone(&clock),
    )
    .with_token_sources(config.token_sources.clone());
    let authorizer = Arc::new(authorizer);
    operations.caching({
        let authorizer = Arc::clone(&authorizer);
        move |metrics| {
            let size = authorizer.cached_tokens();
            metrics.token_cache(size.entries, size.bytes);
        }
    });
    let check = ExtAuthz::new(authorizer, config.answers.clone(), metrics.checks.clone());
    let api = Api::new(
        verifier,
        Arc::clone(&store),
        config.revocation.types,
        Arc::clone(&clock),
        metrics,
    )
    .with_admin(admin)
    .on_allow_list(config.revocation.mode == Mode::AllowList)
    .enforced_within(tokens::enforced_within(&config, &store));

    let maintenance = tokio::spawn(maintenance::run(store, clock));
    listeners.serve(check, api, &stages, &mut servers);
    let ready = {
        let (readiness, stage) = (readiness.clone(), stage.clone());
        async move {
            keys_loaded.wait().await;
            readiness.set(true);
            stage.send_replace(Stage::Running);
            tracing::info!("ready");
            std::future::pending::<()>().await;
        }
    };

    tokio::select! {
        // Dropped at the signal, so that nothing gets ready after it.
        () = ready => {}
        () = shutdown::signalled(stage, config.server.shutdown, readiness) => {}
        ended = servers.join_next() => {
            // A server ends by itself only when its listener is broken beyond repair.
            let reason = ended.map_or_else(|| "no server".to_owned(), |e| format!("{e:?}"));
            return Err(other(anyhow::anyhow!("a server ended unexpectedly: {reason}")));
        }
    }
    shutdown::drained(servers, config.server.shutdown.drain).await;
    noting.finish().await;
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
