//! Verification: from the text of a token to [`VerifiedClaims`], or a [`Rejection`].
//!
//! The only module that uses `jsonwebtoken`, and only for the signature itself: the form of the token, its
//! header and its claims are parsed here, strictly, because the library accepts more than a gateway should
//! (see `docs/verification.md`). The order is: form → header → issuer → key → signature → claims, so that
//! whatever can be refused cheaply is refused before any cryptography.
//!
//! Only the [`Verifier`] can make [`VerifiedClaims`]; everything after it takes that type.

mod algorithm;
mod cache;
mod claim_path;
mod claims;
mod compact;
mod comparison;
mod demand;
mod error;
mod header;
mod identifiers;
mod iss;
mod issuer;
mod jwk;
mod kept;
mod key;
mod key_error;
mod key_file;
mod key_wait;
mod possession;
mod proxied;
mod refusal;
mod rejection;
mod required;
mod strict_json;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod thumbprint;
mod token_type;
mod trace;
mod verifier;

pub use algorithm::Algorithm;
pub use cache::{CacheLimits, CacheSize, CachingVerifier, VerifiedToken};
pub use claim_path::ClaimPath;
pub use claims::{NO_EXP, VerifiedClaims};
pub use compact::MAX_TOKEN_BYTES;
pub use demand::{Fetching, KeyDemand};
pub use error::{PendingKeys, VerifyError};
pub use identifiers::IdentifierRules;
pub use iss::IssPattern;
pub use issuer::{Issuer, IssuerProfile, MissingExp, TokenForm};
pub use jwk::parse_set;
pub use kept::ClaimText;
pub use key::{KeySet, VerificationKey};
pub use key_error::KeyError;
pub use key_file::{KeyFile, LoadedKeys, SecretEncoding, SecretFile};
pub use key_wait::KeyWait;
pub use possession::Unrevocable;
pub use proxied::Proxied;
pub use refusal::{ClaimName, Refusal};
pub use rejection::Rejection;
pub use required::{RequiredClaim, same_value};
pub use token_type::{TokenType, TokenTypeNames, TokenTypeRule};
pub use trace::{Stage, Steps};
pub use verifier::{Verifier, install_crypto};
