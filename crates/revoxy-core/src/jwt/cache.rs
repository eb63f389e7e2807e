//! The cache of verified tokens: verifying a token again costs only a hash and a lookup.
//!
//! Why the cache is safe:
//!
//! - The key is the full SHA-256 of the compact token, signature included, rather than a prefix or a claim,
//!   so no other token can find the entry.
//! - Only tokens that passed every check are inserted; a forged token leaves no trace.
//! - An entry is valid only while the issuer still has the key set that verified the token. The entry keeps a
//!   reference to that set, and a hit compares pointers: if the set was replaced while the token was being
//!   verified, the entry is not valid under the new set.
//! - `exp`, `nbf` and `iat` are judged again on every hit, because time passes, and because the clock may be
//!   set back.
//! - Revocations are not cached. They are looked up on every check.
//!
//! The cache is limited in bytes as well as in entries, because an issuer may sign tokens of 16 KiB as well
//! as of 500 bytes.

use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::{Cache, DefaultLifecycle};

use crate::clock::Timestamp;
use crate::digest::sha256;

use super::claims::{Times, VerifiedClaims};
use super::compact::MAX_TOKEN_BYTES;
use super::error::VerifyError;
use super::issuer::Issuer;
use super::key::KeySet;
use super::proxied::Proxied;
use super::verifier::Verifier;

/// A verified token, and what was derived from its claims once.
#[derive(Debug)]
pub struct VerifiedToken<D> {
    claims: VerifiedClaims,
    derived: D,
    issuer: Arc<Issuer>,
    keys: Arc<KeySet>,
    /// The upper bound on its size in the cache.
    bytes: u64,
}

impl<D> VerifiedToken<D> {
    /// Returns the claims.
    pub fn claims(&self) -> &VerifiedClaims {
        &self.claims
    }

    /// Returns what was derived from the claims.
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

/// The limits of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheLimits {
    /// The maximum number of tokens; 0 disables the cache.
    pub entries: usize,
    /// The maximum size in bytes.
    pub bytes: usize,
}

impl CacheLimits {
    /// Room for 65,536 tokens of 768 bytes each.
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

/// The current size of the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheSize {
    /// The number of tokens.
    pub entries: usize,
    /// An upper estimate of their size in bytes.
    pub bytes: u64,
}

/// Weighs an entry by its bytes, with a minimum weight that keeps the number of entries within its limit.
#[derive(Clone)]
struct Bytes {
    least: u64,
}

impl<D> Weighter<TokenHash, Arc<VerifiedToken<D>>> for Bytes {
    fn weight(&self, _: &TokenHash, token: &Arc<VerifiedToken<D>>) -> u64 {
        token.bytes.max(self.least)
    }
}

/// Returns the maximum size of a token of this length in the cache: the claims are stored as text, and again
/// in the keys under which the token is looked up. Measured with tokens of 16 KiB: 24 KiB.
fn bytes_of(token: &str) -> u64 {
    1024 + 2 * token.len() as u64
}

/// Derives the data that is cached with verified claims, from the claims and the compact token.
type Derive<D> = Box<dyn Fn(&VerifiedClaims, Option<&str>) -> D + Send + Sync>;

/// A [`Verifier`] with a cache.
pub struct CachingVerifier<D> {
    verifier: Arc<Verifier>,
    derive: Derive<D>,
    entries: Option<Entries<D>>,
}

impl<D> CachingVerifier<D> {
    /// Caches tokens within `limits`; a plain number limits the number of tokens, with
    /// [`CacheLimits::DEFAULT_BYTES`]. With each token, the cache keeps what `derive` makes of its claims and
    /// of the compact token. The compact token is `None` if the proxy has verified the token, because its
    /// signature may have been re-encoded since.
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

    /// Verifies a token at `now`: the same as [`Verifier::verify`], but faster the second time.
    pub fn verify(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<Arc<VerifiedToken<D>>, VerifyError> {
        // A text that is too long for a token is not hashed.
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

    /// Accepts claims whose signature the proxy has verified. They are not cached, because there is no
    /// signature check to save.
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

    /// Returns the current size of the cache.
    pub fn size(&self) -> CacheSize {
        let size = |entries: &Entries<D>| CacheSize {
            entries: entries.len(),
            bytes: entries.weight(),
        };
        self.entries.as_ref().map_or_else(CacheSize::default, size)
    }

    /// Returns the verifier without the cache.
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
            bytes: bytes_of(token) + claims.bytes_of_values() as u64,
            claims,
            issuer,
            keys,
        }))
    }
}

/// The SHA-256 of the compact token.
#[derive(Clone, PartialEq, Eq)]
struct TokenHash([u8; 32]);

impl Hash for TokenHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

/// Hashes a key by its first eight bytes, as it is a digest already. Equality compares all 32 bytes.
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
