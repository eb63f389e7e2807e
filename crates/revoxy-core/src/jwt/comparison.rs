//! Compares a refused token with the configuration, to help an operator find the cause. Checks never use
//! this.
//!
//! The token may be forged by anybody, so everything in it is quoted, escaped and truncated.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::clock::Timestamp;

use super::claim_path::ClaimPath;
use super::claims::UnverifiedClaims;
use super::compact::CompactToken;
use super::compact::MAX_TOKEN_BYTES;
use super::error::VerifyError;
use super::issuer::{Issuer, IssuerProfile};
use super::refusal::ClaimName;
use super::rejection::Rejection;
use super::verifier::Verifier;

/// The maximum number of values shown of a list, and of characters shown of one value.
const SHOWN: usize = 10;
const SHOWN_CHARS: usize = 120;

impl Verifier {
    /// Compares `token`, which was refused at `now` with `error`, with the configuration. Returns `None` if
    /// the comparison adds nothing to the error.
    pub fn compare(&self, token: &str, error: &VerifyError, now: Timestamp) -> Option<String> {
        let text = token;
        let Ok(token) = CompactToken::parse(text) else {
            return match error {
                VerifyError::Rejected(refusal) => form(text, refusal.reason),
                VerifyError::KeysUnavailable | VerifyError::KeysPending(_) => None,
            };
        };
        let claims = &token.payload;
        let unverified = UnverifiedClaims(claims);
        let iss = unverified.issuer().ok().flatten();
        let Ok(issuer) = self.issuer(iss) else {
            return Some(format!(
                "iss {}, configured: {}{}",
                said(claims.get("iss")),
                list(self.configured_issuers()),
                iss.map_or(String::new(), |iss| self.near_miss(iss))
            ));
        };
        match error {
            VerifyError::Rejected(refusal) => match refusal.reason {
                Rejection::UnknownKey => Some(keys(issuer, &token.header)),
                Rejection::AlgorithmNotAllowed => Some(algorithm(issuer, &token.header)),
                Rejection::Unsupported => Some(format!("header {}", shown_members(&token.header))),
                reason => of_claims(
                    issuer.profile(),
                    claims,
                    reason,
                    refusal.claim.as_ref(),
                    now,
                ),
            },
            VerifyError::KeysUnavailable | VerifyError::KeysPending(_) => {
                Some(keys(issuer, &token.header))
            }
        }
    }

    fn configured_issuers(&self) -> impl Iterator<Item = String> {
        let mut fixed: Vec<_> = self.issuers.keys().map(|iss| format!("{iss:?}")).collect();
        fixed.sort_unstable();
        let of_issuer = |issuer: &Arc<Issuer>| issuer.profile().issuer_patterns.clone();
        let patterns = self.by_pattern.iter().flat_map(of_issuer);
        let patterns = patterns.map(|p| format!("the pattern {:?}", p.as_str()));
        let none = self.without_iss.iter().map(|_| "no iss at all".to_owned());
        fixed.into_iter().chain(patterns).chain(none)
    }

    /// Finds a configured value that is easily mistaken for this one.
    fn near_miss(&self, iss: &str) -> String {
        let plain = |iss: &str| iss.trim_end_matches('/').to_ascii_lowercase();
        let mut fixed = self.issuers.keys();
        match fixed.find(|configured| plain(configured) == plain(iss)) {
            Some(configured) => format!(
                "; {configured:?} differs by a slash at the end or by case, which counts (RFC 7519 §4.1.1)"
            ),
            None => String::new(),
        }
    }
}

/// Describes what is wrong with the form of a token that cannot be parsed.
fn form(token: &str, reason: Rejection) -> Option<String> {
    match reason {
        Rejection::TooLarge => {
            let bytes = token.len();
            Some(format!("{bytes} bytes, at most {MAX_TOKEN_BYTES}"))
        }
        Rejection::Unsupported => Some(match token.matches('.').count() {
            2 => "it has no signature, as an unsecured token (RFC 7519 §6)".to_owned(),
            _ => "it has five parts, as an encrypted token (RFC 7516)".to_owned(),
        }),
        Rejection::Malformed => {
            // The characters that are most often copied along with a token.
            let stray = token
                .chars()
                .find(|c| !c.is_ascii_alphanumeric() && !"-_.".contains(*c));
            let parts = token.split('.').count();
            match stray {
                Some(stray) => Some(format!("it has the character {stray:?}, which no JWT has")),
                None if parts != 3 => Some(format!("parts: {parts}, a signed JWT has three")),
                None => None,
            }
        }
        _ => None,
    }
}

/// Shows the token's `kid` and those of the issuer's keys.
fn keys(issuer: &Issuer, header: &Map<String, Value>) -> String {
    let sets = [
        Some(issuer.keys()),
        issuer.refresh().map(|refresh| refresh.keys()),
    ];
    let keys = sets.iter().flatten().flat_map(|keys| keys.all());
    let keys: Vec<_> = keys
        .map(|key| match key.kid() {
            Some(kid) => format!("{kid:?} ({})", key.algorithms()),
            None => format!("one without kid ({})", key.algorithms()),
        })
        .collect();
    if keys.is_empty() {
        return "no key of the issuer is there; keys with a URL have to be fetched".to_owned();
    }
    format!(
        "kid {}, alg {}; the issuer has: {}",
        said(header.get("kid")),
        said(header.get("alg")),
        list(keys.into_iter())
    )
}

fn algorithm(issuer: &Issuer, header: &Map<String, Value>) -> String {
    let allowed = issuer.profile().algorithms.iter();
    format!(
        "alg {}, configured: {}",
        said(header.get("alg")),
        list(allowed.map(|a| a.as_str().to_owned()))
    )
}

fn of_claims(
    profile: &IssuerProfile,
    claims: &Map<String, Value>,
    reason: Rejection,
    claim: Option<&ClaimName>,
    now: Timestamp,
) -> Option<String> {
    let date = |name: &'static str, leeway: bool| {
        let date = UnverifiedClaims(claims).date(name).ok().flatten()?;
        let leeway = match leeway {
            true => format!(", leeway {}s", profile.leeway.as_secs()),
            false => String::new(),
        };
        Some(format!("{name} {}{leeway}", moment(date, now)))
    };
    let audiences = || list(profile.audiences.iter().map(|a| format!("{a:?}")));
    match (reason, claim) {
        // A token without `exp` ends a configured time after `iat`.
        (Rejection::Expired, _) => {
            let leeway = profile.exact_exp.is_empty();
            date("exp", leeway).or_else(|| date("iat", false))
        }
        (Rejection::NotYetValid, _) => date("nbf", true),
        (Rejection::IssuedInFuture, _) => date("iat", true),
        (Rejection::WrongAudience, _) => {
            let found = said(claims.get("aud"));
            Some(format!("aud {found}, configured: {}", audiences()))
        }
        (Rejection::MissingClaim, Some(name)) if name == "aud" => {
            Some(format!("configured: {}", audiences()))
        }
        (_, Some(name)) => value(profile, claims, name),
        (_, None) => None,
    }
}

/// Shows the value of a claim, and the values that are required.
fn value(profile: &IssuerProfile, claims: &Map<String, Value>, name: &str) -> Option<String> {
    let found = ClaimPath(name.to_owned());
    let found = found.value(claims);
    let found = found.map(|found| format!("found {}", said(Some(found))));
    let required = profile.required_claims.iter();
    let mut required = required.filter(|r| r.claim.0 == name && !r.values.is_empty());
    let wanted = required.next().map(|required| {
        let values = required.values.iter().map(|value| said(Some(value)));
        format!("configured: {}", list(values))
    });
    let both: Vec<_> = found.into_iter().chain(wanted).collect();
    (!both.is_empty()).then(|| both.join(", "))
}

/// Shows an instant, and its distance from `now`.
fn moment(at: Timestamp, now: Timestamp) -> String {
    let text = at.rfc3339();
    match at > now {
        true => format!("{text} (in {}s)", at.since(now).as_secs()),
        false => format!("{text} ({}s ago)", now.since(at).as_secs()),
    }
}

fn shown_members(members: &Map<String, Value>) -> String {
    list(
        members
            .iter()
            .map(|(name, value)| format!("{} {}", cut(&format!("{name:?}")), said(Some(value)))),
    )
}

/// Shows a value as spelled in the token.
fn said(value: Option<&Value>) -> String {
    match value {
        None => "is missing".to_owned(),
        Some(Value::String(text)) => cut(&format!("{text:?}")),
        // JSON escapes ASCII control characters. Other control characters must not reach a terminal either.
        Some(value) => cut(&value.to_string().replace(char::is_control, "?")),
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Lists at most [`SHOWN`] of the values.
fn list(values: impl Iterator<Item = String>) -> String {
    let values: Vec<_> = values.collect();
    let shown = values[..values.len().min(SHOWN)].join(", ");
    match values.len() {
        0 => "nothing".to_owned(),
        count if count > SHOWN => format!("{shown} and {} more", count - SHOWN),
        _ => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unsecured_token_is_told_from_an_encrypted_one() {
        for (token, said) in [
            ("header.payload.", "it has no signature"),
            ("header.key.iv.text.tag", "it has five parts"),
        ] {
            let found = form(token, Rejection::Unsupported).unwrap();
            assert!(found.starts_with(said), "{token}: {found}");
        }
    }
}
