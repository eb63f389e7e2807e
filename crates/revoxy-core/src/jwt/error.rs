//! Why a token is not accepted: it is refused, or its keys are not available.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::demand::{Attempt, KeyDemand};
use super::issuer::Issuer;
use super::refusal::Refusal;
use super::rejection::Rejection;

/// Why a token was refused, or why no verdict on it was reached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The token is refused.
    #[error(transparent)]
    Rejected(#[from] Refusal),
    /// The token cannot be verified, because the issuer's keys have not been loaded. The token is not the
    /// cause.
    #[error("the keys of the issuer are not available")]
    KeysUnavailable,
    /// The key is missing, and the issuer's keys are being fetched.
    #[error("the keys of the issuer are being fetched")]
    KeysPending(PendingKeys),
}

impl From<Rejection> for VerifyError {
    fn from(reason: Rejection) -> Self {
        Self::Rejected(reason.into())
    }
}

/// Keys that are being fetched because a token needs one that is missing.
#[derive(Clone)]
pub struct PendingKeys {
    issuer: Arc<Issuer>,
    attempt: Attempt,
    have_none: bool,
}

impl PendingKeys {
    /// Requests the issuer's keys. Returns `None` if they cannot be fetched, or if no fetch is permitted now.
    pub(super) fn ask(issuer: &Arc<Issuer>, have_none: bool) -> Option<Self> {
        Some(Self {
            attempt: issuer.demand()?.ask()?,
            issuer: Arc::clone(issuer),
            have_none,
        })
    }

    /// Returns how long a check waits for keys of this issuer.
    pub(super) fn patience(&self) -> Duration {
        let demand = self.issuer.demand();
        demand.map_or(Duration::ZERO, KeyDemand::patience)
    }

    /// Waits for the keys until `by`. Returns `true` if they were fetched, or an attempt was made, so that
    /// verifying again may have another result.
    pub(super) async fn fetched(&self, by: Instant) -> bool {
        match self.issuer.demand() {
            Some(demand) => demand.finished(self.attempt, by).await,
            None => false,
        }
    }

    /// Returns the error for a caller that does not wait for the keys, or whose wait ends without them.
    ///
    /// A token whose key is not in the last fetched set is refused, even while a fetch is slow or fails.
    /// Otherwise, anybody could cause an error (instead of a refusal) with an invented `kid`, and a proxy
    /// that is configured to fail open would let that request pass.
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
