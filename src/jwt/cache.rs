//! The cache of verified tokens: a token that was verified once costs a hash and a probe from then on.
//!
//! What makes it safe:
//!
//! - The key is the whole SHA-256 of the compact token, signature included: neither a prefix nor a claim, so that no
//!   other token can find the entry.
//! - Only tokens that passed every check are put in; a forged one leaves no trace.
//! - An entry counts only as long as the issuer has the very key set that verified it. It holds on to that set, and a hit compares
//!   pointers: a set that was replaced while the token was being verified cannot slip in under its successor.
//! - `exp`, `nbf` and `iat` are judged again on every hit, because time goes on, and clocks are set back.
//! - Revocation is not in here. It is looked up on every check.

use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::Arc;

use quick_cache::UnitWeighter;
use quick_cache::sync::{Cache, DefaultLifecycle};

use crate::clock::Timestamp;

use super::claims::{Times, VerifiedClaims};
use super::error::VerifyError;
use super::issuer::Issuer;
use super::key::KeySet;
use super::proxied::Proxied;
use super::verifier::{MAX_TOKEN_BYTES, Verifier, sha256};

/// A verified token and what is derived from its claims once.
#[derive(Debug)]
pub struct VerifiedToken<D> {
    claims: VerifiedClaims,
    derived: D,
    issuer: Arc<Issuer>,
    keys: Arc<KeySet>,
}

impl<D> VerifiedToken<D> {
    /// The claims.
    pub fn claims(&self) -> &VerifiedClaims {
        &self.claims
    }

    /// What was derived from them.
    pub fn derived(&self) -> &D {
        &self.derived
    }

    fn has_current_keys(&self) -> bool {
        Arc::ptr_eq(&self.keys, &self.issuer.keys())
    }
}

type Entries<D> = Cache<
    TokenHash,
    Arc<VerifiedToken<D>>,
    UnitWeighter,
    BuildHasherDefault<FirstBytes>,
    DefaultLifecycle<TokenHash, Arc<VerifiedToken<D>>>,
>;

/// Makes of verified claims, and of the compact token that they came in, what is kept with them.
type Derive<D> = Box<dyn Fn(&VerifiedClaims, Option<&str>) -> D + Send + Sync>;

/// A [`Verifier`] that remembers.
pub struct CachingVerifier<D> {
    verifier: Arc<Verifier>,
    derive: Derive<D>,
    entries: Option<Entries<D>>,
}

impl<D> CachingVerifier<D> {
    /// Remembers at most `capacity` tokens, none if it is 0, each with what `derive` makes of its claims and of the
    /// compact token. That is not there where the proxy has verified it: its signature may have been spelled anew since.
    pub fn new(
        verifier: Arc<Verifier>,
        capacity: usize,
        derive: impl Fn(&VerifiedClaims, Option<&str>) -> D + Send + Sync + 'static,
    ) -> Self {
        let entries = || {
            Cache::with(
                capacity,
                capacity as u64,
                UnitWeighter,
                BuildHasherDefault::default(),
                DefaultLifecycle::default(),
            )
        };
        Self {
            verifier,
            derive: Box::new(derive),
            entries: (capacity > 0).then(entries),
        }
    }

    /// Verifies a token as it stands at `now`: like [`Verifier::verify`], only faster the second time.
    pub fn verify(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<Arc<VerifiedToken<D>>, VerifyError> {
        // What is too long for a token is not hashed either.
        let Some(entries) = self
            .entries
            .as_ref()
            .filter(|_| token.len() <= MAX_TOKEN_BYTES)
        else {
            return self.verify_anew(token, now);
        };
        let hash = TokenHash(sha256(token.as_bytes()));
        if let Some(known) = entries.get(&hash) {
            if known.has_current_keys() {
                known.claims.judge_times(now, Times::Judged)?;
                return Ok(known);
            }
            entries.remove(&hash);
        }
        let verified = self.verify_anew(token, now)?;
        entries.insert(hash, Arc::clone(&verified));
        Ok(verified)
    }

    /// Takes the proxy's word for the signature. Nothing is remembered: there is nothing that could be saved.
    pub fn accept(
        &self,
        proxied: Proxied<'_>,
        now: Timestamp,
    ) -> Result<Arc<VerifiedToken<D>>, VerifyError> {
        let (claims, issuer) = self.verifier.accept(proxied, now)?;
        Ok(Arc::new(VerifiedToken {
            derived: (self.derive)(&claims, None),
            claims,
            keys: Arc::clone(&issuer.keys()),
            issuer,
        }))
    }

    /// The verifier without the cache.
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    fn verify_anew(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<Arc<VerifiedToken<D>>, VerifyError> {
        let (claims, issuer, keys) = self.verifier.verify_with(token, now, Times::Judged)?;
        Ok(Arc::new(VerifiedToken {
            derived: (self.derive)(&claims, Some(token)),
            claims,
            issuer,
            keys,
        }))
    }
}

/// SHA-256 of the compact token.
#[derive(Clone, PartialEq, Eq)]
struct TokenHash([u8; 32]);

impl Hash for TokenHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

/// The first eight bytes of what is a hash already. Equality is that of all 32.
#[derive(Default)]
struct FirstBytes(u64);

impl Hasher for FirstBytes {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
