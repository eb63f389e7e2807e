//! The checker: all that the path of a check sees of revocation.
//!
//! [`Checker::check`] answers at once where the answer is in memory. Otherwise it says that the store must be asked,
//! and [`Checker::ask`] does so: one attempt, one more on a fresh connection if that broke, all within one deadline.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock::Timestamp;
use crate::jwt::TokenType;
use crate::metrics::StoreMetrics;

use super::breaker::Breaker;
use super::key::{KeyKind, TokenKeys};
use super::{RevocationStore, StoreError};

/// Which token types are checked (flask-jwt-extended's `JWT_BLACKLIST_TOKEN_CHECKS`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckedTypes {
    /// Access tokens.
    pub access: bool,
    /// Refresh tokens.
    pub refresh: bool,
}

impl CheckedTypes {
    /// Nothing is checked.
    pub const NONE: Self = Self {
        access: false,
        refresh: false,
    };

    fn includes(self, token_type: TokenType) -> bool {
        match token_type {
            TokenType::Access => self.access,
            TokenType::Refresh => self.refresh,
            // What is neither is checked wherever anything is.
            TokenType::Other => self.access || self.refresh,
        }
    }
}

/// What is known without asking the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// No revocation stands against the token, or its type is not checked.
    Clear,
    /// The token is revoked, by this kind of key.
    Revoked(KeyKind),
    /// Only the store can tell.
    Ask,
}

/// Looks up whether verified tokens are revoked.
pub struct Checker {
    store: Arc<dyn RevocationStore>,
    types: CheckedTypes,
    deadline: Duration,
    breaker: Breaker,
    metrics: StoreMetrics,
}

impl Checker {
    /// A checker over `store` that never waits longer than `deadline` for it.
    pub fn new(
        store: Arc<dyn RevocationStore>,
        types: CheckedTypes,
        deadline: Duration,
        metrics: StoreMetrics,
    ) -> Self {
        Self {
            store,
            types,
            deadline,
            breaker: Breaker::default(),
            metrics,
        }
    }

    /// Looks the token up in memory, where there is a copy.
    ///
    /// The keys can be made of verified claims only, and are made once a token, not once a check.
    pub fn check(&self, token_type: TokenType, keys: &TokenKeys, now: Timestamp) -> Lookup {
        if !self.types.includes(token_type) {
            return Lookup::Clear;
        }
        let Some(view) = self.store.view() else {
            return Lookup::Ask;
        };
        match keys.first_match(|_, hash| view.find(hash, now)) {
            Some(kind) => Lookup::Revoked(kind),
            None => Lookup::Clear,
        }
    }

    /// Asks the store. `Some` is the kind of key by which the token is revoked.
    pub async fn ask(&self, keys: &TokenKeys) -> Result<Option<KeyKind>, StoreError> {
        let Some(attempt) = self.breaker.attempt() else {
            self.metrics.failed(StoreError::BreakerOpen.label());
            return Err(StoreError::BreakerOpen);
        };
        let started = Instant::now();
        let answer = tokio::time::timeout(self.deadline, self.ask_twice(keys))
            .await
            .unwrap_or(Err(StoreError::Timeout));
        attempt.finish(answer.is_ok());
        match &answer {
            Ok(_) => self.metrics.answered(started.elapsed()),
            Err(error) => self.metrics.failed(error.label()),
        }
        answer
    }

    async fn ask_twice(&self, keys: &TokenKeys) -> Result<Option<KeyKind>, StoreError> {
        // A connection that died while idle is only noticed by the command that meets it.
        let cutoffs = match self.store.lookup(keys.keys()).await {
            Err(StoreError::Unavailable(_)) => self.store.lookup(keys.keys()).await?,
            other => other?,
        };
        if cutoffs.len() != keys.keys().len() {
            return Err(StoreError::Failed(
                "as many answers as questions are needed".to_owned(),
            ));
        }
        Ok(keys.first_match(|index, _| cutoffs[index]))
    }
}
