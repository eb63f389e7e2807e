//! Individual tokens: the allow-list, and the recording of tokens that are seen.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::{Config, Mode, Problems};
use crate::jwt::VerifiedClaims;
use crate::metrics::Metrics;
use crate::recorder::{RecorderTask, TokenRecorder};
use crate::revocation::{RegistrationKey, TokenKeys};

use super::Store;

/// The time limit for writing the remaining records when the service ends.
const LAST_NOTES: Duration = Duration::from_secs(2);

/// What is done with a token when it has been verified for the first time.
pub(super) struct Tokens {
    allow_list: bool,
    recorder: Option<TokenRecorder>,
}

/// The task that writes records of tokens that were seen, if there is one.
pub(super) struct Notes(Option<RecorderTask>);

/// Starts what is configured. Reports what the store does not support.
pub(super) fn start(
    config: &Config,
    store: &Store,
    clock: &Arc<dyn Clock>,
    metrics: &Metrics,
    problems: &mut Problems,
) -> (Tokens, Notes) {
    let revocation = &config.revocation;
    let allow_list = revocation.mode == Mode::AllowList;
    if store.registry().is_none() {
        let wanted = [
            ("mode", allow_list),
            ("note_tokens", revocation.note_tokens),
        ];
        for (key, _) in wanted.into_iter().filter(|(_, wanted)| *wanted) {
            let message = "this store keeps no records of tokens";
            problems.push(
                config
                    .document
                    .problem(&format!("revocation.{key}"), message),
            );
        }
    }
    if allow_list && config.admin_key_file.is_none() {
        tracing::warn!(
            "an allow-list without `api.admin_key_file`: tokens can be registered in the store itself only"
        );
    }
    let (recorder, task) = match revocation.note_tokens && problems.is_empty() {
        true => {
            let (store, clock) = (Arc::clone(store), Arc::clone(clock));
            let (recorder, task) =
                TokenRecorder::start(store, revocation.types, clock, metrics.notes());
            (Some(recorder), Some(task))
        }
        false => (None, None),
    };
    (
        Tokens {
            allow_list,
            recorder,
        },
        Notes(task),
    )
}

impl Tokens {
    /// Records the token if so configured, and adds the key under which it has to be registered, if it has to
    /// be.
    pub fn see(&self, claims: &VerifiedClaims, keys: TokenKeys) -> TokenKeys {
        if let Some(recorder) = &self.recorder {
            recorder.see(claims, &keys);
        }
        match (self.allow_list, keys.keys().first()) {
            (true, Some(token)) => {
                let registration = RegistrationKey::of(token);
                keys.on_allow_list(registration)
            }
            _ => keys,
        }
    }
}

impl Notes {
    /// Writes the remaining records.
    pub async fn finish(self) {
        if let Some(task) = self.0 {
            task.finish(LAST_NOTES).await;
        }
    }
}

/// Returns the upper bound on the time until every replica knows what the store has acknowledged.
pub(super) fn enforced_within(config: &Config, store: &Store) -> Duration {
    match store.view() {
        Some(view) if !view.is_always_fresh() => config.revocation.max_staleness,
        _ => Duration::ZERO,
    }
}
