//! The section `verification`: settings for the tokens of all issuers.

use crate::jwt::CacheLimits;

use super::document::Document;
use super::problem::Problems;
use super::raw::RawVerification;

/// How tokens are verified, whoever issued them.
#[derive(Clone, Debug)]
pub struct VerificationConfig {
    /// The limits of the cache of verified tokens.
    pub cache: CacheLimits,
}

const DEFAULT_CACHE_ENTRIES: usize = 65_536;
const MAX_CACHE_ENTRIES: usize = 16 << 20;
const LEAST_CACHE_BYTES: usize = 1 << 20;
const MOST_CACHE_BYTES: usize = 64 << 30;

pub(super) fn read(
    raw: &RawVerification,
    document: &Document,
    problems: &mut Problems,
) -> VerificationConfig {
    let cache_entries = raw.cache_entries.unwrap_or(DEFAULT_CACHE_ENTRIES);
    if cache_entries > MAX_CACHE_ENTRIES {
        let message = format!("more than {MAX_CACHE_ENTRIES}: that many tokens need several GiB");
        problems.push(document.problem("verification.cache_entries", message));
    }
    let cache_bytes = raw.cache_bytes.unwrap_or(CacheLimits::DEFAULT_BYTES);
    if !(LEAST_CACHE_BYTES..=MOST_CACHE_BYTES).contains(&cache_bytes) {
        let message = format!("must be from {LEAST_CACHE_BYTES} to {MOST_CACHE_BYTES}");
        problems.push(document.problem("verification.cache_bytes", message));
    }
    VerificationConfig {
        cache: CacheLimits {
            entries: cache_entries,
            bytes: cache_bytes,
        },
    }
}
