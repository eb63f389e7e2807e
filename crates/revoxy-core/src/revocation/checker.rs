//! The checker: the only part of this module that the path of a check uses.
//!
//! [`Checker::check`] answers at once if the answer is in memory. Otherwise it returns that the store must be
//! queried, and [`Checker::ask`] does so: one attempt, and a second one on a fresh connection if the
//! connection broke, both within one deadline.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::metrics::StoreMetrics;
use crate::clock::{Moment, Timestamp};
use crate::jwt::TokenType;

use super::breaker::Breaker;
use super::token_keys::{InView, RevokedBy, TokenKeys};
use super::{Cutoff, Effect, Revocation, RevocationKey, RevocationStore, StoreError, View};

/// How long a store may take to record a revocation: as long as for the API.
const REVOKE_WITHIN: Duration = Duration::from_secs(2);

/// Which token types are checked (flask-jwt-extended's `JWT_BLACKLIST_TOKEN_CHECKS`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckedTypes {
    /// Access tokens.
    pub access: bool,
    /// Refresh tokens.
    pub refresh: bool,
}

impl CheckedTypes {
    /// No tokens are checked.
    pub const NONE: Self = Self {
        access: false,
        refresh: false,
    };

    /// Returns whether tokens of this type are checked.
    pub fn includes(self, token_type: TokenType) -> bool {
        match token_type {
            TokenType::Access => self.access,
            TokenType::Refresh => self.refresh,
            // A token of any other type is checked if either type is.
            TokenType::Other => self.access || self.refresh,
        }
    }
}

/// The result of looking up a token in the view, without a query to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The token is not revoked, or its type is not checked.
    Clear,
    /// The token is revoked, for this reason.
    Revoked(RevokedBy),
    /// The store has to be queried.
    Ask,
    /// The token lacks a claim that one of its keys needs, so it cannot be looked up.
    Unidentified,
}

/// Settings of the checker.
#[derive(Clone, Copy, Debug)]
pub struct CheckerSettings {
    /// Which token types are checked.
    pub types: CheckedTypes,
    /// The deadline of all queries to the store for one check.
    pub deadline: Duration,
    /// How old the view may be before checks query the store themselves.
    pub max_staleness: Duration,
}

/// Looks up whether a verified token is revoked.
pub struct Checker {
    store: Arc<dyn RevocationStore>,
    settings: CheckerSettings,
    breaker: Breaker,
    metrics: Arc<dyn StoreMetrics>,
}

impl Checker {
    /// Creates a checker over `store`.
    pub fn new(
        store: Arc<dyn RevocationStore>,
        settings: CheckerSettings,
        metrics: Arc<dyn StoreMetrics>,
    ) -> Self {
        Self {
            store,
            settings,
            breaker: Breaker::default(),
            metrics,
        }
    }

    /// Looks the token up in the view, if there is one.
    ///
    /// A revocation in the view always applies, however old the view is: only the store can take a revocation
    /// back. The absence of a revocation, and the presence of an allow-list entry, are reliable only while
    /// the view is younger than `max_staleness`. Keys can only be made from verified claims, and are made
    /// once per token, not once per check.
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
        // The age is read before the entries: see `View::age`.
        let fresh = is_young(view, self.settings.max_staleness);
        match keys.in_view(|hash| view.find(hash, now)) {
            InView::Revoked(by) => Lookup::Revoked(by),
            InView::Clear if fresh => Lookup::Clear,
            InView::Clear | InView::Open => Lookup::Ask,
        }
    }

    /// Looks the token up in the view, whatever the view's age. Returns [`Lookup::Clear`] only if the view
    /// contains everything that the token needs.
    pub fn look(&self, keys: &TokenKeys, now: Timestamp) -> Lookup {
        let view = self.store.view();
        match view.map(|view| keys.in_view(|hash| view.find(hash, now))) {
            Some(InView::Revoked(by)) => Lookup::Revoked(by),
            Some(InView::Clear) => Lookup::Clear,
            Some(InView::Open) | None => Lookup::Ask,
        }
    }

    /// Returns whether there is a view that was complete at most `age` ago.
    pub fn is_younger_than(&self, age: Duration) -> bool {
        self.store.view().is_some_and(|view| is_young(view, age))
    }

    /// Queries the store. Returns what revokes the token: an entry in the store, or an entry that is in the
    /// view by the time the store has answered.
    pub async fn ask(
        &self,
        keys: &TokenKeys,
        now: Timestamp,
    ) -> Result<Option<RevokedBy>, StoreError> {
        let Some(attempt) = self.breaker.attempt() else {
            self.metrics.failed(StoreError::BreakerOpen.label());
            return Err(StoreError::BreakerOpen);
        };
        let started = Instant::now();
        let answer = tokio::time::timeout(self.settings.deadline, self.ask_twice(keys))
            .await
            .unwrap_or(Err(StoreError::Timeout));
        // An error about a single key does not count as a failure: otherwise, anybody who can choose a key
        // could open the breaker for all checks.
        attempt.finish(!answer.as_ref().is_err_and(StoreError::is_of_store));
        match &answer {
            Ok(_) => self.metrics.answered(started.elapsed()),
            Err(error) if error.is_of_store() => self.metrics.failed(error.label()),
            Err(error) => self.metrics.unreadable(error.label()),
        }
        if answer != Ok(None) {
            return answer;
        }
        // Redis may have evicted the revocation after pushing it to the view and before reading the keys for
        // this answer.
        match self.look(keys, now) {
            Lookup::Revoked(by) => Ok(Some(by)),
            Lookup::Clear | Lookup::Unidentified | Lookup::Ask => Ok(None),
        }
    }

    /// Records a revocation in the store. An error means that nobody can tell whether it was recorded.
    pub async fn revoke(&self, revocation: &Revocation) -> Result<(), StoreError> {
        let recorded = tokio::time::timeout(REVOKE_WITHIN, self.store.revoke(revocation)).await;
        recorded.unwrap_or(Err(StoreError::Timeout)).map(drop)
    }

    async fn ask_twice(&self, keys: &TokenKeys) -> Result<Option<RevokedBy>, StoreError> {
        // A connection that broke while idle is only detected by the next command on it.
        match self.ask_once(keys).await {
            Err(StoreError::Unavailable(_)) => self.ask_once(keys).await,
            other => other,
        }
    }

    async fn ask_once(&self, keys: &TokenKeys) -> Result<Option<RevokedBy>, StoreError> {
        // Concurrently, so that they share one round trip on one connection.
        let asked = tokio::try_join!(
            native(&*self.store, keys.keys()),
            foreign(&*self.store, keys),
            registered(&*self.store, keys)
        );
        match asked {
            Ok((cutoffs, foreign, registered)) => {
                Ok(keys.in_store(&cutoffs, &foreign, registered.unwrap_or(true)))
            }
            // One unreadable key must not hide a revocation under another: a policy may allow where the store
            // gives no answer.
            Err(StoreError::Unreadable(why)) => match self.ask_each(keys).await? {
                Some(by) => Ok(Some(by)),
                None => Err(StoreError::Unreadable(why)),
            },
            Err(error) => Err(error),
        }
    }

    /// Queries each key on its own, and ignores those that cannot be read.
    async fn ask_each(&self, keys: &TokenKeys) -> Result<Option<RevokedBy>, StoreError> {
        let mut cutoffs = Vec::with_capacity(keys.keys().len());
        for key in keys.keys() {
            let answer = native(&*self.store, std::slice::from_ref(key)).await;
            cutoffs.extend(readable(answer)?.unwrap_or_else(|| vec![None]));
        }
        let mut foreign = Vec::with_capacity(keys.foreign().len());
        for key in keys.foreign() {
            let answer = self.store.lookup_foreign(std::slice::from_ref(key)).await;
            let answer = answer.and_then(|answer| enough(&answer, 1).map(|()| answer));
            foreign.extend(readable(answer)?.unwrap_or_else(|| vec![None]));
        }
        Ok(keys.revoked_by_entry(&cutoffs, &foreign))
    }
}

/// Queries native keys.
async fn native(
    store: &dyn RevocationStore,
    keys: &[RevocationKey],
) -> Result<Vec<Option<Cutoff>>, StoreError> {
    let cutoffs = store.lookup(keys).await?;
    enough(&cutoffs, keys.len())?;
    Ok(cutoffs)
}

/// Returns `None` for an answer that cannot be read.
fn readable<T>(answer: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(StoreError::Unreadable(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Queries the application keys of a token.
pub(super) async fn foreign(
    store: &dyn RevocationStore,
    keys: &TokenKeys,
) -> Result<Vec<Option<Effect>>, StoreError> {
    let foreign = match keys.foreign() {
        [] => return Ok(Vec::new()),
        foreign => store.lookup_foreign(foreign).await?,
    };
    enough(&foreign, keys.foreign().len())?;
    Ok(foreign)
}

/// Queries whether a token is registered. Returns `None` if it need not be.
pub(super) async fn registered(
    store: &dyn RevocationStore,
    keys: &TokenKeys,
) -> Result<Option<bool>, StoreError> {
    match (keys.registration(), store.registry()) {
        (None, _) => Ok(None),
        (Some(key), Some(registry)) => Ok(Some(registry.is_registered(key).await?)),
        (Some(_), None) => Err(StoreError::Failed(
            "this store registers no tokens".to_owned(),
        )),
    }
}

fn enough<T>(answers: &[T], questions: usize) -> Result<(), StoreError> {
    match answers.len() == questions {
        true => Ok(()),
        false => Err(StoreError::Failed(
            "as many answers as questions are needed".to_owned(),
        )),
    }
}

/// Returns whether the view was complete at most `limit` ago.
fn is_young(view: &View, limit: Duration) -> bool {
    view.age(Moment::now()).is_some_and(|age| age <= limit)
}

#[cfg(test)]
mod tests {
    use super::super::RegistrationKey;
    use super::super::lookups::{KeyRule, Lookups, Match};
    use super::super::scripted_store::{Answering, Reported};
    use super::*;
    use crate::jwt::VerifiedClaims;
    use crate::jwt::testing::{self, Signer};

    const BOTH: CheckedTypes = CheckedTypes {
        access: true,
        refresh: true,
    };
    const DEADLINE: Duration = Duration::from_millis(50);
    const OLD: Duration = Duration::from_secs(100);

    fn checker(store: Answering) -> (Checker, Arc<Answering>) {
        let settings = CheckerSettings {
            types: BOTH,
            deadline: DEADLINE,
            max_staleness: Duration::from_secs(50),
        };
        let store = Arc::new(store);
        let checker = Checker::new(Arc::clone(&store) as _, settings, Arc::new(()));
        (checker, store)
    }

    fn claims() -> VerifiedClaims {
        let token = testing::token_of(Signer::of("ES256"), "ES256", "p256");
        testing::verifier().verify(&token, testing::now()).unwrap()
    }

    fn keys() -> TokenKeys {
        TokenKeys::of(&claims())
    }

    /// A revocation under the token's first key.
    fn revocation() -> Revocation {
        Revocation {
            cutoff: Cutoff::All,
            expires_at: Timestamp::NEVER,
            reason: None,
            actor: None,
            revoked_at: testing::now(),
            key: keys().keys()[0].clone(),
        }
    }

    fn nothing() -> Answering {
        Answering::with(Ok(None))
    }

    #[test]
    fn every_type_of_token_is_checked_where_it_is_configured() {
        let types = |access, refresh| CheckedTypes { access, refresh };
        for (types, expected) in [
            (types(true, true), [true, true, true]),
            (types(true, false), [true, false, true]),
            (types(false, true), [false, true, true]),
            (CheckedTypes::NONE, [false, false, false]),
        ] {
            assert_eq!(TokenType::ALL.map(|t| types.includes(t)), expected);
        }
    }

    #[test]
    fn a_view_answers_clear_only_while_it_is_young_and_revoked_always() {
        let check = |store| {
            let (checker, _) = checker(store);
            let found = checker.check(TokenType::Access, &keys(), testing::now());
            (found, checker.look(&keys(), testing::now()))
        };
        assert_eq!(check(nothing()), (Lookup::Ask, Lookup::Ask));
        let young = nothing().with_view(Duration::ZERO);
        assert_eq!(check(young), (Lookup::Clear, Lookup::Clear));
        let old = nothing().with_view(OLD);
        assert_eq!(check(old), (Lookup::Ask, Lookup::Clear));
        let never = Answering {
            view: Some(super::super::View::default()),
            ..nothing()
        };
        assert_eq!(check(never), (Lookup::Ask, Lookup::Clear));
        let (revoked, revocation) = (nothing().with_view(OLD), revocation());
        revoked.view.as_ref().unwrap().record(&revocation);
        let by = Lookup::Revoked(RevokedBy::Key(revocation.key.kind()));
        assert_eq!(check(revoked), (by, by));
    }

    /// Redis, for example, may evict a revocation after it has pushed it to the view, and before it answers a
    /// check.
    #[tokio::test]
    async fn a_revocation_that_reaches_the_view_while_the_store_is_asked_counts() {
        let store = Answering {
            meanwhile: Some(revocation()),
            ..nothing().with_view(OLD)
        };
        let (checker, store) = checker(store);
        let (keys, now) = (keys(), testing::now());
        assert_eq!(checker.check(TokenType::Access, &keys, now), Lookup::Ask);
        let by = RevokedBy::Key(keys.keys()[0].kind());
        assert_eq!(checker.ask(&keys, now).await, Ok(Some(by)));
        assert_eq!(store.asked(), 1);
    }

    #[test]
    fn what_is_not_looked_up_is_clear_and_what_cannot_be_is_unidentified() {
        let (checker, _) = checker(nothing());
        let checker = Checker {
            settings: CheckerSettings {
                types: CheckedTypes {
                    access: false,
                    refresh: true,
                },
                ..checker.settings
            },
            ..checker
        };
        let check = |token_type, keys: &TokenKeys| checker.check(token_type, keys, testing::now());
        assert_eq!(check(TokenType::Access, &keys()), Lookup::Clear);
        assert_eq!(check(TokenType::Refresh, &keys()), Lookup::Ask);
        let by_session = KeyRule::named("{sid}", Match::Exists).unwrap();
        let lookups = Lookups::new(vec![by_session]);
        let keys = lookups.add_to(keys(), &claims(), None);
        assert_eq!(check(TokenType::Access, &keys), Lookup::Clear);
        assert_eq!(check(TokenType::Refresh, &keys), Lookup::Unidentified);
    }

    #[test]
    fn a_view_is_as_young_as_it_is() {
        let (old, _) = checker(nothing().with_view(OLD));
        assert!(!old.is_younger_than(OLD - Duration::from_secs(1)));
        assert!(old.is_younger_than(OLD + Duration::from_secs(60)));
        let (without, _) = checker(nothing());
        assert!(!without.is_younger_than(OLD));
    }

    #[tokio::test(start_paused = true)]
    async fn a_broken_connection_is_tried_once_more_and_nothing_else_is() {
        for (broken, first, asked, expected) in [
            (0, Ok(None), 1, Ok(None)),
            (1, Ok(None), 2, Ok(None)),
            (2, Ok(None), 2, Err("unavailable")),
            (0, Err(StoreError::Failed(String::new())), 1, Err("failed")),
        ] {
            let store = Answering {
                broken: broken.into(),
                ..Answering::with(first)
            };
            let (checker, store) = checker(store);
            let answer = checker.ask(&keys(), testing::now()).await;
            assert_eq!(answer.map_err(|error| error.label()), expected);
            assert_eq!(store.asked(), asked);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_revocation_in_the_store_is_found_and_a_slow_store_is_not_waited_for() {
        let (checker_of_revoked, _) = checker(Answering::with(Ok(Some(Cutoff::All))));
        let by = RevokedBy::Key(keys().keys()[0].kind());
        assert_eq!(
            checker_of_revoked.ask(&keys(), testing::now()).await,
            Ok(Some(by))
        );
        let slow = Answering {
            takes: DEADLINE * 2,
            ..nothing()
        };
        let (checker, _) = checker(slow);
        assert_eq!(
            checker.ask(&keys(), testing::now()).await,
            Err(StoreError::Timeout)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn failures_of_the_store_open_the_breaker_and_answers_about_one_key_do_not() {
        let repeatedly = async |error: StoreError| {
            let (checker, store) = checker(Answering::with(Err(error)));
            for _ in 0..10 {
                checker.ask(&keys(), testing::now()).await.unwrap_err();
            }
            (
                checker.ask(&keys(), testing::now()).await.unwrap_err(),
                store.asked(),
            )
        };
        let failed = StoreError::Failed(String::new());
        assert_eq!(repeatedly(failed).await, (StoreError::BreakerOpen, 5));
        let unreadable = StoreError::Unreadable(String::new());
        // All keys at once, and then each on its own.
        let asked = 11 * (1 + keys().keys().len());
        assert_eq!(repeatedly(unreadable.clone()).await, (unreadable, asked));
    }

    #[tokio::test(start_paused = true)]
    async fn the_store_is_reported_as_failed_when_it_fails_and_not_when_one_key_cannot_be_read() {
        for (error, report) in [
            (StoreError::Failed(String::new()), "failed: failed"),
            (
                StoreError::Unreadable(String::new()),
                "unreadable: unreadable",
            ),
        ] {
            let metrics = Arc::new(Reported::default());
            let (checker, _) = checker(Answering::with(Err(error)));
            let checker = Checker {
                metrics: metrics.clone(),
                ..checker
            };
            checker.ask(&keys(), testing::now()).await.unwrap_err();
            assert_eq!(metrics.all(), [report]);
        }
    }

    #[tokio::test]
    async fn an_answer_to_fewer_keys_than_were_asked_about_is_an_error() {
        let too_few = Answering {
            too_few: true,
            ..nothing()
        };
        let (checker, _) = checker(too_few);
        assert_eq!(
            checker
                .ask(&keys(), testing::now())
                .await
                .unwrap_err()
                .label(),
            "failed"
        );
    }

    #[tokio::test]
    async fn a_token_that_has_to_be_registered_needs_a_store_that_can_tell() {
        let (checker, _) = checker(nothing());
        let own = RegistrationKey::of(&keys().keys()[0]);
        let answer = checker
            .ask(&keys().on_allow_list(own), testing::now())
            .await;
        assert_eq!(answer.unwrap_err().label(), "failed");
        // There is nothing under the application key, but the key is required.
        let allowed = KeyRule {
            required: true,
            ..KeyRule::named("allowed:{jti}", Match::Exists).unwrap()
        };
        let lookups = Lookups::new(vec![allowed]);
        let keys = lookups.add_to(keys(), &claims(), None);
        let answer = checker.ask(&keys, testing::now()).await;
        assert_eq!(answer, Ok(Some(RevokedBy::Application)));
    }
}
