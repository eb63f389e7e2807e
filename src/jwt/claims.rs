//! Claims: unverified while they are being judged, [`VerifiedClaims`] afterwards.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::clock::Timestamp;

use super::error::Rejection;
use super::issuer::{ClaimPath, IssuerProfile, MissingExp};
use super::kept::{ClaimText, KeptClaims};
use super::token_type::TokenType;

/// Claims whose signature, times, issuer and audience have been checked.
///
/// Only the [`super::Verifier`] makes them. What looks up a revocation takes this type, so that nothing can ask
/// the store about claims that anybody could have written.
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
    /// By how much `exp` may be passed: the leeway or nothing.
    grace: Duration,
    kept: KeptClaims,
}

impl fmt::Debug for VerifiedClaims {
    /// Shows what may stand in a log: no identifier of a token or a person.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedClaims")
            .field("issuer", &self.issuer)
            .field("token_type", &self.token_type)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

impl VerifiedClaims {
    /// The configured name of the issuer (not its `iss`).
    pub fn issuer(&self) -> &Arc<str> {
        &self.issuer
    }

    /// Access, refresh or something else.
    pub fn token_type(&self) -> TokenType {
        self.token_type
    }

    /// `jti` (RFC 7519 §4.1.7).
    pub fn token_id(&self) -> Option<&str> {
        self.token_id.as_deref()
    }

    /// SHA-256 of the signing input: identifies a token that has no `jti`. Not of the whole token, because
    /// signatures are malleable: an ECDSA token has a twin with another signature.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// `sub` (RFC 7519 §4.1.2), or the claim that the issuer's profile has for it.
    pub fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    /// `sid`, the session at the identity provider (OpenID Connect Front-Channel Logout 1.0 §3), or the claim that the
    /// issuer's profile has for it.
    pub fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    /// The OAuth client: `azp`, else `client_id` (RFC 9068 §2.2), or the claim that the issuer's profile has for it.
    pub fn client(&self) -> Option<&str> {
        self.client.as_deref()
    }

    /// The `kid` of the key that verified the signature, as the issuer's key set names it. Where that key has none, as one
    /// from a PEM file, it is the `kid` that the token's header says.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The SHA-256 thumbprint (RFC 7638) of the key that verified the signature, base64url. A secret has none, and neither has
    /// a key that the proxy verified with.
    pub fn key_thumbprint(&self) -> Option<&str> {
        self.key_thumbprint.as_deref()
    }

    /// `iat` (RFC 7519 §4.1.6).
    pub fn issued_at(&self) -> Option<Timestamp> {
        self.issued_at
    }

    /// `exp` (RFC 7519 §4.1.4), or when a token without it ends.
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// A claim beyond these, where the token has it and the issuer's profile keeps it.
    pub fn claim(&self, name: &ClaimPath) -> Option<&ClaimText> {
        self.kept.find(name)
    }

    /// Judges the times. What was in order once may not be later, or when the clock was set back.
    pub(super) fn judge_times(&self, now: Timestamp, times: Times) -> Result<(), Rejection> {
        if times == Times::Ignored {
            return Ok(());
        }
        // RFC 7519 §4.1.4: "on or after" the expiration time the token is refused.
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

    /// Type and times, for people. No identifier.
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

    /// From when on no configuration of the issuer's leeway has the token accepted: `exp` plus the leeway. A revocation must
    /// last as long.
    pub fn dies_at(&self) -> Timestamp {
        self.expires_at.plus(self.leeway)
    }
}

/// Claims of a token whose signature may be anybody's.
pub(super) struct UnverifiedClaims<'t>(pub &'t Map<String, Value>);

/// What the verifier knows about a token beside its claims.
pub(super) struct Provenance<'t> {
    pub digest: [u8; 32],
    pub kid: Option<&'t str>,
    pub key_thumbprint: Option<Arc<str>>,
    /// `typ` of the header, in lower case and without `application/`.
    pub typ: Option<&'t str>,
    /// Whether the claims come from the proxy, which makes a double of every number.
    pub proxied: bool,
}

/// When a token without `exp` ends, where nothing else is configured: with the year 9999. Later than anybody cares, and
/// within what every store can hold.
pub const NO_EXP: Timestamp = Timestamp::from_secs(253_402_300_799);

/// Seconds that no honest clock shows: far beyond it a NumericDate loses precision and arithmetic its meaning.
const MAX_NUMERIC_DATE: f64 = 253_402_300_800.0; // the year 10000

impl UnverifiedClaims<'_> {
    /// The claimed issuer, to choose whose keys to verify with. Nothing else may be read before the signature.
    pub fn issuer(&self) -> Result<Option<&str>, Rejection> {
        self.text("iss")
    }

    /// The claimed `exp`. Before the signature is verified it may only speak against the token.
    pub fn expiry(&self) -> Result<Option<Timestamp>, Rejection> {
        self.date("exp")
    }

    /// Judges the claims against the issuer's profile. To be called only when the signature has been verified.
    pub fn judge(
        self,
        profile: &IssuerProfile,
        provenance: &Provenance<'_>,
        now: Timestamp,
        times: Times,
    ) -> Result<VerifiedClaims, Rejection> {
        let (issued_at, exp) = (self.date("iat")?, self.date("exp")?);
        let expires_at = match (exp, profile.missing_exp) {
            (Some(exp), _) => exp,
            (None, Some(MissingExp::Never)) => NO_EXP,
            (None, Some(MissingExp::AfterIssue(life))) => {
                issued_at.ok_or(Rejection::MissingClaim)?.plus(life)
            }
            (None, None) => return Err(Rejection::MissingClaim),
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
        };
        claims.judge_times(now, times)?;
        self.check_audience(&profile.audiences)?;
        let by_form = profile.form.required_claims().iter();
        let mut by_form = by_form.into_iter();
        if !by_form.all(|claim| self.0.contains_key(*claim)) {
            return Err(Rejection::MissingClaim);
        }
        for required in &profile.required_claims {
            required.check(self.0)?;
        }
        Ok(claims)
    }

    fn check_audience(&self, accepted: &[String]) -> Result<(), Rejection> {
        let audiences: Vec<&str> = match self.0.get("aud") {
            None => Vec::new(),
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(many)) => many
                .iter()
                .map(|a| a.as_str().ok_or(Rejection::InvalidClaim))
                .collect::<Result<_, _>>()?,
            Some(_) => return Err(Rejection::InvalidClaim),
        };
        match (accepted, audiences.as_slice()) {
            ([], _) => Ok(()),
            (_, []) => Err(Rejection::MissingClaim),
            _ if audiences.iter().any(|a| accepted.iter().any(|x| x == a)) => Ok(()),
            _ => Err(Rejection::WrongAudience),
        }
    }

    fn text(&self, claim: &str) -> Result<Option<&str>, Rejection> {
        match self.0.get(claim) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Rejection::InvalidClaim),
        }
    }

    /// A NumericDate (RFC 7519 §2): seconds, possibly with a fraction.
    fn date(&self, claim: &str) -> Result<Option<Timestamp>, Rejection> {
        let number = match self.0.get(claim) {
            None => return Ok(None),
            Some(Value::Number(number)) => number,
            Some(_) => return Err(Rejection::InvalidClaim),
        };
        let seconds = number.as_f64().ok_or(Rejection::InvalidClaim)?;
        if !(0.0..MAX_NUMERIC_DATE).contains(&seconds) {
            return Err(Rejection::InvalidClaim);
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the range was checked above"
        )]
        Ok(Some(Timestamp::from_millis(
            (seconds * 1000.0).floor() as i64
        )))
    }
}

/// Whether the times of a token are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Times {
    Judged,
    /// For revoking: an expired token is still possessed (RFC 7009 §2.2), and one that becomes valid later must be
    /// revocable now.
    Ignored,
}
