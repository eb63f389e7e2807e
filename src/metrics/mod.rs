//! All metrics; the metrics of keys and of individual tokens are in separate files. Names follow the
//! Prometheus conventions. Each label takes values from a closed set, and every child is created at start, so
//! that `rate()` and alerts work from the first event on and no check ever takes a lock.
//!
//! Labels arrive as `&'static str`, or as names from the configuration.

mod keys;
mod tokens;

use std::sync::Arc;
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    Encoder as _, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter,
    IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

use crate::revocation::{FeedMetrics, SUSPECT_LABELS, StoreMetrics};

pub use keys::KeyMetrics;
pub use tokens::NoteMetrics;

use keys::KeyVecs;
use tokens::TokenMetrics;

/// From 5 µs, the duration of a check that needs no network, past 0.2 and 0.25 s, when Envoy gives up.
const CHECK_BUCKETS: [f64; 17] = [
    0.000_005, 0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005,
    0.01, 0.025, 0.05, 0.1, 0.2, 0.25, 1.0,
];
/// From 50 µs, a round trip on the same machine, to 0.25 s.
const STORE_BUCKETS: [f64; 12] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
];

/// A bug in this module: a name or a label that Prometheus rejects, or the same name twice.
pub type MetricsError = prometheus::Error;

/// All metrics of the process.
pub struct Metrics {
    registry: Registry,
    /// The checks, by outcome.
    pub checks: CheckMetrics,
    /// The revocation store.
    pub store: Arc<StoreCounters>,
    /// The feed of the view.
    pub feed: Arc<FeedCounters>,
    revocations: IntCounterVec,
    view_entries: IntGauge,
    view_bytes: IntGauge,
    view_age: Gauge,
    keys: KeyVecs,
    tokens: TokenMetrics,
    log_lines_dropped: IntCounter,
}

/// The labels of the metrics of checks.
pub struct CheckLabels<'l> {
    /// Pairs of decision and reason, in the order of the outcomes' indices.
    pub outcomes: &'l [(&'static str, &'static str)],
    /// The policies, in the order of their indices; one more is added for requests that name an unknown
    /// policy.
    pub policies: &'l [String],
}

impl Metrics {
    /// Creates and registers all metrics.
    pub fn new(
        labels: &CheckLabels<'_>,
        store_errors: &[&'static str],
    ) -> Result<Self, MetricsError> {
        let registry = Registry::new();
        let checks = CheckMetrics::new(&registry, labels)?;
        let store = Arc::new(StoreCounters::new(&registry, store_errors)?);
        let feed = Arc::new(FeedCounters::new(&registry)?);
        let revocations = Opts::new(
            "revoxy_revocation_requests_total",
            "Requests to the revocation API by result: recorded, ignored (the token is invalid or expired anyway), \
             refused (the request is wrong), unknown_key (nobody can tell yet) or failed.",
        );
        let revocations = register(&registry, IntCounterVec::new(revocations, &["result"])?)?;
        for result in ["recorded", "ignored", "refused", "unknown_key", "failed"] {
            revocations.with_label_values(&[result]);
        }
        let view_entries = register(
            &registry,
            IntGauge::new(
                "revoxy_revocation_view_entries",
                "Revocations in the in-memory view; 0 where every check asks the store.",
            )?,
        )?;
        let view_bytes = IntGauge::new(
            "revoxy_revocation_view_bytes",
            "Memory that the entries of the in-memory view take.",
        )?;
        let view_bytes = register(&registry, view_bytes)?;
        let view_age = Gauge::new(
            "revoxy_revocation_view_age_seconds",
            "Time since the in-memory view is known to have held every revocation; +Inf before it ever did.",
        )?;
        let view_age = register(&registry, view_age)?;
        let keys = KeyVecs::new(&registry)?;
        let tokens = TokenMetrics::new(&registry)?;
        build_info(&registry)?;
        let log_lines_dropped = IntCounter::new(
            "revoxy_log_lines_dropped_total",
            "Lines of the log that were dropped because whoever reads standard output was too slow.",
        )?;
        let log_lines_dropped = register(&registry, log_lines_dropped)?;
        #[cfg(target_os = "linux")]
        registry.register(Box::new(
            prometheus::process_collector::ProcessCollector::for_self(),
        ))?;
        Ok(Self {
            registry,
            checks,
            store,
            feed,
            revocations,
            view_entries,
            view_bytes,
            view_age,
            keys,
            tokens,
            log_lines_dropped,
        })
    }

    /// Counts a request to the revocation API.
    pub fn revocation_request(&self, result: &'static str) {
        self.revocations.with_label_values(&[result]).inc();
    }

    /// Counts a request to register a token.
    pub fn registration_request(&self, result: &'static str) {
        self.tokens.registration(result);
    }

    /// Counts a request to take a revocation back.
    pub fn unrevocation_request(&self, result: &'static str) {
        self.tokens.unrevocation(result);
    }

    /// Counts a request without the administrator's key.
    pub fn unauthorized(&self) {
        self.tokens.unauthorized();
    }

    /// Returns the metrics of tokens that were seen.
    pub fn notes(&self) -> NoteMetrics {
        self.tokens.notes.clone()
    }

    /// Returns the metrics of an issuer's keys; `failures` are the reasons for which fetching or reading the
    /// keys can fail.
    pub fn issuer_keys(&self, issuer: &str, failures: &[&'static str]) -> KeyMetrics {
        self.keys.of(issuer, failures)
    }

    /// Sets the size and age of the view.
    pub fn view(&self, entries: usize, bytes: usize, age: Option<Duration>) {
        set(&self.view_entries, entries);
        set(&self.view_bytes, bytes);
        self.view_age
            .set(age.map_or(f64::INFINITY, |age| age.as_secs_f64()));
    }

    /// Sets how many lines of the log have been dropped so far.
    pub fn log_lines_dropped(&self, lines: u64) {
        let counted = self.log_lines_dropped.get();
        self.log_lines_dropped.inc_by(lines.saturating_sub(counted));
    }

    /// Sets the number of cached tokens, and their size.
    pub fn token_cache(&self, entries: usize, bytes: u64) {
        self.tokens.cache(entries, bytes);
    }

    /// Renders everything in Prometheus' text format, version 0.0.4.
    pub fn render(&self) -> Result<String, MetricsError> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        String::from_utf8(text).map_err(|e| prometheus::Error::Msg(e.to_string()))
    }
}

/// Checks: their number, outcomes and durations.
#[derive(Clone)]
pub struct CheckMetrics {
    /// The counters by policy, then by outcome.
    total: Vec<Vec<IntCounter>>,
    /// The histograms by outcome; outcomes with the same decision share one.
    duration: Vec<Histogram>,
    in_flight: IntGauge,
    cancelled: IntCounter,
}

impl CheckMetrics {
    fn new(registry: &Registry, labels: &CheckLabels<'_>) -> Result<Self, MetricsError> {
        let total = Opts::new(
            "revoxy_checks_total",
            "Checks by decision (allow, deny, error), reason and policy.",
        );
        let total = register(
            registry,
            IntCounterVec::new(total, &["decision", "reason", "policy"])?,
        )?;
        let duration = HistogramOpts::new(
            "revoxy_check_duration_seconds",
            "Time from a decoded CheckRequest to the decision, by decision.",
        )
        .buckets(CHECK_BUCKETS.to_vec());
        let duration = register(registry, HistogramVec::new(duration, &["decision"])?)?;
        let in_flight = IntGauge::new("revoxy_checks_in_flight", "Checks being decided now.")?;
        let cancelled = IntCounter::new(
            "revoxy_checks_cancelled_total",
            "Checks that the caller gave up before they were decided; they allowed nothing.",
        )?;
        let policies = labels
            .policies
            .iter()
            .map(String::as_str)
            .chain(["unknown"]);
        Ok(Self {
            total: policies
                .map(|policy| {
                    let counter = |(decision, reason): &(&str, &str)| {
                        total.with_label_values(&[*decision, *reason, policy])
                    };
                    labels.outcomes.iter().map(counter).collect()
                })
                .collect(),
            duration: labels
                .outcomes
                .iter()
                .map(|(decision, _)| duration.with_label_values(&[*decision]))
                .collect(),
            in_flight: register(registry, in_flight)?,
            cancelled: register(registry, cancelled)?,
        })
    }

    /// Starts the timer of a check.
    pub fn start(&self) -> CheckTimer<'_> {
        self.in_flight.inc();
        CheckTimer {
            metrics: self,
            started: std::time::Instant::now(),
            finished: false,
        }
    }
}

/// Times one check. If it is dropped before it is finished, the check was cancelled, and is counted as such.
pub struct CheckTimer<'m> {
    metrics: &'m CheckMetrics,
    started: std::time::Instant,
    finished: bool,
}

impl CheckTimer<'_> {
    /// Counts the check under its outcome and its policy (`None` means an unknown policy).
    pub fn finish(mut self, outcome: usize, policy: Option<usize>) {
        self.finished = true;
        let metrics = self.metrics;
        let policy = policy.unwrap_or(metrics.total.len() - 1);
        metrics.total[policy][outcome].inc();
        metrics.duration[outcome].observe(self.started.elapsed().as_secs_f64());
    }
}

impl Drop for CheckTimer<'_> {
    fn drop(&mut self) {
        self.metrics.in_flight.dec();
        if !self.finished {
            self.metrics.cancelled.inc();
        }
    }
}

/// The revocation store, as seen by checks.
#[derive(Clone)]
pub struct StoreCounters {
    duration: Histogram,
    errors: Vec<(&'static str, IntCounter)>,
    up: IntGauge,
}

impl StoreCounters {
    fn new(registry: &Registry, errors: &[&'static str]) -> Result<Self, MetricsError> {
        let duration = HistogramOpts::new(
            "revoxy_revocation_lookup_duration_seconds",
            "Time of lookups that the store answered.",
        )
        .buckets(STORE_BUCKETS.to_vec());
        let total = Opts::new(
            "revoxy_revocation_lookup_errors_total",
            "Lookups that the store did not answer, by error.",
        );
        let total = register(registry, IntCounterVec::new(total, &["error"])?)?;
        let up = IntGauge::new(
            "revoxy_revocation_store_up",
            "1 if the last lookup in the store was answered, 0 if not.",
        )?;
        up.set(1);
        Ok(Self {
            duration: register(registry, Histogram::with_opts(duration)?)?,
            errors: errors
                .iter()
                .map(|e| (*e, total.with_label_values(&[*e])))
                .collect(),
            up: register(registry, up)?,
        })
    }

    fn count(&self, error: &'static str) {
        if let Some((_, counter)) = self.errors.iter().find(|(e, _)| *e == error) {
            counter.inc();
        }
    }
}

impl StoreMetrics for StoreCounters {
    fn answered(&self, after: Duration) {
        self.duration.observe(after.as_secs_f64());
        self.up.set(1);
    }

    fn failed(&self, error: &'static str) {
        self.up.set(0);
        self.count(error);
    }

    fn unreadable(&self, error: &'static str) {
        self.up.set(1);
        self.count(error);
    }
}

/// From 0.5 ms, a push on one machine, to a minute.
const PROPAGATION_BUCKETS: [f64; 14] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0,
];

/// The feed of the view.
#[derive(Clone)]
pub struct FeedCounters {
    /// Connections that were lost, or could not be established.
    pub reconnects: IntCounter,
    /// Invalidations that were received.
    pub pushes: IntCounter,
    /// Revocations that were written back to a store that had lost them.
    pub restored: IntCounter,
    /// Differences that no push had reported.
    pub healed: IntCounter,
    /// Values of application keys that could not be read, and therefore revoke.
    pub unreadable: IntCounter,
    suspects: IntCounterVec,
    propagation: Histogram,
    following: IntGauge,
    clock_offset: Gauge,
}

impl FeedCounters {
    /// Creates and registers the metrics of a feed.
    pub fn new(registry: &Registry) -> Result<Self, MetricsError> {
        let counter = |name: &str, help: &str| register(registry, IntCounter::new(name, help)?);
        let propagation = HistogramOpts::new(
            "revoxy_revocation_propagation_seconds",
            "Time from a revocation's own timestamp, where it has one, to its application in the view.",
        )
        .buckets(PROPAGATION_BUCKETS.to_vec());
        let following = IntGauge::new(
            "revoxy_revocation_feed_up",
            "1 while the feed follows the store, 0 while it is not connected; 1 where no feed is needed.",
        )?;
        following.set(1);
        let suspects = Opts::new(
            "revoxy_revocation_keys_suspect_total",
            "Keys under our prefix that must be a mistake, each counted once: unknown_kind or unknown_issuer (revoke nothing), \
             unreadable_value (revokes every token under the key) or future_cutoff (refuses new logins).",
        );
        let suspects = register(registry, IntCounterVec::new(suspects, &["problem"])?)?;
        for problem in SUSPECT_LABELS {
            suspects.with_label_values(&[problem]);
        }
        Ok(Self {
            suspects,
            reconnects: counter(
                "revoxy_revocation_feed_reconnects_total",
                "Times that the feed lost the store or could not reach it.",
            )?,
            pushes: counter(
                "revoxy_revocation_feed_pushes_total",
                "Invalidations that the store has pushed.",
            )?,
            restored: counter(
                "revoxy_revocations_restored_total",
                "Revocations written back to a store that had lost them.",
            )?,
            unreadable: counter(
                "revoxy_revocation_lookup_unreadable_total",
                "Values under keys of applications that could not be read, so that they revoke.",
            )?,
            healed: counter(
                "revoxy_revocation_view_healed_total",
                "Differences between store and view that a comparison found and no push had told of.",
            )?,
            propagation: register(registry, Histogram::with_opts(propagation)?)?,
            following: register(registry, following)?,
            clock_offset: register(
                registry,
                Gauge::new(
                    "revoxy_revocation_store_clock_offset_seconds",
                    "By how much the clock of the store is ahead of ours; negative where it is behind.",
                )?,
            )?,
        })
    }
}

impl FeedMetrics for FeedCounters {
    fn reconnecting(&self) {
        self.reconnects.inc();
    }

    fn pushed(&self, changes: u64) {
        self.pushes.inc_by(changes);
    }

    fn restored(&self, revocations: u64) {
        self.restored.inc_by(revocations);
    }

    fn healed(&self, differences: u64) {
        self.healed.inc_by(differences);
    }

    fn unreadable(&self) {
        self.unreadable.inc();
    }

    fn suspect(&self, problem: &'static str) {
        self.suspects.with_label_values(&[problem]).inc();
    }

    fn propagated(&self, after: Duration) {
        self.propagation.observe(after.as_secs_f64());
    }

    fn following(&self, is_following: bool) {
        self.following.set(i64::from(is_following));
    }

    fn clock_offset(&self, seconds: f64) -> f64 {
        let before = self.clock_offset.get();
        self.clock_offset.set(seconds);
        before
    }
}

fn build_info(registry: &Registry) -> Result<(), MetricsError> {
    let info = Opts::new(
        "revoxy_build_info",
        "1, labelled with the version of this build.",
    );
    let info: GaugeVec = register(registry, GaugeVec::new(info, &["version"])?)?;
    let child: Gauge = info.with_label_values(&[env!("CARGO_PKG_VERSION")]);
    child.set(1.0);
    Ok(())
}

fn set(gauge: &IntGauge, value: impl TryInto<i64>) {
    gauge.set(value.try_into().unwrap_or(i64::MAX));
}

fn register<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: C,
) -> Result<C, MetricsError> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_is_down_when_it_fails_and_not_when_one_key_cannot_be_read() {
        let labels = CheckLabels {
            outcomes: &[],
            policies: &[],
        };
        let metrics = Metrics::new(&labels, &["failed", "unreadable"]).unwrap();
        let has = |line: &str| {
            let text = metrics.render().unwrap();
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        };
        metrics.store.failed("failed");
        has("revoxy_revocation_store_up 0");
        has("revoxy_revocation_lookup_errors_total{error=\"failed\"} 1");
        metrics.store.unreadable("unreadable");
        has("revoxy_revocation_store_up 1");
        has("revoxy_revocation_lookup_errors_total{error=\"unreadable\"} 1");
        metrics.store.failed("failed");
        metrics.store.answered(Duration::from_millis(1));
        has("revoxy_revocation_store_up 1");
    }
}
