//! Builds the API from the configuration.

use std::sync::Arc;

use crate::api::{AdminKey, Api};
use crate::clock::Clock;
use crate::config::{Config, Mode};
use crate::engine::{self, Engine};
use crate::metrics::Metrics;

/// Builds the revocation API, for an administrator with this key.
pub(super) fn api(
    config: &Config,
    engine: &Engine,
    clock: &Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
    admin: Option<AdminKey>,
) -> Api {
    Api::new(
        Arc::clone(engine.verifier()),
        Arc::clone(engine.store()),
        config.revocation.types,
        Arc::clone(clock),
        Arc::clone(metrics),
    )
    .with_admin(admin)
    .on_allow_list(config.revocation.mode == Mode::AllowList)
    .enforced_within(engine::enforced_within(config, engine.store()))
}
