//! The checker: all that the path of a check sees of revocation.
//!
//! [`Checker::check`] answers at once where the answer is in memory. Otherwise it says that the store must be asked,
//! and [`Checker::ask`] does so: one attempt, one more on a fresh connection if that broke, all within one deadline.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock::{Moment, Timestamp};
use crate::jwt::TokenType;
use crate::metrics::StoreMetrics;

use super::breaker::Breaker;
use super::token_keys::{InView, RevokedBy, TokenKeys};
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

    /// Whether tokens of this type are checked.
    pub fn includes(self, token_type: TokenType) -> bool {
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
    /// The token is revoked, by this.
    Revoked(RevokedBy),
    /// Only the store can tell.
    Ask,
    /// Nobody can tell: it lacks something of which a key has to be made.
    Unidentified,
}

/// How the checker is to behave.
#[derive(Clone, Copy, Debug)]
pub struct CheckerSettings {
    /// Which token types are checked.
    pub types: CheckedTypes,
    /// How long a check waits for the store.
    pub deadline: Duration,
    /// How old the view may be before checks ask the store themselves.
    pub max_staleness: Duration,
}

/// Looks up whether verified tokens are revoked.
pub struct Checker {
    store: Arc<dyn RevocationStore>,
    settings: CheckerSettings,
    breaker: Breaker,
    metrics: StoreMetrics,
}

impl Checker {
    /// A checker over `store`.
    pub fn new(
        store: Arc<dyn RevocationStore>,
        settings: CheckerSettings,
        metrics: StoreMetrics,
    ) -> Self {
        Self {
            store,
            settings,
            breaker: Breaker::default(),
            metrics,
        }
    }

    /// Looks the token up in memory, where there is a copy.
    ///
    /// What the copy holds is believed however old it is: only the store's own word takes a revocation back. That
    /// it holds nothing, or that it holds an entry of an allow-list, is believed while it is younger than
    /// `max_staleness`. The keys can be made of verified claims
    /// only, and are made once a token, not once a check.
    pub fn check(&self, token_type: TokenType, keys: &TokenKeys, now: Timestamp) -> Lookup {
        if !self.settings.types.includes(token_type) {
            return Lookup::Clear;
        }
        if !keys.is_identified() {
            return Lookup::Unidentified;
        }
        let Some(view) = self.store.view() else {
            return Lookup::Ask;
        };
        // The age first, then the look: see `View::age`.
        let fresh = self.is_younger_than(self.settings.max_staleness);
        match keys.in_view(|hash| view.find(hash, now)) {
            InView::Revoked(by) => Lookup::Revoked(by),
            InView::Clear if fresh => Lookup::Clear,
            InView::Clear | InView::Open => Lookup::Ask,
        }
    }

    /// What the view says, however old it is: [`Lookup::Clear`] only where it holds all that the token needs.
    pub fn look(&self, keys: &TokenKeys, now: Timestamp) -> Lookup {
        let view = self.store.view();
        match view.map(|view| keys.in_view(|hash| view.find(hash, now))) {
            Some(InView::Revoked(by)) => Lookup::Revoked(by),
            Some(InView::Clear) => Lookup::Clear,
            Some(InView::Open) | None => Lookup::Ask,
        }
    }

    /// Whether there is a view that was complete at most this long ago.
    pub fn is_younger_than(&self, age: Duration) -> bool {
        let view = self.store.view();
        view.and_then(|view| view.age(Moment::now()))
            .is_some_and(|now| now <= age)
    }

    /// Asks the store. `Some` is by what the token is revoked.
    pub async fn ask(&self, keys: &TokenKeys) -> Result<Option<RevokedBy>, StoreError> {
        let Some(attempt) = self.breaker.attempt() else {
            self.metrics.failed(StoreError::BreakerOpen.label());
            return Err(StoreError::BreakerOpen);
        };
        let started = Instant::now();
        let answer = tokio::time::timeout(self.settings.deadline, self.ask_twice(keys))
            .await
            .unwrap_or(Err(StoreError::Timeout));
        // Whoever can choose a key must not be able to have the store left alone for everybody.
        attempt.finish(!answer.as_ref().is_err_and(StoreError::is_of_store));
        match &answer {
            Ok(_) => self.metrics.answered(started.elapsed()),
            Err(error) if error.is_of_store() => self.metrics.failed(error.label()),
            Err(error) => self.metrics.unreadable(error.label()),
        }
        answer
    }

    async fn ask_twice(&self, keys: &TokenKeys) -> Result<Option<RevokedBy>, StoreError> {
        // A connection that died while idle is only noticed by the command that meets it.
        match self.ask_once(keys).await {
            Err(StoreError::Unavailable(_)) => self.ask_once(keys).await,
            other => other,
        }
    }

    async fn ask_once(&self, keys: &TokenKeys) -> Result<Option<RevokedBy>, StoreError> {
        let foreign = async {
            match keys.foreign() {
                [] => Ok(Vec::new()),
                foreign => self.store.lookup_foreign(foreign).await,
            }
        };
        let registered = async {
            match (keys.registration(), self.store.registry()) {
                (None, _) => Ok(true),
                (Some(key), Some(registry)) => registry.is_registered(key).await,
                (Some(_), None) => Err(StoreError::Failed(
                    "this store registers no tokens".to_owned(),
                )),
            }
        };
        // At once: over one connection they are one round trip.
        let (cutoffs, foreign, registered) =
            tokio::try_join!(self.store.lookup(keys.keys()), foreign, registered)?;
        if cutoffs.len() != keys.keys().len() || foreign.len() != keys.foreign().len() {
            return Err(StoreError::Failed(
                "as many answers as questions are needed".to_owned(),
            ));
        }
        Ok(keys.in_store(&cutoffs, &foreign, registered))
    }
}
