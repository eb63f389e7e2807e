//! Metrics of individual tokens.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use super::{MetricsError, register, set};

/// Tokens that were seen.
#[derive(Clone)]
pub struct NoteMetrics {
    /// Records that were written to the store.
    pub noted: IntCounter,
    /// Records that were not written: the queue was full, or the store rejected them.
    pub dropped: IntCounter,
    /// Records that were not written: an identifier is too long.
    pub oversized: IntCounter,
}

/// All metrics of individual tokens.
pub(super) struct TokenMetrics {
    pub notes: NoteMetrics,
    registrations: IntCounterVec,
    unrevocations: IntCounterVec,
    unauthorized: IntCounter,
    cache_entries: IntGauge,
    cache_bytes: IntGauge,
}

impl TokenMetrics {
    pub fn new(registry: &Registry) -> Result<Self, MetricsError> {
        let notes = Opts::new(
            "revoxy_tokens_noted_total",
            "Tokens seen for the first time by result: noted, dropped (no room in the queue, or the store refused) or \
             oversized (an identifier of more than 1024 bytes).",
        );
        let notes = register(registry, IntCounterVec::new(notes, &["result"])?)?;
        let registrations = Opts::new(
            "revoxy_token_registrations_total",
            "Requests to register a token by result: recorded, refused (the request is wrong), unknown_key or failed.",
        );
        let registrations = register(registry, IntCounterVec::new(registrations, &["result"])?)?;
        for result in ["recorded", "refused", "unknown_key", "failed"] {
            registrations.with_label_values(&[result]);
        }
        let unrevocations = Opts::new(
            "revoxy_unrevocation_requests_total",
            "Requests to take a revocation back by result: recorded, ignored (none stood), refused (the request is wrong) or failed.",
        );
        let unrevocations = register(registry, IntCounterVec::new(unrevocations, &["result"])?)?;
        for result in ["recorded", "ignored", "refused", "failed"] {
            unrevocations.with_label_values(&[result]);
        }
        let unauthorized = IntCounter::new(
            "revoxy_api_unauthorized_total",
            "Requests to /v1 without the administrator's key.",
        )?;
        let cache_entries = IntGauge::new(
            "revoxy_token_cache_entries",
            "Verified tokens that are remembered.",
        )?;
        let cache_bytes = IntGauge::new(
            "revoxy_token_cache_bytes",
            "Memory that remembered tokens take, estimated from above.",
        )?;
        let note = |result| notes.with_label_values(&[result]);
        Ok(Self {
            notes: NoteMetrics {
                noted: note("noted"),
                dropped: note("dropped"),
                oversized: note("oversized"),
            },
            registrations,
            unrevocations,
            unauthorized: register(registry, unauthorized)?,
            cache_entries: register(registry, cache_entries)?,
            cache_bytes: register(registry, cache_bytes)?,
        })
    }

    pub fn registration(&self, result: &'static str) {
        self.registrations.with_label_values(&[result]).inc();
    }

    pub fn unrevocation(&self, result: &'static str) {
        self.unrevocations.with_label_values(&[result]).inc();
    }

    pub fn cache(&self, entries: usize, bytes: u64) {
        set(&self.cache_entries, entries);
        set(&self.cache_bytes, bytes);
    }

    pub fn unauthorized(&self) {
        self.unauthorized.inc();
    }
}
