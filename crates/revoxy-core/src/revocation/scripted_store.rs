//! A store for unit tests, with answers and a view age that the test sets.

#![allow(clippy::unwrap_used, reason = "only tests are built with this")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use crate::clock::Moment;

use super::{
    Cutoff, Durability, Effect, ForeignKey, Page, Revocation, RevocationKey, RevocationStore,
    StoreError, StoreMetrics, View,
};

/// A store with scripted answers.
pub struct Answering {
    /// The view, if there is one.
    pub view: Option<View>,
    /// The answer for the first key of a lookup. There is nothing under the other keys.
    pub first: Result<Option<Cutoff>, StoreError>,
    /// How many calls fail as if the connection had broken, before the first call is answered.
    pub broken: AtomicUsize,
    /// A revocation that is recorded in the view while an answer is in flight.
    pub meanwhile: Option<Revocation>,
    /// How long an answer takes.
    pub takes: Duration,
    /// Whether an answer has one entry fewer than there were keys.
    pub too_few: bool,
    /// The first page of the listing. A request for another page never completes.
    pub page: Page,
    /// The number of lookups so far.
    pub asked: AtomicUsize,
}

impl Answering {
    /// A store that answers `first`, without a view.
    pub fn with(first: Result<Option<Cutoff>, StoreError>) -> Self {
        Self {
            view: None,
            first,
            broken: AtomicUsize::new(0),
            meanwhile: None,
            takes: Duration::ZERO,
            too_few: false,
            page: Page::default(),
            asked: AtomicUsize::new(0),
        }
    }

    /// Adds an empty view that was last complete `age` ago.
    pub fn with_view(self, age: Duration) -> Self {
        let view = View::default();
        view.set_fresh_as_of(Moment::now() - age);
        Self {
            view: Some(view),
            ..self
        }
    }

    /// Returns the number of lookups so far.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

/// Remembers what a checker reports about its store.
#[derive(Default)]
pub struct Reported(Mutex<Vec<String>>);

impl Reported {
    /// Returns the reports so far.
    pub fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    fn add(&self, report: String) {
        self.0.lock().unwrap().push(report);
    }
}

impl StoreMetrics for Reported {
    fn answered(&self, _: Duration) {
        self.add("answered".to_owned());
    }

    fn failed(&self, error: &'static str) {
        self.add(format!("failed: {error}"));
    }

    fn unreadable(&self, error: &'static str) {
        self.add(format!("unreadable: {error}"));
    }
}

#[async_trait]
impl RevocationStore for Answering {
    fn view(&self) -> Option<&View> {
        self.view.as_ref()
    }

    async fn lookup(&self, keys: &[RevocationKey]) -> Result<Vec<Option<Cutoff>>, StoreError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(self.takes).await;
        if let (Some(revocation), Some(view)) = (&self.meanwhile, &self.view) {
            view.record(revocation);
        }
        let left = self.broken.load(Ordering::Relaxed);
        if left > 0 {
            self.broken.store(left - 1, Ordering::Relaxed);
            return Err(StoreError::Unavailable("broken".to_owned()));
        }
        let mut answers = vec![None; keys.len()];
        answers[0] = self.first.clone()?;
        answers.truncate(keys.len() - usize::from(self.too_few));
        Ok(answers)
    }

    async fn lookup_foreign(&self, keys: &[ForeignKey]) -> Result<Vec<Option<Effect>>, StoreError> {
        Ok(vec![None; keys.len()])
    }

    async fn revoke(&self, _: &Revocation) -> Result<Durability, StoreError> {
        Err(StoreError::Timeout)
    }

    async fn unrevoke(&self, _: &RevocationKey) -> Result<bool, StoreError> {
        Err(StoreError::Timeout)
    }

    async fn get(&self, _: &RevocationKey) -> Result<Option<Revocation>, StoreError> {
        Err(StoreError::Timeout)
    }

    async fn list(&self, after: Option<&str>, _: usize) -> Result<Page, StoreError> {
        match after {
            None => Ok(self.page.clone()),
            Some(_) => std::future::pending().await,
        }
    }
}
