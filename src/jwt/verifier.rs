//! The [`Verifier`]: the only maker of [`VerifiedClaims`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;

use crate::clock::Timestamp;

use super::claims::{Provenance, Times, UnverifiedClaims, VerifiedClaims};
use super::compact::CompactToken;
use super::error::{PendingKeys, Rejection, VerifyError};
use super::header::Header;
use super::issuer::Issuer;
use super::key::KeySet;
use super::trace::{Stage, Steps, Trace, Untraced};

/// The largest token that is looked at: Envoy's own limit on all headers together is 60 KiB.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// Verifies tokens of the configured issuers.
#[derive(Debug)]
pub struct Verifier {
    issuers: HashMap<String, Arc<Issuer>>,
    /// Those who have patterns of `iss`, tried where no value is the same.
    by_pattern: Vec<Arc<Issuer>>,
    /// Whose the tokens without `iss` are.
    without_iss: Option<Arc<Issuer>>,
}

impl Verifier {
    /// A verifier for these issuers, each found by its `iss`; one of them may own the tokens that have none.
    pub fn new(issuers: impl IntoIterator<Item = Arc<Issuer>>) -> Self {
        let mut verifier = Self {
            issuers: HashMap::new(),
            by_pattern: Vec::new(),
            without_iss: None,
        };
        for issuer in issuers {
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

    /// The leeway of the issuer of this configured name; `None` where there is none of the name.
    pub fn leeway_of(&self, name: &str) -> Option<Duration> {
        let mut issuers = self.issuers().chain(&self.without_iss);
        let issuer = issuers.find(|issuer| &*issuer.profile().name == name)?;
        Some(issuer.profile().leeway)
    }

    /// Whose token it is that says this, or nothing, in `iss`.
    pub(super) fn issuer(&self, iss: Option<&str>) -> Result<&Arc<Issuer>, Rejection> {
        match iss {
            Some(iss) => match self.issuers.get(iss) {
                Some(issuer) => Ok(issuer),
                None => self.matching(iss).ok_or(Rejection::UnknownIssuer),
            },
            None => self.without_iss.as_ref().ok_or(Rejection::MissingClaim),
        }
    }

    /// The one issuer with a pattern that matches; of two, neither.
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

    /// Verifies a token as it stands at `now`.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<VerifiedClaims, VerifyError> {
        let (claims, ..) = self.verify_with(token, now, Times::Judged)?;
        Ok(claims)
    }

    /// Verifies a token and tells every step.
    pub fn explain(
        &self,
        token: &str,
        now: Timestamp,
    ) -> (Result<VerifiedClaims, VerifyError>, Steps) {
        let mut steps = Steps::default();
        let verified = self.verify_traced(token, now, Times::Judged, &mut steps);
        (verified.map(|(claims, ..)| claims), steps)
    }

    /// Also returns whose token it is and the key set that verified it.
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

        // Refresh tokens may have keys of their own. Which they are, only the signature says.
        let refresh = issuer.refresh();
        let issuer = match refresh.filter(|refresh| has_signed(refresh, &header, &token)) {
            Some(refresh) => refresh,
            None => issuer,
        };
        let profile = issuer.profile();
        let keys = issuer.keys();
        let key = keys
            .select(header.kid, header.algorithm)
            .map_err(|rejection| missing_key(issuer, &keys, rejection))?;
        trace.passed(Stage::Key, || {
            let name = match key.kid() {
                Some(kid) => format!("{kid:?}"),
                None => "one without kid".to_owned(),
            };
            let thumbprint = match key.thumbprint() {
                Some(thumbprint) => format!(", thumbprint {thumbprint}"),
                None => String::new(),
            };
            format!("{name}, one of {}{thumbprint}", keys.len())
        });

        if !key.verifies(token.signing_input, token.signature, header.algorithm) {
            return Err(Rejection::BadSignature.into());
        }
        trace.passed(Stage::Signature, || "is the key's".to_owned());

        let provenance = Provenance {
            digest: sha256(token.signing_input.as_bytes()),
            // The key's own name first: a token need not say with which key it was signed.
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

/// Whether the token's signature is of one of the issuer's present keys.
fn has_signed(issuer: &Issuer, header: &Header<'_>, token: &CompactToken<'_>) -> bool {
    let keys = issuer.keys();
    let key = keys.select(header.kid, header.algorithm);
    key.is_ok_and(|key| key.verifies(token.signing_input, token.signature, header.algorithm))
}

/// The answer when a token's key is not there.
fn missing_key(issuer: &Arc<Issuer>, keys: &KeySet, rejection: Rejection) -> VerifyError {
    match PendingKeys::ask(issuer, keys.is_empty()) {
        Some(pending) => VerifyError::KeysPending(pending),
        None if keys.is_empty() => VerifyError::KeysUnavailable,
        None => rejection.into(),
    }
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

/// Installs the cryptographic library for the whole process and tries it once, so that a wrong build fails at
/// start and not at the first token.
pub fn install_crypto() -> Result<(), String> {
    // A second call in the same process (tests) finds the provider in place, which is as good.
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    // RFC 4231 §4.3, test case 2: HMAC-SHA-256 of a known text under a known key.
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
