//! The section `issuers`.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::jwt::{IssuerProfile, TokenForm, TokenType, TokenTypeNames, TokenTypeRule};
use crate::keys::KeySource;

use super::document::Document;
use super::issuer_claims;
use super::keys;
use super::problem::Problems;
use super::raw::{RawIssuer, RawKeys, RawTokenType, RawWho};

/// The configuration of one issuer.
#[derive(Clone, Debug)]
pub struct IssuerConfig {
    /// What its tokens must contain.
    pub profile: IssuerProfile,
    /// The source of its keys.
    pub keys: KeySource,
    /// The source of the keys of its refresh tokens, if these have keys of their own.
    pub refresh_keys: Option<KeySource>,
    /// Its path in the configuration, for problems that are found when its keys are read.
    pub path: String,
}

const DEFAULT_LEEWAY: Duration = Duration::from_secs(30);
/// The maximum leeway. Clocks that differ by more are broken, and every token would live that much longer.
const MAX_LEEWAY: Duration = Duration::from_secs(300);
const MAX_NAME: usize = 63;

pub(super) fn read(
    raw: Option<Vec<Option<RawIssuer>>>,
    document: &Document,
    problems: &mut Problems,
) -> Vec<IssuerConfig> {
    let raw = raw.unwrap_or_default();
    if raw.is_empty() {
        problems.push(document.problem(
            "issuers",
            "no issuer: without one, no token can be verified",
        ));
    }
    let (mut names, mut values) = (HashSet::new(), HashSet::new());
    let mut patterns = HashSet::new();
    let mut without_iss = false;
    let mut issuers = Vec::new();
    for (index, raw) in raw.into_iter().enumerate() {
        let path = format!("issuers.{index}");
        let mut reader = Reader {
            path,
            document,
            problems,
        };
        let Some(issuer) = reader.read(raw.unwrap_or_default()) else {
            continue;
        };
        if !names.insert(issuer.profile.name.to_string()) {
            reader.problem("name", "another issuer has the same name");
        }
        let fixed: Vec<_> = issuer.profile.fixed_issuers().cloned().collect();
        if !fixed.into_iter().all(|iss| values.insert(iss)) {
            reader.problem(
                "issuer",
                "another issuer has the same `iss`, or it stands here twice",
            );
        }
        for pattern in &issuer.profile.issuer_patterns {
            if !patterns.insert(pattern.as_str().to_owned()) {
                reader.problem(
                    "issuer_pattern",
                    "another issuer has the same pattern, or it stands here twice",
                );
            }
        }
        if issuer.profile.missing_iss && std::mem::replace(&mut without_iss, true) {
            reader.problem(
                "allow_missing_iss",
                "another issuer has it: a token without `iss` would belong to both",
            );
        }
        issuers.push(issuer);
    }
    issuers
}

struct Reader<'r> {
    path: String,
    document: &'r Document,
    problems: &'r mut Problems,
}

impl Reader<'_> {
    fn problem(&mut self, key: &str, message: &str) {
        let path = format!("{}.{key}", self.path);
        self.problems.push(self.document.problem(&path, message));
    }

    fn read(&mut self, raw: RawIssuer) -> Option<IssuerConfig> {
        let name = self.name(raw.name.clone());
        let mut mistakes = Vec::new();
        let issuer_patterns = issuer_claims::patterns(&raw, &mut mistakes);
        let missing_exp = issuer_claims::missing_exp(&raw, &mut mistakes);
        let identifiers = issuer_claims::identifiers(&raw, &mut mistakes);
        for (key, message) in mistakes {
            self.problem(key, &message);
        }
        let fixed = raw.issuer.map(|many| many.0).unwrap_or_default();
        let mut fixed = fixed.into_iter().filter(|iss| !iss.is_empty());
        let issuer = fixed.next();
        let more_issuers: Vec<_> = fixed.collect();
        if issuer.is_none() && raw.issuer_pattern.is_none() && !raw.allow_missing_iss {
            self.problem(
                "issuer",
                "missing: the value of `iss` in the issuer's tokens; if they have none, say `allow_missing_iss: true`",
            );
        }
        if raw.keys.discovery && !(more_issuers.is_empty() && issuer_patterns.is_empty()) {
            self.problem(
                "keys.discovery",
                "goes with one `issuer`: for several say `jwks_url`",
            );
        }
        if raw.allow_missing_iss && raw.profile == TokenForm::Rfc9068 {
            self.problem(
                "allow_missing_iss",
                "the profile rfc9068 demands `iss` (RFC 9068 §2.2)",
            );
        }
        if raw.allow_missing_iss && raw.verification == RawWho::EnvoyMetadata {
            self.problem(
                "allow_missing_iss",
                "goes with keys of its own: what Envoy has verified is told apart by `iss`",
            );
        }
        if issuer.is_none() && raw.allow_missing_iss && raw.keys.discovery {
            self.problem(
                "keys.discovery",
                "needs `issuer`: the document is found under it",
            );
        }
        let audiences = raw.audiences.clone().unwrap_or_default();
        if raw.audiences.is_some() && audiences.is_empty() {
            self.problem(
                "audiences",
                "empty: name the audiences, or leave the key out to accept any",
            );
        }
        if raw.profile == TokenForm::Rfc9068 && audiences.is_empty() {
            self.problem(
                "audiences",
                "missing: the profile rfc9068 demands one (RFC 9068 §4)",
            );
        }
        let required_claims = raw.required_claims.0;
        if required_claims.iter().any(|c| c.claim.0.is_empty()) {
            self.problem("required_claims", "an empty name");
        }
        let algorithms = raw.algorithms.unwrap_or_default();
        let proxied = raw.verification == RawWho::EnvoyMetadata;
        if proxied && !algorithms.is_empty() {
            self.problem("algorithms", "Envoy verifies the signatures: leave it out");
        }
        if proxied && raw.profile == TokenForm::Rfc9068 {
            self.problem("profile", "the `typ` of a token is not in Envoy's metadata");
        }
        if !proxied && raw.metadata_key.is_some() {
            self.problem("metadata_key", "goes with `verification: envoy_metadata`");
        }
        if !proxied && algorithms.is_empty() {
            self.problem(
                "algorithms",
                "missing: the algorithms the issuer signs with, such as [RS256]",
            );
        }
        let leeway = raw.leeway.map_or(DEFAULT_LEEWAY, |s| s.0);
        if leeway > MAX_LEEWAY {
            self.problem(
                "leeway",
                "more than 5m: the clocks should be set right instead",
            );
        }
        let keys = if proxied {
            self.proxied(&raw.keys, raw.metadata_key)
        } else {
            self.keys(raw.keys, issuer.as_deref())
        };
        let refresh_keys = match raw.refresh_keys {
            None => None,
            Some(_) if proxied => {
                self.problem(
                    "refresh_keys",
                    "Envoy verifies the signatures: leave it out",
                );
                None
            }
            Some(raw) => Some(self.source(keys::read_refresh(raw))?),
        };
        Some(IssuerConfig {
            profile: IssuerProfile {
                name: Arc::from(name?),
                issuer,
                more_issuers,
                issuer_patterns,
                identifiers,
                missing_exp,
                type_of_keys: refresh_keys.is_some().then_some(TokenType::Access),
                missing_iss: raw.allow_missing_iss,
                audiences,
                algorithms,
                leeway,
                token_type: token_type(raw.token_type),
                required_claims,
                form: raw.profile,
                // The other fields are set later, when the lookups are known.
                ..IssuerProfile::default()
            },
            keys: keys?,
            refresh_keys,
            path: self.path.clone(),
        })
    }

    /// Checks the name, which must be plain because it is part of store keys and metric labels.
    fn name(&mut self, name: Option<String>) -> Option<String> {
        let Some(name) = name else {
            self.problem(
                "name",
                "missing: a short name for metrics and store keys, such as `shop`",
            );
            return None;
        };
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(plain) {
            self.problem(
                "name",
                "must be 1 to 63 of the characters a-z, 0-9, `-` and `_`",
            );
            return None;
        }
        Some(name)
    }

    fn proxied(&mut self, raw: &RawKeys, key: Option<String>) -> Option<KeySource> {
        if keys::is_given(raw) {
            self.problem("keys", "Envoy verifies the signatures: leave it out");
        }
        if key.is_none() {
            self.problem(
                "metadata_key",
                "missing: what `payload_in_metadata` of Envoy's jwt_authn says",
            );
        }
        key.map(KeySource::Proxy)
    }

    fn keys(&mut self, raw: RawKeys, issuer: Option<&str>) -> Option<KeySource> {
        self.source(keys::read(raw, issuer))
    }

    fn source(&mut self, read: Result<KeySource, keys::Mistakes>) -> Option<KeySource> {
        match read {
            Ok(source) => Some(source),
            Err(mistakes) => {
                for (key, message) in mistakes {
                    self.problem(&key, &message);
                }
                None
            }
        }
    }
}

fn token_type(raw: RawTokenType) -> TokenTypeRule {
    if raw.claim.is_none() && raw.access.is_none() && raw.refresh.is_none() {
        return TokenTypeRule::Usual;
    }
    let default = TokenTypeNames::default();
    TokenTypeRule::Named(TokenTypeNames {
        claim: raw.claim.unwrap_or(default.claim),
        access: raw.access.unwrap_or(default.access),
        refresh: raw.refresh.unwrap_or(default.refresh),
    })
}
