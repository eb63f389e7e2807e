//! Why a token is refused, and why a key cannot be used.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::demand::{Attempt, KeyDemand};
use super::issuer::Issuer;

/// Why a token is refused: always the token's fault, never ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Rejection {
    /// Longer than [`super::MAX_TOKEN_BYTES`].
    #[error("the token is too large")]
    TooLarge,
    /// Not three canonical base64url parts that hold JSON objects (RFC 7515 §7.1, RFC 8259).
    #[error("the token is malformed")]
    Malformed,
    /// An encrypted (RFC 7516) or unsecured (RFC 7519 §6) token, an unknown `crit`, `b64`, or a `typ` of another purpose.
    #[error("this kind of token is not accepted")]
    Unsupported,
    /// The header's `alg` is not one that the issuer is configured to use.
    #[error("the signing algorithm is not allowed")]
    AlgorithmNotAllowed,
    /// No configured issuer has this `iss`.
    #[error("the issuer is not known")]
    UnknownIssuer,
    /// The issuer has no key that this token can be verified with.
    #[error("the signing key is not known")]
    UnknownKey,
    /// The signature does not verify.
    #[error("the signature is invalid")]
    BadSignature,
    /// The proxy is to verify this issuer's tokens, and has not verified this one.
    #[error("the token has not been verified by the proxy")]
    NotVerifiedByProxy,
    /// A claim that must be there is missing.
    #[error("a required claim is missing")]
    MissingClaim,
    /// A claim has the wrong JSON type or a value that makes no sense.
    #[error("a claim has an invalid value")]
    InvalidClaim,
    /// `exp` has passed (RFC 7519 §4.1.4).
    #[error("the token has expired")]
    Expired,
    /// `nbf` lies ahead (RFC 7519 §4.1.5).
    #[error("the token is not valid yet")]
    NotYetValid,
    /// `iat` lies ahead.
    #[error("the token was issued in the future")]
    IssuedInFuture,
    /// None of the configured audiences is in `aud` (RFC 7519 §4.1.3).
    #[error("the token is meant for another audience")]
    WrongAudience,
    /// A claim does not have one of the values that the issuer's configuration demands.
    #[error("a claim does not have a required value")]
    WrongClaim,
}

impl Rejection {
    /// Every reason, for metrics that are made at start.
    pub const ALL: [Self; 15] = [
        Self::TooLarge,
        Self::Malformed,
        Self::Unsupported,
        Self::AlgorithmNotAllowed,
        Self::UnknownIssuer,
        Self::UnknownKey,
        Self::BadSignature,
        Self::NotVerifiedByProxy,
        Self::MissingClaim,
        Self::InvalidClaim,
        Self::Expired,
        Self::NotYetValid,
        Self::IssuedInFuture,
        Self::WrongAudience,
        Self::WrongClaim,
    ];

    /// The stable name: metric label, log field and `reason` of the answer.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "token_too_large",
            Self::Malformed => "malformed",
            Self::Unsupported => "unsupported_token",
            Self::AlgorithmNotAllowed => "alg_not_allowed",
            Self::UnknownIssuer => "unknown_issuer",
            Self::UnknownKey => "unknown_key",
            Self::BadSignature => "bad_signature",
            Self::NotVerifiedByProxy => "not_verified_by_proxy",
            Self::MissingClaim => "missing_claim",
            Self::InvalidClaim => "invalid_claim",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::IssuedInFuture => "issued_in_future",
            Self::WrongAudience => "wrong_audience",
            Self::WrongClaim => "wrong_claim",
        }
    }
}

/// Why no verdict on a token could be reached, or why it was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The token is at fault.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// We are: the issuer's keys have not been loaded.
    #[error("the keys of the issuer are not available")]
    KeysUnavailable,
    /// The key is not there, and the issuer's keys are being fetched.
    #[error("the keys of the issuer are being fetched")]
    KeysPending(PendingKeys),
}

/// Keys that are being fetched, because a token needs one that is not there.
#[derive(Clone)]
pub struct PendingKeys {
    issuer: Arc<Issuer>,
    attempt: Attempt,
    have_none: bool,
}

impl PendingKeys {
    /// Asks for the issuer's keys, if they can be fetched and were not just now.
    pub(super) fn ask(issuer: &Arc<Issuer>, have_none: bool) -> Option<Self> {
        Some(Self {
            attempt: issuer.demand()?.ask()?,
            issuer: Arc::clone(issuer),
            have_none,
        })
    }

    /// How long a check waits for keys of this issuer.
    pub(super) fn patience(&self) -> Duration {
        let demand = self.issuer.demand();
        demand.map_or(Duration::ZERO, KeyDemand::patience)
    }

    /// Waits for them until then. True if they were fetched, or an attempt was made, so that verifying again may have
    /// another result.
    pub(super) async fn fetched(&self, by: Instant) -> bool {
        match self.issuer.demand() {
            Some(demand) => demand.finished(self.attempt, by).await,
            None => false,
        }
    }

    /// What holds if one does not wait, or in vain.
    ///
    /// A key that the last good set does not have is the token's fault, even while a fetch is slow or fails: otherwise
    /// anybody could, with a `kid` of his own invention, make an error of ours, and a proxy that is told to let
    /// requests through upon errors would let his through.
    pub fn otherwise(&self) -> VerifyError {
        if self.have_none {
            VerifyError::KeysUnavailable
        } else {
            Rejection::UnknownKey.into()
        }
    }
}

impl fmt::Debug for PendingKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingKeys")
            .field("issuer", &self.issuer.profile().name)
            .finish_non_exhaustive()
    }
}

impl PartialEq for PendingKeys {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.issuer, &other.issuer) && self.attempt == other.attempt
    }
}

impl Eq for PendingKeys {}

/// Why key material cannot be used. Names the file, never its content.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The file is larger than a key file can be.
    #[error("{path} is larger than {limit} bytes, which no key file is", path = path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// The content is not what the option promises.
    #[error("{path}: {problem}", path = path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do about it.
        problem: String,
    },
}
