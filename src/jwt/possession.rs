//! Verifying a token for whoever wants to revoke it (RFC 7009): possession is the authorization.
//!
//! What is told apart here is whether a token that does not verify is no good for ever, or only not known here and now: with
//! other keys, which this replica may have in a moment and another may have already, it may be accepted.

use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Timestamp;

use super::claims::{Times, UnverifiedClaims, VerifiedClaims};
use super::compact::CompactToken;
use super::error::{Rejection, VerifyError};
use super::header::Header;
use super::key_wait::KeyWait;
use super::verifier::Verifier;

/// Why a token cannot be revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unrevocable {
    /// No replica with this configuration will accept it, whatever keys it has.
    Invalid(Rejection),
    /// Nobody here can tell: the key that it was signed with is not known, or its issuer's keys are not there.
    Unknown,
}

impl Verifier {
    /// Verifies a token, but takes an expired one too. Waits for keys that are being fetched, or read again from their file, for
    /// so long at most.
    pub async fn verify_possession(
        &self,
        token: &str,
        now: Timestamp,
        patience: Duration,
    ) -> Result<VerifiedClaims, Unrevocable> {
        let until = Instant::now() + patience;
        let verified = self.await_keys(token, now, KeyWait::of(patience)).await;
        let (verified, looked) = match verified {
            Err(VerifyError::Rejected(rejection)) if self.depends_on_keys(token, rejection) => {
                match self.look_again(token, until).await {
                    true => (self.await_keys(token, now, KeyWait::default()).await, true),
                    false => (Err(rejection.into()), false),
                }
            }
            other => (other, false),
        };
        verified.map_err(|error| match error {
            VerifyError::Rejected(rejection) if !self.depends_on_keys(token, rejection) => {
                Unrevocable::Invalid(rejection)
            }
            // By what the file holds now, the signature is nobody's.
            VerifyError::Rejected(Rejection::BadSignature) if looked => {
                Unrevocable::Invalid(Rejection::BadSignature)
            }
            VerifyError::Rejected(_)
            | VerifyError::KeysUnavailable
            | VerifyError::KeysPending(_) => Unrevocable::Unknown,
        })
    }

    /// Verifies a token whatever its times are, waiting for keys that are being fetched.
    pub(crate) async fn await_keys(
        &self,
        token: &str,
        now: Timestamp,
        mut wait: KeyWait,
    ) -> Result<VerifiedClaims, VerifyError> {
        loop {
            match self.verify_with(token, now, Times::Ignored) {
                Err(VerifyError::KeysPending(pending)) => {
                    if !wait.on(&pending).await {
                        return Err(pending.otherwise());
                    }
                }
                other => return other.map(|(claims, ..)| claims),
            }
        }
    }

    /// Whether a token would be over at this time if it were good, by what it says of itself. Whoever forges one may say so: such a
    /// token is refused by everybody, whatever keys they have.
    pub fn claims_to_be_over(&self, token: &str, at: Timestamp) -> bool {
        let over = || {
            let token = CompactToken::parse(token).ok()?;
            let claims = UnverifiedClaims(&token.payload);
            let leeway = self.issuer(claims.issuer().ok()?).ok()?.profile().leeway;
            Some(claims.expiry().ok()??.plus(leeway) <= at)
        };
        over().unwrap_or(false)
    }

    /// Whether a token that is refused for this may be accepted with other keys.
    fn depends_on_keys(&self, token: &str, rejection: Rejection) -> bool {
        match rejection {
            Rejection::UnknownKey => true,
            // A `kid` names one key for ever (RFC 7517 §4.5). The key that has none, or that the token does not name, has another in
            // its place after a rotation.
            Rejection::BadSignature => !self.names_its_key(token),
            Rejection::TooLarge
            | Rejection::Malformed
            | Rejection::Unsupported
            | Rejection::AlgorithmNotAllowed
            | Rejection::UnknownIssuer
            | Rejection::NotVerifiedByProxy
            | Rejection::MissingClaim
            | Rejection::InvalidClaim
            | Rejection::Expired
            | Rejection::NotYetValid
            | Rejection::IssuedInFuture
            | Rejection::WrongAudience
            | Rejection::WrongClaim => false,
        }
    }

    /// Whether the issuer has a key of the very `kid` that the token's header says.
    fn names_its_key(&self, token: &str) -> bool {
        let names = || {
            let token = CompactToken::parse(token).ok()?;
            let header = Header::read(&token.header).ok()?;
            let claims = UnverifiedClaims(&token.payload);
            let keys = self.issuer(claims.issuer().ok()?).ok()?.keys();
            let key = keys.select(header.kid, header.algorithm).ok()?;
            Some(key.kid().is_some() && key.kid() == header.kid)
        };
        names().unwrap_or(false)
    }

    /// Has the issuer's key file, if its keys are in one, read again. True where there is nothing else to read: the keys are
    /// those of now.
    async fn look_again(&self, token: &str, until: Instant) -> bool {
        let issuer = || {
            let token = CompactToken::parse(token).ok()?;
            self.issuer(UnverifiedClaims(&token.payload).issuer().ok()?)
                .ok()
        };
        let Some(issuer) = issuer() else {
            return false;
        };
        match (issuer.file_demand(), issuer.demand()) {
            (Some(look), _) => look.finished(look.ask_anew(), until).await,
            // Keys that do not change.
            (None, None) => true,
            (None, Some(_)) => false,
        }
    }
}
