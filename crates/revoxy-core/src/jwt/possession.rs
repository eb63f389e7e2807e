//! Verifies a token for a caller who wants to revoke it (RFC 7009): possession is the authorization.
//!
//! For a token that does not verify, this module distinguishes between a permanently invalid token and a
//! token that this replica cannot verify at present: such a token may verify with other keys, which this
//! replica may load soon and which another replica may already have.

use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Timestamp;

use super::claims::{Times, UnverifiedClaims, VerifiedClaims};
use super::compact::CompactToken;
use super::error::VerifyError;
use super::header::Header;
use super::issuer::Issuer;
use super::key_wait::KeyWait;
use super::rejection::Rejection;
use super::verifier::Verifier;

/// Why a token cannot be revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unrevocable {
    /// No replica with this configuration will accept it, whatever keys the replica has.
    Invalid(Rejection),
    /// This replica cannot decide: the key that signed the token is unknown, or its issuer's keys are not
    /// available.
    Unknown,
}

impl Verifier {
    /// Verifies a token, and accepts an expired one, too. Waits for at most `patience` for keys that are
    /// being fetched, or read again from their file.
    pub async fn verify_possession(
        &self,
        token: &str,
        now: Timestamp,
        patience: Duration,
    ) -> Result<VerifiedClaims, Unrevocable> {
        let until = Instant::now() + patience;
        let mut current = false;
        loop {
            // Evaluated before and after the signature is verified, because the keys may be replaced in
            // between.
            let was_final = self.is_final(token, current);
            match self.await_keys(token, now, KeyWait::until(until)).await {
                Ok(claims) => return Ok(claims),
                Err(VerifyError::Rejected(refusal)) if !depends_on_keys(refusal.reason) => {
                    return Err(Unrevocable::Invalid(refusal.reason));
                }
                Err(VerifyError::Rejected(refusal))
                    if refusal.reason == Rejection::BadSignature
                        && was_final
                        && self.is_final(token, current) =>
                {
                    return Err(Unrevocable::Invalid(Rejection::BadSignature));
                }
                Err(VerifyError::Rejected(_)) if !current => {
                    let files = self.reread_key_files(token, until).await;
                    current = true;
                    // Without key files, only a fetch could bring other keys.
                    if files.ok_or(Unrevocable::Unknown)? == 0 && !self.is_final(token, current) {
                        return Err(Unrevocable::Unknown);
                    }
                }
                Err(_) => return Err(Unrevocable::Unknown),
            }
        }
    }

    /// Verifies a token regardless of its times, waiting for keys that are being fetched.
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

    /// Returns whether a token, if it were valid, would have expired by `at` according to its own claims. A
    /// forged token may contain such an `exp`, too, but every replica refuses that token as well, whatever
    /// keys the replica has.
    pub fn claims_to_be_over(&self, token: &str, at: Timestamp) -> bool {
        let over = || {
            let token = CompactToken::parse(token).ok()?;
            let claims = UnverifiedClaims(&token.payload);
            let leeway = self.issuer(claims.issuer().ok()?).ok()?.profile().leeway;
            Some(claims.expiry().ok()??.plus(leeway) <= at)
        };
        over().unwrap_or(false)
    }

    /// Given that none of the current keys verifies a token, returns whether no other replica can have a key
    /// that does. `current` is whether the key files have been read again, so that the keys match the files.
    fn is_final(&self, token: &str, current: bool) -> bool {
        let judge = || {
            let token = CompactToken::parse(token).ok()?;
            let header = Header::read(&token.header).ok()?;
            let claims = UnverifiedClaims(&token.payload);
            let issuer = self.issuer(claims.issuer().ok()?).ok()?;
            let is_final = |part: &Issuer| {
                let keys = part.keys();
                // Another replica may have a key that is unknown here.
                let key = keys.select(header.kid, header.algorithm).ok()?;
                // A `kid` permanently identifies one key (RFC 7517 §4.5). A key without a `kid`, or with a
                // `kid` that the token does not name, may be replaced by another key in a rotation.
                let named = key.kid().is_some() && key.kid() == header.kid;
                Some(named || (current && part.demand().is_none()))
            };
            Some(parts(issuer).all(|part| is_final(part).unwrap_or(false)))
        };
        judge().unwrap_or(false)
    }

    /// Requests that the key files of the token's issuer be read again, and waits until `until`. Returns the
    /// number of files, or `None` if they have not been read by then.
    async fn reread_key_files(&self, token: &str, until: Instant) -> Option<usize> {
        let issuer = || {
            let token = CompactToken::parse(token).ok()?;
            let claims = UnverifiedClaims(&token.payload);
            self.issuer(claims.issuer().ok()?).ok()
        };
        let files = parts(issuer()?).filter_map(Issuer::file_demand);
        let asked: Vec<_> = files.map(|file| (file, file.ask_anew())).collect();
        for (file, reading) in &asked {
            if !file.finished(*reading, until).await {
                return None;
            }
        }
        Some(asked.len())
    }
}

/// Returns the issuer with the keys of access tokens, and the issuer with the keys of refresh tokens, if
/// these have their own keys: a token may be signed with either.
fn parts(issuer: &Issuer) -> impl Iterator<Item = &Issuer> {
    std::iter::once(issuer).chain(issuer.refresh().map(|refresh| &**refresh))
}

/// Returns whether a token that is refused for this reason may be accepted with other keys.
fn depends_on_keys(rejection: Rejection) -> bool {
    match rejection {
        Rejection::UnknownKey | Rejection::BadSignature => true,
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
