//! The section `verification`: what concerns the tokens of all issuers.

use super::document::Document;
use super::problem::Problems;
use super::raw::RawVerification;

/// How tokens are verified, whoever issued them.
#[derive(Clone, Debug)]
pub struct VerificationConfig {
    /// How many verified tokens are remembered; none if 0.
    pub cache_entries: usize,
}

/// About 100 MiB with tokens of usual size.
const DEFAULT_CACHE_ENTRIES: usize = 65_536;
const MAX_CACHE_ENTRIES: usize = 16 << 20;

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
    VerificationConfig { cache_entries }
}
