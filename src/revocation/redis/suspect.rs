//! Keys under our prefix that do not say what somebody meant: of no kind, of no issuer, with a value or a cutoff that must be a mistake.
//!
//! Redis answers `OK` to whoever writes such a key, so only a look at the keys finds it. Each is told and counted once.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::metrics::FeedMetrics;

use super::super::key::PREFIX;
use super::super::statement::Cutoff;
use super::format::Stated;

/// More keys than this are neither told nor counted.
const MOST: usize = 10_000;
/// A cutoff that is further ahead refuses logins that are yet to come.
const SOON: Duration = Duration::from_secs(3600);

/// What is wrong with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Suspicion {
    UnknownKind,
    UnknownIssuer,
    UnreadableValue,
    FutureCutoff,
}

impl Suspicion {
    /// In the order of their declaration.
    pub(super) const ALL: [Self; 4] = [
        Self::UnknownKind,
        Self::UnknownIssuer,
        Self::UnreadableValue,
        Self::FutureCutoff,
    ];

    /// The label of the metric.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::UnknownKind => "unknown_kind",
            Self::UnknownIssuer => "unknown_issuer",
            Self::UnreadableValue => "unreadable_value",
            Self::FutureCutoff => "future_cutoff",
        }
    }

    /// What it means, and what to do.
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

/// What is wrong with a name that is no key of ours; `None` where it does not look like one.
pub(super) fn judge_name(name: &[u8]) -> Option<Suspicion> {
    name.starts_with(PREFIX.as_bytes())
        .then_some(Suspicion::UnknownKind)
}

/// What is wrong with a revocation; `None` where nothing is. `issuers`: the names that are configured, empty where they are not known.
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
    match stated.revoked {
        Some((Cutoff::IssuedUpTo(cutoff), _)) if cutoff > now.plus(SOON) => {
            Some(Suspicion::FutureCutoff)
        }
        _ => None,
    }
}

/// The issuer in `revoxy:<kind>:<issuer>:<value>`.
fn issuer_in(name: &[u8]) -> Option<&[u8]> {
    name.split(|b| *b == b':').nth(2)
}

/// The keys that have been told.
#[derive(Clone)]
pub(super) struct Suspects {
    issuers: Arc<[String]>,
    told: Arc<Mutex<HashSet<u64>>>,
    hasher: RandomState,
    metrics: FeedMetrics,
}

impl Suspects {
    pub(super) fn new(issuers: Vec<String>, metrics: FeedMetrics) -> Self {
        Self {
            issuers: issuers.into(),
            told: Arc::default(),
            hasher: RandomState::new(),
            metrics,
        }
    }

    /// Looks at a revocation as it was read.
    pub(super) fn look_at(&self, name: &[u8], stated: &Stated, now: Timestamp) {
        if let Some(found) = judge(name, stated, &self.issuers, now) {
            self.tell(name, found);
        }
    }

    /// Looks at the name of a key that is not read, because it means nothing.
    pub(super) fn look_at_name(&self, name: &[u8]) {
        if let Some(found) = judge_name(name) {
            self.tell(name, found);
        }
    }

    fn tell(&self, name: &[u8], found: Suspicion) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= MOST || !told.insert(self.hasher.hash_one((name, found.label()))) {
            return;
        }
        self.metrics.suspect(found.label());
        // Not the name, which says who is meant.
        tracing::warn!(
            kind = kind(name),
            problem = found.label(),
            meaning = found.meaning(),
            "a key in Redis does not say what somebody meant; `revoxy doctor` counts such keys"
        );
    }
}

/// The part of a name that says the kind, if it can be nothing else.
fn kind(name: &[u8]) -> &str {
    let rest = name.strip_prefix(PREFIX.as_bytes()).unwrap_or_default();
    let end = rest.iter().position(|b| *b == b':').unwrap_or(0);
    let kind = str::from_utf8(&rest[..end.min(16)]).unwrap_or_default();
    match kind.bytes().all(|b| b.is_ascii_lowercase()) {
        true => kind,
        false => "",
    }
}

#[cfg(test)]
mod tests {
    use super::super::stored::StoredKey;
    use super::*;

    fn judged(name: &str, value: &str) -> Option<Suspicion> {
        let issuers = ["shop".to_owned()];
        let now = Timestamp::from_secs(1_800_000_000);
        let stated = Stated::read(Some(value.as_bytes()));
        match StoredKey::parse(name.as_bytes()) {
            None => judge_name(name.as_bytes()),
            Some(StoredKey::Native(_)) => judge(name.as_bytes(), &stated, &issuers, now),
            Some(_) => None,
        }
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
    fn the_kind_is_told_and_nothing_that_could_be_a_name() {
        assert_eq!(kind(b"revoxy:jit:shop:alice"), "jit");
        for name in [
            "revoxy:Alice",
            "revoxy:alice@example.org:x",
            "revoxy:7f3c:x",
            "x",
        ] {
            assert_eq!(kind(name.as_bytes()), "", "{name}");
        }
    }
}
