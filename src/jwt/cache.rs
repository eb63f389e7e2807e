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
//!
//! What it takes is bounded in bytes: an issuer may sign tokens of 16 KiB as well as of 500 bytes.

use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::Arc;

use quick_cache::Weighter;
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
    /// The most that it takes while it is remembered.
    bytes: u64,
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
    Bytes,
    BuildHasherDefault<FirstBytes>,
    DefaultLifecycle<TokenHash, Arc<VerifiedToken<D>>>,
>;

/// How much is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheLimits {
    /// So many tokens; none if it is 0.
    pub entries: usize,
    /// So many bytes.
    pub bytes: usize,
}

impl CacheLimits {
    /// Room for 65,536 tokens of 768 bytes.
    pub const DEFAULT_BYTES: usize = 160 << 20;
}

impl From<usize> for CacheLimits {
    fn from(entries: usize) -> Self {
        Self {
            entries,
            bytes: Self::DEFAULT_BYTES,
        }
    }
}

/// What is remembered at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheSize {
    /// Tokens.
    pub entries: usize,
    /// Bytes that they take, estimated from above.
    pub bytes: u64,
}

/// The weight of an entry in bytes, and never less than what keeps the number of entries in bounds.
#[derive(Clone)]
struct Bytes {
    least: u64,
}

impl<D> Weighter<TokenHash, Arc<VerifiedToken<D>>> for Bytes {
    fn weight(&self, _: &TokenHash, token: &Arc<VerifiedToken<D>>) -> u64 {
        token.bytes.max(self.least)
    }
}

/// The most that a token of this length takes: its claims as texts, and again in the keys under which it is looked up.
/// Measured with tokens of 16 KiB: 24 KiB.
fn bytes_of(token: &str) -> u64 {
    1024 + 2 * token.len() as u64
}

/// Makes of verified claims, and of the compact token that they came in, what is kept with them.
type Derive<D> = Box<dyn Fn(&VerifiedClaims, Option<&str>) -> D + Send + Sync>;

/// A [`Verifier`] that remembers.
pub struct CachingVerifier<D> {
    verifier: Arc<Verifier>,
    derive: Derive<D>,
    entries: Option<Entries<D>>,
}

impl<D> CachingVerifier<D> {
    /// Remembers tokens within `limits` (of a number, so many, by default in
    /// [`CacheLimits::DEFAULT_BYTES`]), each with what `derive` makes of its claims and of the
    /// compact token. That is not there where the proxy has verified it: its signature may have been spelled anew since.
    pub fn new(
        verifier: Arc<Verifier>,
        limits: impl Into<CacheLimits>,
        derive: impl Fn(&VerifiedClaims, Option<&str>) -> D + Send + Sync + 'static,
    ) -> Self {
        let limits = limits.into();
        let entries = || {
            let bytes = limits.bytes as u64;
            let least = bytes / limits.entries as u64;
            Cache::with(
                limits.entries,
                bytes,
                Bytes { least },
                BuildHasherDefault::default(),
                DefaultLifecycle::default(),
            )
        };
        Self {
            verifier,
            derive: Box::new(derive),
            entries: (limits.entries > 0).then(entries),
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
            bytes: 0,
        }))
    }

    /// How much is remembered.
    pub fn size(&self) -> CacheSize {
        let size = |entries: &Entries<D>| CacheSize {
            entries: entries.len(),
            bytes: entries.weight(),
        };
        self.entries.as_ref().map_or_else(CacheSize::default, size)
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
            bytes: bytes_of(token),
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
