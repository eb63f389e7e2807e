//! Reports values of applications that cannot be read: such a value revokes tokens, so an operator should be
//! informed.

use super::super::metrics::FeedMetrics;
use crate::clock::OncePerMinute;

use super::rule::KeyRule;

static LINE: OncePerMinute = OncePerMinute::new();

/// Counts a value that cannot be read, and logs at most one line per minute, because the metric has the exact
/// number. The log contains neither the key nor the value, which may identify a token or a person.
pub fn notice(metrics: Option<&dyn FeedMetrics>, rule: &KeyRule) {
    if let Some(metrics) = metrics {
        metrics.unreadable();
    }
    if LINE.is_due() {
        tracing::warn!(
            template = rule.key.as_str(),
            "a value under a key of revocation.lookups cannot be read: every token that has this key is refused; \
             revoxy_revocation_lookup_unreadable_total counts such values"
        );
    }
}
