//! The composition root: builds every module from the configuration, opens the listeners, and shuts down in
//! order.
//!
//! The only module that names listeners; concrete stores are the engine's. Only the command line imports it.

mod admin;
mod connection_limit;
mod guarded;
mod http;
mod life;
mod listeners;
mod services;
mod shutdown;
mod workers;

use std::fmt;
use std::sync::Arc;

use tokio::task::JoinSet;

use crate::clock::{Clock, SystemClock};
use crate::config::{Config, IssuerConfig, Problems};
use crate::engine::{self, Engine, Store, issuers, store};
use crate::explain::Explanation;
use crate::ext_authz::ExtAuthz;
use crate::jwt::{Verifier, install_crypto};
use crate::operations::{Operations, Readiness};
use crate::revocation::{Diagnosis, KeyRule, RevocationStore, StoreError};

use life::Life;
use listeners::Listeners;

/// Why the service did not start, or ended.
#[derive(Debug)]
pub enum StartError {
    /// The configuration is wrong, or something that it names (a key file, a store, a listener) cannot be
    /// used.
    Config(Problems),
    /// Any other error.
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

/// Reads everything that the configuration names; with `connect`, also opens the store and fetches keys. Does
/// not serve. Returns descriptions of what was opened and fetched.
pub async fn check(config: &Config, connect: bool) -> Result<Vec<String>, StartError> {
    install_crypto().map_err(|e| other(anyhow::Error::msg(e)))?;
    let mut problems = Problems::default();
    let issuers = issuers::load(config, &mut problems);
    store::check(config, &mut problems);
    admin::key(config, &mut problems);
    let mut found = Vec::new();
    if connect && problems.is_empty() {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let metrics = engine::metrics(config).map_err(other)?;
        let keys = issuers.probe(config, &clock, &metrics, &mut problems).await;
        found = store::try_out(config, clock, &metrics.feed, &mut problems).await;
        found.extend(keys);
    }
    if problems.is_empty() {
        Ok(found)
    } else {
        Err(problems.into())
    }
}

/// Makes a verifier for the configured issuers, to verify tokens outside of the service. With `fetch`, keys
/// are fetched, too; otherwise, only keys in files are available.
///
/// Also returns which keys could not be fetched. That is not an error, because the token may belong to
/// another issuer.
pub async fn verifier(config: &Config, fetch: bool) -> Result<(Verifier, Problems), StartError> {
    install_crypto().map_err(|e| other(anyhow::Error::msg(e)))?;
    let mut problems = Problems::default();
    let issuers = issuers::load(config, &mut problems);
    if !problems.is_empty() {
        return Err(problems.into());
    }
    let verifier = Verifier::new(issuers.all());
    if fetch {
        let (clock, metrics): (Arc<dyn Clock>, _) = (
            Arc::new(SystemClock),
            engine::metrics(config).map_err(other)?,
        );
        issuers.probe(config, &clock, &metrics, &mut problems).await;
    }
    Ok((verifier, problems))
}

/// Queries the configured store about an explained token, without keeping a view.
pub async fn look_up(config: Config, explanation: &mut Explanation) -> Result<(), StartError> {
    let mut problems = Problems::default();
    let metrics = engine::metrics(&config).map_err(other)?;
    let opened = store::open_to_ask(config, &metrics.feed, &mut problems).await;
    let Some(store) = opened else {
        explanation.unanswered(&problems.to_string());
        return Ok(());
    };
    let asked = tokio::time::timeout(store::PATIENCE, explanation.ask(&*store)).await;
    if asked.is_err() {
        explanation.unanswered(&StoreError::Timeout.to_string());
    }
    Ok(())
}

/// Diagnoses the configured store: which server was reached, why it could lose revocations, and what it
/// contains.
pub async fn diagnose(config: &Config) -> Result<Diagnosis, StartError> {
    let mut problems = Problems::default();
    let diagnosis = store::diagnose(config, &mut problems).await;
    if problems.is_empty() {
        Ok(diagnosis)
    } else {
        Err(problems.into())
    }
}

/// Returns why [`diagnose`] cannot examine the configured store, if so.
pub fn unopened(config: &Config) -> Option<String> {
    store::unopened(config)
}

/// Returns notes: not mistakes, but worth knowing.
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
    let shadowed = config.policies.unreachable_routes();
    let shadowed = shadowed.map(|(index, earlier)| {
        format!("routes.{index} can never match: routes.{earlier}, which comes first, matches all that it matches")
    });
    let asking = asking.map(note);
    let warnings = config.issuers.iter().filter_map(IssuerConfig::warning);
    asking
        .chain(shadowed)
        .chain(evaded)
        .chain(warnings)
        .collect()
}

/// Returns where the configuration is less strict than it could be.
pub fn relaxations(config: &Config) -> Vec<String> {
    let issuers = config.issuers.iter();
    let unchecked = config.policies.without_revocation().map(|name| {
        format!("the policy {name} has `check_revocation: false`: it lets revoked tokens pass")
    });
    issuers
        .filter_map(IssuerConfig::relaxations)
        .chain(unchecked)
        .collect()
}

/// Serves with the configured store until a signal ends the process.
pub async fn serve(config: Config) -> Result<(), StartError> {
    serve_from(config, None).await
}

/// Serves with a store of the caller's own until a signal ends the process: checks, the API, metrics and
/// probes, like the program itself.
///
/// `revocation.store` is ignored; the store must support everything else that the configuration demands of a
/// store. A store whose view follows a feed must only be passed in once the view has been complete: the
/// service is ready as soon as it runs.
pub async fn serve_with(config: Config, store: Arc<dyn RevocationStore>) -> Result<(), StartError> {
    serve_from(config, Some(store)).await
}

async fn serve_from(config: Config, own: Option<Store>) -> Result<(), StartError> {
    install_crypto().map_err(|e| other(anyhow::Error::msg(e)))?;
    shutdown::report_sighup();
    // Logged before anything is opened, because such a variable may be the reason for a failure.
    for warning in config.variable_warnings() {
        tracing::warn!("{warning}");
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mut problems = Problems::default();
    let admin = admin::key(&config, &mut problems);
    let metrics = Arc::new(engine::metrics(&config).map_err(other)?);
    let (stage, stages) = shutdown::stages();
    let readiness = Readiness::default();
    let operations = Operations::new(Arc::clone(&metrics), readiness.clone());
    let mut listeners = Listeners::bind(&config, &mut problems).await;
    let mut servers = match &mut listeners {
        Some(listeners) => listeners.serve_operations(operations.clone(), &stages),
        None => JoinSet::new(),
    };
    let engine = Engine::open(&config, own, &clock, &metrics, &mut problems).await;
    let (Some(mut engine), Some(listeners)) = (engine, listeners) else {
        return Err(problems.into());
    };
    operations.opened(Arc::clone(engine.store()));
    log_notes(&config);
    operations.caching({
        let authorizer = Arc::clone(engine.authorizer());
        move |metrics| {
            let size = authorizer.cached_tokens();
            metrics.token_cache(size.entries, size.bytes);
            metrics.log_lines_dropped(crate::logging::dropped_lines());
        }
    });
    let (answers, counters) = (config.answers.clone(), metrics.checks.clone());
    let check = ExtAuthz::new(Arc::clone(engine.authorizer()), answers, counters);
    let check = Arc::new(check);
    let api = services::api(&config, &engine, &clock, &metrics, admin);
    listeners.serve(check, api, &stages, &mut servers);
    let life = Life {
        stage,
        readiness,
        shutdown: config.server.shutdown,
    };
    let (keys, upkeep) = (&mut engine.keys_loaded, &mut engine.upkeep);
    life.until_the_end(keys, &mut servers, upkeep).await?;
    shutdown::drained(servers, config.server.shutdown.drain).await;
    engine.end().await;
    tracing::info!("ended");
    Ok(())
}

fn log_notes(config: &Config) {
    for note in notes(config) {
        tracing::warn!("{note}");
    }
    for warning in config.time_limit_warnings() {
        tracing::warn!("{warning}");
    }
    for relaxed in relaxations(config) {
        tracing::info!("{relaxed}");
    }
}
