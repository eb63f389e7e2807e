//! Detects keys under our prefix that look like mistakes: with an unknown kind or issuer, an unreadable value,
//! or an implausible cutoff.
//!
//! Redis answers `OK` to a client that writes such a key, so only an inspection of the keys finds it. Each is
//! logged and counted once.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::metrics::{FeedMetrics, SUSPECT_LABELS};
use crate::spelling::{TYPOS, nearest};

use super::super::effect::Effect;
use super::super::key::{KeyKind, PREFIX};
use super::super::statement::Cutoff;
use super::format::Stated;
use super::stored_key::StoredKey;

/// The maximum number of keys that are logged and counted.
const MOST: usize = 10_000;
/// A cutoff further in the future than this refuses logins that have not happened yet.
const SOON: Duration = Duration::from_secs(3600);
/// The words that our other keys have in the position of the kind.
const OTHERS: [&str; 3] = ["registered", "restored", "unrevoked"];
/// The longest text that can be a misspelt kind.
const LONGEST_KIND: usize = "registered".len() + TYPOS;

/// What is wrong with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Suspicion {
    UnknownKind,
    UnknownIssuer,
    UnreadableValue,
    FutureCutoff,
}

impl Suspicion {
    /// In the order of declaration.
    pub(super) const ALL: [Self; 4] = [
        Self::UnknownKind,
        Self::UnknownIssuer,
        Self::UnreadableValue,
        Self::FutureCutoff,
    ];

    /// Returns the label of the metric.
    pub(super) fn label(self) -> &'static str {
        SUSPECT_LABELS[self as usize]
    }

    /// Returns what the mistake means, and what to do.
    pub(super) fn meaning(self) -> &'static str {
        match self {
            Self::UnknownKind => {
                "it begins with `revoxy:` and revokes nothing: the name must be revoxy:<kind>:<issuer name>:<value>, with a kind of \
                 jti, digest, sub, sid, client, kid, jkt, iss"
            }
            Self::UnknownIssuer => {
                "it revokes nothing: no issuer of this name is configured (`issuers[].name`, not the value of `iss`)"
            }
            Self::UnreadableValue => {
                "it revokes every token under the key: the value is neither empty nor a JSON object, or its `not_before` is no number"
            }
            Self::FutureCutoff => {
                "new logins are refused until then: `not_before` is in the future; it counts seconds, not milliseconds"
            }
        }
    }
}

/// Returns what is wrong with a name that is not a key of ours; `None` if it does not have our prefix.
pub(super) fn judge_name(name: &[u8]) -> Option<Suspicion> {
    name.starts_with(PREFIX.as_bytes())
        .then_some(Suspicion::UnknownKind)
}

/// Returns what is wrong with a revocation; `None` if nothing is. `issuers` are the configured names; empty if
/// they are not known.
pub(super) fn judge(
    name: &[u8],
    stated: &Stated,
    issuers: &[String],
    now: Timestamp,
) -> Option<Suspicion> {
    let is_issuer = |issuer: &String| Some(issuer.as_bytes()) == issuer_in(name);
    if !issuers.is_empty() && !issuers.iter().any(is_issuer) {
        return Some(Suspicion::UnknownIssuer);
    }
    if stated.is_unreadable {
        return Some(Suspicion::UnreadableValue);
    }
    match stated.effect {
        Some((Effect::Revokes(Cutoff::IssuedUpTo(cutoff)), _)) if cutoff > now.plus(SOON) => {
            Some(Suspicion::FutureCutoff)
        }
        _ => None,
    }
}

/// Returns what is wrong with a key that was parsed as `parsed`, or with its value; `None` if nothing is.
pub(super) fn judge_key(
    name: &[u8],
    parsed: Option<&StoredKey>,
    stated: &Stated,
    issuers: &[String],
    now: Timestamp,
) -> Option<Suspicion> {
    match parsed {
        None => judge_name(name),
        Some(StoredKey::Native(_)) => judge(name, stated, issuers, now),
        Some(_) => None,
    }
}

/// Returns the issuer in `revoxy:<kind>:<issuer>:<value>`.
fn issuer_in(name: &[u8]) -> Option<&[u8]> {
    name.split(|b| *b == b':').nth(2)
}

/// The keys that were already reported.
#[derive(Clone)]
pub(super) struct Suspects {
    issuers: Arc<[String]>,
    reported: Arc<Mutex<HashSet<u64>>>,
    hasher: RandomState,
    metrics: Arc<dyn FeedMetrics>,
}

impl Suspects {
    pub(super) fn new(issuers: Vec<String>, metrics: Arc<dyn FeedMetrics>) -> Self {
        Self {
            issuers: issuers.into(),
            reported: Arc::default(),
            hasher: RandomState::new(),
            metrics,
        }
    }

    /// Inspects a revocation that was read.
    pub(super) fn look_at(&self, name: &[u8], stated: &Stated, now: Timestamp) {
        if let Some(found) = judge(name, stated, &self.issuers, now) {
            self.tell(name, found);
        }
    }

    /// Inspects the name of a key that is not read, because it means nothing.
    pub(super) fn look_at_name(&self, name: &[u8]) {
        if let Some(found) = judge_name(name) {
            self.tell(name, found);
        }
    }

    fn tell(&self, name: &[u8], found: Suspicion) {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        if reported.len() >= MOST || !reported.insert(self.hasher.hash_one((name, found.label()))) {
            return;
        }
        self.metrics.suspect(found.label());
        // Logs nothing of the name itself, which may contain anything, including a user's identity.
        tracing::warn!(
            kind = kind(name),
            problem = found.label(),
            meaning = found.meaning(),
            "a key in Redis looks like a mistake; `revoxy doctor` names such keys"
        );
    }
}

/// Returns the kind that a name has or nearly has, in our own spelling; empty if it resembles none.
fn kind(name: &[u8]) -> &'static str {
    let rest = name.strip_prefix(PREFIX.as_bytes()).unwrap_or_default();
    let end = rest.iter().position(|b| *b == b':').unwrap_or(0);
    let given = str::from_utf8(&rest[..end.min(LONGEST_KIND)]).unwrap_or_default();
    let known = KeyKind::ALL.iter().map(|kind| kind.as_str()).chain(OTHERS);
    nearest(given, known).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(name: &str, value: &str) -> Option<Suspicion> {
        let issuers = ["shop".to_owned()];
        let now = Timestamp::from_secs(1_800_000_000);
        let stated = Stated::read(Some(value.as_bytes()));
        let parsed = StoredKey::parse(name.as_bytes());
        judge_key(name.as_bytes(), parsed.as_ref(), &stated, &issuers, now)
    }

    #[test]
    fn a_key_that_must_be_a_mistake_is_told_from_those_that_mean_something() {
        for (name, value, expected) in [
            ("revoxy:jti:shop:1", "", None),
            ("revoxy:jti:shop:1", r#"{"reason":"lost"}"#, None),
            ("revoxy:sub:shop:1", r#"{"not_before":1800000001}"#, None),
            ("other:jit:x:1", "", None),
            ("revoxy:registered:jti:x:1", "", None),
            ("revoxy:jit:shop:1", "", Some(Suspicion::UnknownKind)),
            ("revoxy:jti:1", "", Some(Suspicion::UnknownKind)),
            ("revoxy:jti:shopp:1", "", Some(Suspicion::UnknownIssuer)),
            (
                "revoxy:jti:shop:1",
                "true",
                Some(Suspicion::UnreadableValue),
            ),
            ("revoxy:sub:shop:1", "{", Some(Suspicion::UnreadableValue)),
            (
                "revoxy:sub:shop:1",
                r#"{"not_before":"yesterday"}"#,
                Some(Suspicion::UnreadableValue),
            ),
            (
                "revoxy:sub:shop:1",
                r#"{"not_before":1800000000000}"#,
                Some(Suspicion::FutureCutoff),
            ),
        ] {
            assert_eq!(judged(name, value), expected, "{name} {value}");
        }
    }

    #[test]
    fn the_kind_that_was_meant_is_told_and_nothing_that_stands_in_the_name() {
        for (name, meant) in [
            ("revoxy:jti:shopp:alice", "jti"),
            ("revoxy:jit:shop:alice", "jti"),
            ("revoxy:subs:shop:alice", "sub"),
            // A name that resembles a kind is not logged verbatim, either.
            ("revoxy:sue:shop", "sub"),
            ("revoxy:cilent:shop:x", "client"),
            ("revoxy:restord:{1}", "restored"),
            ("revoxy:alice:shop", ""),
            ("revoxy:alice:x", ""),
            ("revoxy:Alice", ""),
            ("revoxy:alice@example.org:x", ""),
            ("revoxy:7f3c:x", ""),
            ("revoxy::x", ""),
            ("x", ""),
        ] {
            assert_eq!(kind(name.as_bytes()), meant, "{name}");
        }
    }
}
