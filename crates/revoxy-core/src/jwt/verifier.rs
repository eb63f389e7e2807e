//! The [`Verifier`]: the only place that makes [`VerifiedClaims`].

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::Guard;

use crate::clock::Timestamp;
use crate::digest::sha256;

use super::claims::{Provenance, Times, UnverifiedClaims, VerifiedClaims};
use super::compact::CompactToken;
use super::error::{PendingKeys, VerifyError};
use super::header::Header;
use super::issuer::Issuer;
use super::key::{KeySet, VerificationKey};
use super::refusal::Refusal;
use super::rejection::Rejection;
use super::trace::{Stage, Steps, Trace, Untraced};

/// Verifies tokens of the configured issuers.
#[derive(Debug)]
pub struct Verifier {
    pub(super) issuers: HashMap<String, Arc<Issuer>>,
    /// The issuers with patterns of `iss`, tried if no fixed value matches.
    pub(super) by_pattern: Vec<Arc<Issuer>>,
    /// The issuer of tokens without `iss`.
    pub(super) without_iss: Option<Arc<Issuer>>,
    /// The metadata keys under which the proxy puts claims that it has verified; empty if no issuer is
    /// configured so.
    pub(super) proxy_keys: BTreeSet<String>,
}

impl Verifier {
    /// Creates a verifier for these issuers, each found by its `iss`; one of them may own the tokens without
    /// `iss`.
    pub fn new(issuers: impl IntoIterator<Item = Arc<Issuer>>) -> Self {
        let mut verifier = Self {
            issuers: HashMap::new(),
            by_pattern: Vec::new(),
            without_iss: None,
            proxy_keys: BTreeSet::new(),
        };
        for issuer in issuers {
            let proxy_key = issuer.proxy_key().map(str::to_owned);
            verifier.proxy_keys.extend(proxy_key);
            if issuer.profile().missing_iss {
                verifier.without_iss = Some(Arc::clone(&issuer));
            }
            let profile = issuer.profile();
            for iss in profile.fixed_issuers() {
                verifier.issuers.insert(iss.clone(), Arc::clone(&issuer));
            }
            if !profile.issuer_patterns.is_empty() {
                verifier.by_pattern.push(issuer);
            }
        }
        verifier
    }

    pub(super) fn issuers(&self) -> impl Iterator<Item = &Arc<Issuer>> {
        self.issuers.values().chain(&self.by_pattern)
    }

    /// Returns the leeway of the issuer with this configured name; `None` if there is no such issuer.
    pub fn leeway_of(&self, name: &str) -> Option<Duration> {
        let mut issuers = self.issuers().chain(&self.without_iss);
        let issuer = issuers.find(|issuer| &*issuer.profile().name == name)?;
        Some(issuer.profile().leeway)
    }

    /// Returns the issuer of a token with this `iss`, or without one.
    pub(super) fn issuer(&self, iss: Option<&str>) -> Result<&Arc<Issuer>, Refusal> {
        match iss {
            Some(iss) => match self.issuers.get(iss) {
                Some(issuer) => Ok(issuer),
                None => self
                    .matching(iss)
                    .ok_or_else(|| Rejection::UnknownIssuer.into()),
            },
            None => {
                let own = self.without_iss.as_ref();
                own.ok_or_else(|| Rejection::MissingClaim.because_of("iss"))
            }
        }
    }

    /// Returns the only issuer with a matching pattern; `None` if two issuers match.
    fn matching(&self, iss: &str) -> Option<&Arc<Issuer>> {
        let patterns = |issuer: &&Arc<Issuer>| {
            let patterns = &issuer.profile().issuer_patterns;
            patterns.iter().any(|pattern| pattern.matches(iss))
        };
        let mut matching = self.by_pattern.iter().filter(patterns);
        match (matching.next(), matching.next()) {
            (Some(issuer), None) => Some(issuer),
            _ => None,
        }
    }

    /// Verifies a token at `now`.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<VerifiedClaims, VerifyError> {
        let (claims, ..) = self.verify_with(token, now, Times::Judged)?;
        Ok(claims)
    }

    /// Verifies a token and returns every step.
    pub fn explain(
        &self,
        token: &str,
        now: Timestamp,
    ) -> (Result<VerifiedClaims, VerifyError>, Steps) {
        let mut steps = Steps::default();
        let verified = self.verify_traced(token, now, Times::Judged, &mut steps);
        (verified.map(|(claims, ..)| claims), steps)
    }

    /// Also returns the issuer and the key set that verified the token.
    pub(super) fn verify_with(
        &self,
        token: &str,
        now: Timestamp,
        times: Times,
    ) -> Result<(VerifiedClaims, Arc<Issuer>, Arc<KeySet>), VerifyError> {
        self.verify_traced(token, now, times, &mut Untraced)
    }

    fn verify_traced(
        &self,
        token: &str,
        now: Timestamp,
        times: Times,
        trace: &mut impl Trace,
    ) -> Result<(VerifiedClaims, Arc<Issuer>, Arc<KeySet>), VerifyError> {
        let bytes = token.len();
        let token = CompactToken::parse(token)?;
        trace.passed(Stage::Form, || format!("{bytes} bytes in three parts"));

        let header = Header::read(&token.header)?;
        trace.passed(Stage::Header, || header.to_string());

        let claims = UnverifiedClaims(&token.payload);
        let issuer = self.issuer(claims.issuer()?)?;
        if issuer.proxy_key().is_some() {
            return Err(Rejection::NotVerifiedByProxy.into());
        }
        let profile = issuer.profile();
        trace.passed(Stage::Issuer, || profile.name.to_string());

        if !profile.form.accepts(header.typ.as_deref()) {
            return Err(Rejection::Unsupported.into());
        }
        if !profile.algorithms.contains(&header.algorithm) {
            return Err(Rejection::AlgorithmNotAllowed.into());
        }
        trace.passed(Stage::Algorithm, || header.algorithm.as_str().to_owned());

        // Refresh tokens may have keys of their own. Only the signature identifies a refresh token.
        let refresh = issuer
            .refresh()
            .and_then(|refresh| Some((refresh, keys_that_signed(refresh, &header, &token)?)));
        let is_verified = refresh.is_some();
        let (issuer, keys) = refresh.unwrap_or_else(|| (issuer, issuer.keys()));
        let profile = issuer.profile();
        let key = keys
            .select(header.kid, header.algorithm)
            .map_err(|rejection| missing_key(issuer, &keys, rejection))?;
        trace.passed(Stage::Key, || described(key, keys.len()));

        let verifies = || key.verifies(token.signing_input, token.signature, header.algorithm);
        if !is_verified && !verifies() {
            return Err(Rejection::BadSignature.into());
        }
        trace.passed(Stage::Signature, || "is the key's".to_owned());

        let provenance = Provenance {
            digest: sha256(token.signing_input.as_bytes()),
            // The `kid` in the key set takes precedence, because a token need not contain the `kid` of the
            // key that signed it.
            kid: key.kid().or(header.kid),
            key_thumbprint: key.thumbprint().cloned(),
            typ: header.typ.as_deref(),
            proxied: false,
        };
        let claims = claims.judge(profile, &provenance, now, times)?;
        trace.passed(Stage::Claims, || claims.describe(now));
        Ok((claims, Arc::clone(issuer), Arc::clone(&keys)))
    }
}

/// Describes a key, one of `count`.
fn described(key: &VerificationKey, count: usize) -> String {
    let name = match key.kid() {
        Some(kid) => format!("{kid:?}"),
        None => "one without kid".to_owned(),
    };
    let thumbprint = match key.thumbprint() {
        Some(thumbprint) => format!(", thumbprint {thumbprint}"),
        None => String::new(),
    };
    format!("{name}, one of {count}{thumbprint}")
}

/// Returns the issuer's current keys, if the key that the token names has signed it.
fn keys_that_signed(
    issuer: &Issuer,
    header: &Header<'_>,
    token: &CompactToken<'_>,
) -> Option<Guard<Arc<KeySet>>> {
    let keys = issuer.keys();
    let key = keys.select(header.kid, header.algorithm).ok()?;
    let verifies = key.verifies(token.signing_input, token.signature, header.algorithm);
    verifies.then_some(keys)
}

/// Returns the error for a token whose key is missing.
fn missing_key(issuer: &Arc<Issuer>, keys: &KeySet, rejection: Rejection) -> VerifyError {
    match PendingKeys::ask(issuer, keys.is_empty()) {
        Some(pending) => VerifyError::KeysPending(pending),
        None if keys.is_empty() => VerifyError::KeysUnavailable,
        None => rejection.into(),
    }
}

/// Installs the cryptographic library for the whole process and tests it once, so that a broken build fails
/// at start and not at the first token.
pub fn install_crypto() -> Result<(), String> {
    // A second call in the same process (in tests) finds the provider installed, which is fine.
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    // RFC 4231 §4.3, test case 2: HMAC-SHA-256 of a known text with a known key.
    let key = jsonwebtoken::DecodingKey::from_secret(b"Jefe");
    let known = "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM";
    match jsonwebtoken::crypto::verify(
        known,
        b"what do ya want for nothing?",
        &key,
        jsonwebtoken::Algorithm::HS256,
    ) {
        Ok(true) => Ok(()),
        _ => Err("the cryptographic self-test failed".to_owned()),
    }
}
