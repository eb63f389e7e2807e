//! Settings for issuers whose tokens have unusual claims: `iss`, `exp`, and the identifiers of their owners.

use std::time::Duration;

use crate::jwt::{ClaimPath, IdentifierRules, IssPattern, MissingExp, TokenForm};

use super::raw::RawIssuer;
use super::raw_claims::OneOrMany;

/// A hundred years. A longer life counts as unlimited.
const LONGEST_LIFE: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

/// A mistake: the key, relative to the issuer, and what is wrong.
pub(super) type Mistake = (&'static str, String);

/// Reads the patterns of `iss`.
pub(super) fn patterns(raw: &RawIssuer, mistakes: &mut Vec<Mistake>) -> Vec<IssPattern> {
    let mut patterns = Vec::new();
    if raw
        .issuer_pattern
        .as_ref()
        .is_some_and(|many| many.0.is_empty())
    {
        mistakes.push((
            "issuer_pattern",
            "empty: name a pattern, or leave the key out".to_owned(),
        ));
    }
    for text in raw.issuer_pattern.iter().flat_map(|many| &many.0) {
        match IssPattern::parse(text) {
            Ok(pattern) => patterns.push(pattern),
            Err(why) => mistakes.push(("issuer_pattern", format!("{text:?}: {why}"))),
        }
    }
    patterns
}

/// Reads whether tokens without `exp` are accepted, and when they end.
pub(super) fn missing_exp(raw: &RawIssuer, mistakes: &mut Vec<Mistake>) -> Option<MissingExp> {
    let life = raw.max_lifetime.map(|span| span.0);
    if life.is_some() && !raw.allow_missing_exp {
        let message = "goes with `allow_missing_exp: true`: tokens with `exp` end then";
        mistakes.push(("max_lifetime", message.to_owned()));
    }
    if life.is_some_and(|life| life < Duration::from_secs(1) || life > LONGEST_LIFE) {
        mistakes.push(("max_lifetime", "must be from 1s to 100 years".to_owned()));
    }
    if raw.allow_missing_exp && raw.profile == TokenForm::Rfc9068 {
        let message = "the profile rfc9068 demands `exp` (RFC 9068 §2.2)";
        mistakes.push(("allow_missing_exp", message.to_owned()));
    }
    let missing = life.map_or(MissingExp::Never, MissingExp::AfterIssue);
    raw.allow_missing_exp.then_some(missing)
}

/// Reads which claims contain the identifiers.
pub(super) fn identifiers(raw: &RawIssuer, mistakes: &mut Vec<Mistake>) -> IdentifierRules {
    let default = IdentifierRules::default();
    let mut claims = |key, given: &Option<OneOrMany<ClaimPath>>, default| match given {
        None => default,
        Some(OneOrMany(paths)) => {
            if paths.is_empty() || paths.iter().any(|path| path.0.is_empty()) {
                let message =
                    "name a claim, or a list of claims of which the first that is there counts";
                mistakes.push((key, message.to_owned()));
            }
            paths.clone()
        }
    };
    IdentifierRules {
        numeric: raw.allow_numeric_ids,
        subject: claims("sub_claim", &raw.sub_claim, default.subject),
        session: claims("sid_claim", &raw.sid_claim, default.session),
        client: claims("client_claim", &raw.client_claim, default.client),
    }
}
