//! Builds the authorizer and the API from the configuration.

use std::sync::Arc;

use crate::api::{AdminKey, Api};
use crate::authz::Authorizer;
use crate::clock::Clock;
use crate::config::{Config, Mode};
use crate::jwt::{CachingVerifier, Verifier};
use crate::metrics::Metrics;
use crate::revocation::{CheckedTypes, Checker, CheckerSettings, TokenKeys};

use super::Store;
use super::tokens::{self, Tokens};

/// The components that the services are built from.
pub(super) struct Services<'s> {
    pub config: &'s Config,
    pub store: &'s Store,
    pub verifier: &'s Arc<Verifier>,
    pub clock: &'s Arc<dyn Clock>,
    pub metrics: &'s Arc<Metrics>,
}

impl Services<'_> {
    /// Builds the authorizer; `tokens` is called for each new token.
    pub fn authorizer(&self, tokens: Tokens) -> Authorizer {
        let revocation = &self.config.revocation;
        let checker = (revocation.types != CheckedTypes::NONE).then(|| {
            let settings = CheckerSettings {
                types: revocation.types,
                deadline: revocation.timeout,
                max_staleness: revocation.max_staleness,
            };
            Checker::new(Arc::clone(self.store), settings, self.metrics.store.clone())
        });
        let lookups = revocation.lookups.clone();
        let verifier = CachingVerifier::new(
            Arc::clone(self.verifier),
            self.config.verification.cache,
            move |claims, token| {
                let keys = tokens.see(claims, TokenKeys::of(claims));
                lookups.add_to(keys, claims, token)
            },
        );
        let (policies, clock) = (self.config.policies.clone(), Arc::clone(self.clock));
        Authorizer::new(policies, verifier, checker, clock)
            .with_token_sources(self.config.token_sources.clone())
    }

    /// Builds the revocation API, for an administrator with this key.
    pub fn api(&self, admin: Option<AdminKey>) -> Api {
        Api::new(
            Arc::clone(self.verifier),
            Arc::clone(self.store),
            self.config.revocation.types,
            Arc::clone(self.clock),
            Arc::clone(self.metrics),
        )
        .with_admin(admin)
        .on_allow_list(self.config.revocation.mode == Mode::AllowList)
        .enforced_within(tokens::enforced_within(self.config, self.store))
    }
}
