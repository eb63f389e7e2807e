//! Claims: unverified while they are being judged, [`VerifiedClaims`] afterwards.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Number, Value};

use crate::clock::Timestamp;

use super::claim_path::ClaimPath;
use super::issuer::{IssuerProfile, MissingExp};
use super::kept::{ClaimText, KeptClaims, KeptValues};
use super::refusal::Refusal;
use super::rejection::Rejection;
use super::token_type::TokenType;

/// Claims whose signature, times, issuer and audience have been verified.
///
/// Only the [`super::Verifier`] makes them. Functions that look up revocations take this type, so that the
/// store cannot be queried for claims that anybody could have written.
#[derive(Clone)]
pub struct VerifiedClaims {
    issuer: Arc<str>,
    token_type: TokenType,
    token_id: Option<String>,
    digest: [u8; 32],
    subject: Option<String>,
    session: Option<String>,
    client: Option<String>,
    kid: Option<String>,
    key_thumbprint: Option<Arc<str>>,
    issued_at: Option<Timestamp>,
    not_before: Option<Timestamp>,
    expires_at: Timestamp,
    leeway: Duration,
    /// How long the token is accepted after `exp`: the leeway, or zero.
    grace: Duration,
    kept: KeptClaims,
    values: KeptValues,
}

impl fmt::Debug for VerifiedClaims {
    /// Shows only what may be logged: nothing that identifies a token or a person.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedClaims")
            .field("issuer", &self.issuer)
            .field("token_type", &self.token_type)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

impl VerifiedClaims {
    /// Returns the configured name of the issuer (not its `iss`).
    pub fn issuer(&self) -> &Arc<str> {
        &self.issuer
    }

    /// Returns the type: access, refresh or other.
    pub fn token_type(&self) -> TokenType {
        self.token_type
    }

    /// Returns `jti` (RFC 7519 §4.1.7).
    pub fn token_id(&self) -> Option<&str> {
        self.token_id.as_deref()
    }

    /// Returns the SHA-256 of the signing input, which identifies a token without `jti`. The digest of the
    /// whole token would not identify it, because signatures are malleable: an ECDSA token is also valid with
    /// a second signature.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// Returns `sub` (RFC 7519 §4.1.2), or the claim that the issuer's profile names instead.
    pub fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    /// Returns `sid`, the session at the identity provider (OpenID Connect Front-Channel Logout 1.0 §3), or
    /// the claim that the issuer's profile names instead.
    pub fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    /// Returns the OAuth client: `azp`, else `client_id` (RFC 9068 §2.2), or the claim that the issuer's
    /// profile names instead.
    pub fn client(&self) -> Option<&str> {
        self.client.as_deref()
    }

    /// Returns the `kid` of the key that verified the signature, as the issuer's key set names it. If that
    /// key has none (for example, one from a PEM file), returns the `kid` in the token's header.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Returns the SHA-256 thumbprint (RFC 7638) of the key that verified the signature, in base64url. `None`
    /// for a secret, and if the proxy has verified the signature.
    pub fn key_thumbprint(&self) -> Option<&str> {
        self.key_thumbprint.as_deref()
    }

    /// Returns `iat` (RFC 7519 §4.1.6).
    pub fn issued_at(&self) -> Option<Timestamp> {
        self.issued_at
    }

    /// Returns `exp` (RFC 7519 §4.1.4); for a token without `exp`, the configured end of its life.
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// Returns another claim, if the token has it and the issuer's profile keeps it.
    pub fn claim(&self, name: &ClaimPath) -> Option<&ClaimText> {
        self.kept.find(name)
    }

    /// Returns the value of a claim that policies make demands on, by its path in the issuer's profile. `None` if the
    /// token lacks it, or it is null.
    pub fn value(&self, path: &str) -> Option<&Value> {
        self.values.find(path)
    }

    /// Returns such a claim as a NumericDate (RFC 7519 §2); `None` if it is none.
    pub fn date(&self, path: &str) -> Option<Timestamp> {
        match self.value(path)? {
            Value::Number(number) => numeric_date(number),
            _ => None,
        }
    }

    /// Returns an upper bound on the memory of the claims that policies make demands on.
    pub(super) fn bytes_of_values(&self) -> usize {
        self.values.bytes()
    }

    /// Judges the times. A token that was valid may have expired since, or may not be valid yet after the
    /// clock was set back.
    pub(super) fn judge_times(&self, now: Timestamp, times: Times) -> Result<(), Rejection> {
        if times == Times::Ignored {
            return Ok(());
        }
        // RFC 7519 §4.1.4: "on or after" the expiration time, the token must be refused.
        if now >= self.expires_at.plus(self.grace) {
            return Err(Rejection::Expired);
        }
        let latest_start = now.plus(self.leeway);
        if self.not_before.is_some_and(|nbf| nbf > latest_start) {
            return Err(Rejection::NotYetValid);
        }
        if self.issued_at.is_some_and(|iat| iat > latest_start) {
            return Err(Rejection::IssuedInFuture);
        }
        Ok(())
    }

    /// Returns a human-readable description of the type and the times. It contains no identifier.
    pub(super) fn describe(&self, now: Timestamp) -> String {
        let name = match self.token_type {
            TokenType::Access => "an access token",
            TokenType::Refresh => "a refresh token",
            TokenType::Other => "a token of another type",
        };
        let time = |what: &str, at: Option<Timestamp>| match at {
            Some(at) if at > now => format!(", {what} in {}s", at.since(now).as_secs()),
            Some(at) => format!(", {what} {}s ago", now.since(at).as_secs()),
            None => String::new(),
        };
        format!(
            "{name}{}{}{}, leeway {}s{}",
            time("iat", self.issued_at),
            time("nbf", self.not_before),
            time("exp", Some(self.expires_at).filter(|at| *at != NO_EXP)),
            self.leeway.as_secs(),
            if self.grace < self.leeway {
                ", none for exp"
            } else {
                ""
            }
        )
    }

    /// Returns `exp` plus the configured leeway: from then on, no check accepts the token, whatever the value
    /// of `exact_exp`. A revocation must last until then.
    pub fn dies_at(&self) -> Timestamp {
        self.expires_at.plus(self.leeway)
    }
}

/// Claims of a token whose signature may be forged.
pub(super) struct UnverifiedClaims<'t>(pub &'t Map<String, Value>);

/// What the verifier has determined about a token in addition to its claims.
pub(super) struct Provenance<'t> {
    pub digest: [u8; 32],
    pub kid: Option<&'t str>,
    pub key_thumbprint: Option<Arc<str>>,
    /// The header's `typ`, in lower case and without `application/`.
    pub typ: Option<&'t str>,
    /// Whether the claims come from the proxy, which turns every number into a double.
    pub proxied: bool,
}

/// When a token without `exp` ends, unless something else is configured: at the end of the year 9999. This
/// date is later than any real expiry, and within the range of every store.
pub const NO_EXP: Timestamp = Timestamp::from_secs(253_402_300_799);

/// The upper bound of dates, which no correct clock shows. Far beyond it, a NumericDate loses precision, and
/// arithmetic on it becomes meaningless.
const MAX_NUMERIC_DATE: f64 = 253_402_300_800.0; // the year 10000

impl UnverifiedClaims<'_> {
    /// Returns the claimed issuer, which selects the keys to verify with. Before the signature is verified,
    /// no other claim may be used.
    pub fn issuer(&self) -> Result<Option<&str>, Refusal> {
        self.text("iss")
    }

    /// Returns the claimed `exp`. Before the signature is verified, it may only be used as a reason to refuse
    /// the token.
    pub fn expiry(&self) -> Result<Option<Timestamp>, Refusal> {
        self.date("exp")
    }

    /// Judges the claims against the issuer's profile. Only to be called after the signature has been
    /// verified.
    pub fn judge(
        self,
        profile: &IssuerProfile,
        provenance: &Provenance<'_>,
        now: Timestamp,
        times: Times,
    ) -> Result<VerifiedClaims, Refusal> {
        let (issued_at, exp) = (self.date("iat")?, self.date("exp")?);
        let expires_at = match (exp, profile.missing_exp) {
            (Some(exp), _) => exp,
            (None, Some(MissingExp::Never)) => NO_EXP,
            (None, Some(MissingExp::AfterIssue(life))) => issued_at
                .ok_or_else(|| Rejection::MissingClaim.because_of("iat"))?
                .plus(life),
            (None, None) => return Err(Rejection::MissingClaim.because_of("exp")),
        };
        let identifiers = profile.identifiers.read(self.0, provenance.proxied)?;
        let token_type = profile
            .token_type
            .of(self.0, provenance.typ, profile.type_of_keys)?;
        let claims = VerifiedClaims {
            issuer: Arc::clone(&profile.name),
            token_type,
            token_id: identifiers.token_id,
            digest: provenance.digest,
            subject: identifiers.subject,
            session: identifiers.session,
            client: identifiers.client,
            kid: provenance.kid.map(str::to_owned),
            key_thumbprint: provenance.key_thumbprint.clone(),
            issued_at,
            not_before: self.date("nbf")?,
            expires_at,
            leeway: profile.leeway,
            grace: profile.grace_of(token_type),
            kept: KeptClaims::of(self.0, &profile.kept_claims, provenance.proxied),
            values: KeptValues::of(self.0, &profile.kept_values),
        };
        claims.judge_times(now, times)?;
        self.check_audience(&profile.audiences)?;
        let mut by_form = profile.form.required_claims().iter();
        if let Some(absent) = by_form.find(|claim| !self.0.contains_key(**claim)) {
            return Err(Rejection::MissingClaim.because_of(*absent));
        }
        for required in &profile.required_claims {
            required.check(self.0)?;
        }
        Ok(claims)
    }

    fn check_audience(&self, accepted: &[String]) -> Result<(), Refusal> {
        let invalid = || Rejection::InvalidClaim.because_of("aud");
        let audiences: Vec<&str> = match self.0.get("aud") {
            None => Vec::new(),
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(many)) => many
                .iter()
                .map(|a| a.as_str().ok_or_else(invalid))
                .collect::<Result<_, _>>()?,
            Some(_) => return Err(invalid()),
        };
        match (accepted, audiences.as_slice()) {
            ([], _) => Ok(()),
            (_, []) => Err(Rejection::MissingClaim.because_of("aud")),
            _ if audiences.iter().any(|a| accepted.iter().any(|x| x == a)) => Ok(()),
            _ => Err(Rejection::WrongAudience.into()),
        }
    }

    fn text(&self, claim: &'static str) -> Result<Option<&str>, Refusal> {
        match self.0.get(claim) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Rejection::InvalidClaim.because_of(claim)),
        }
    }

    /// Returns a NumericDate (RFC 7519 §2): seconds, possibly with a fraction.
    pub fn date(&self, claim: &'static str) -> Result<Option<Timestamp>, Refusal> {
        let invalid = || Rejection::InvalidClaim.because_of(claim);
        let number = match self.0.get(claim) {
            None => return Ok(None),
            Some(Value::Number(number)) => number,
            Some(_) => return Err(invalid()),
        };
        numeric_date(number).map(Some).ok_or_else(invalid)
    }
}

/// Returns `None` for a date that no correct clock shows.
fn numeric_date(number: &Number) -> Option<Timestamp> {
    let seconds = number.as_f64()?;
    if !(0.0..MAX_NUMERIC_DATE).contains(&seconds) {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the range was checked above"
    )]
    Some(Timestamp::from_millis((seconds * 1000.0).floor() as i64))
}

/// Whether the times of a token are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Times {
    Judged,
    /// For revocation: an expired token still proves possession (RFC 7009 §2.2), and one that becomes valid
    /// later must be revocable now.
    Ignored,
}
