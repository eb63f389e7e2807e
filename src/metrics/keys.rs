//! The metrics of issuers' keys.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::{MetricsError, register};

/// The metrics of all issuers' keys, labelled by issuer.
pub(super) struct KeyVecs {
    keys: IntGaugeVec,
    last_success: IntGaugeVec,
    refreshes: IntCounterVec,
}

impl KeyVecs {
    pub fn new(registry: &Registry) -> Result<Self, MetricsError> {
        let keys = Opts::new("revoxy_jwks_keys", "Usable verification keys of an issuer.");
        let last_success = Opts::new(
            "revoxy_jwks_last_success_timestamp_seconds",
            "When the keys of an issuer were last fetched, or found in their file in a new form.",
        );
        let refreshes = Opts::new(
            "revoxy_jwks_refreshes_total",
            "Attempts to get the keys of an issuer, by result: success, or why not.",
        );
        Ok(Self {
            keys: register(registry, IntGaugeVec::new(keys, &["issuer"])?)?,
            last_success: register(registry, IntGaugeVec::new(last_success, &["issuer"])?)?,
            refreshes: register(
                registry,
                IntCounterVec::new(refreshes, &["issuer", "result"])?,
            )?,
        })
    }

    pub fn of(&self, issuer: &str, failures: &[&'static str]) -> KeyMetrics {
        let result = |r: &str| self.refreshes.with_label_values(&[issuer, r]);
        KeyMetrics {
            keys: self.keys.with_label_values(&[issuer]),
            last_success: self.last_success.with_label_values(&[issuer]),
            success: result("success"),
            failures: failures.iter().map(|f| (*f, result(f))).collect(),
        }
    }
}

/// The metrics of one issuer's keys.
#[derive(Clone)]
pub struct KeyMetrics {
    keys: IntGauge,
    last_success: IntGauge,
    success: IntCounter,
    failures: Vec<(&'static str, IntCounter)>,
}

impl KeyMetrics {
    /// Records that the issuer now has this many keys.
    pub fn replaced(&self, keys: usize) {
        self.keys.set(i64::try_from(keys).unwrap_or(i64::MAX));
    }

    /// Records that the keys were fetched or read at this time, in seconds.
    pub fn refreshed(&self, at: i64) {
        self.success.inc();
        self.last_success.set(at);
    }

    /// Records that fetching or reading the keys failed, for this reason.
    pub fn failed(&self, why: &'static str) {
        if let Some((_, counter)) = self.failures.iter().find(|(f, _)| *f == why) {
            counter.inc();
        }
    }
}
