//! One configured token issuer: what its tokens must contain, and the keys that verify them.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::algorithm::Algorithm;
use super::claim_path::ClaimPath;
use super::demand::KeyDemand;
use super::identifiers::IdentifierRules;
use super::iss::IssPattern;
use super::key::KeySet;
use super::required::RequiredClaim;
use super::token_type::{TokenType, TokenTypeRule};

/// What the tokens of an issuer must contain.
#[derive(Clone, Debug)]
pub struct IssuerProfile {
    /// Our alias for the issuer, which is a metric label and part of store keys.
    pub name: Arc<str>,
    /// The value of `iss`, compared exactly (RFC 7519 §4.1.1); `None` if none of its tokens has one.
    pub issuer: Option<String>,
    /// Further values of `iss`, for the same keys.
    pub more_issuers: Vec<String>,
    /// Patterns for values of `iss`. A value that matches patterns of two issuers belongs to neither.
    pub issuer_patterns: Vec<IssPattern>,
    /// Whether tokens without `iss` belong to this issuer. Such a token does not name the issuer whose keys
    /// verify it, so at most one issuer of a verifier may set this.
    pub missing_iss: bool,
    /// One of these must be in `aud`. If empty, any `aud` of the right form is accepted.
    pub audiences: Vec<String>,
    /// The algorithms that the issuer signs with.
    pub algorithms: Vec<Algorithm>,
    /// The tolerated difference between the clocks of issuer and verifier.
    pub leeway: Duration,
    /// The token types whose `exp` is judged without leeway. Types whose revocations are looked up belong
    /// here: a revocation may end with `exp`, and the token would be accepted again during the leeway.
    pub exact_exp: Vec<TokenType>,
    /// Where a token names its type.
    pub token_type: TokenTypeRule,
    /// The type of the tokens that these keys sign, if other types have keys of their own. A token whose
    /// claims name a different type is of type [`TokenType::Other`].
    pub type_of_keys: Option<TokenType>,
    /// The claims that identify a token, its user, session and client.
    pub identifiers: IdentifierRules,
    /// Whether a token may lack `exp`, and when it ends then.
    pub missing_exp: Option<MissingExp>,
    /// The claims that are required in addition to `exp`, and their permitted values.
    pub required_claims: Vec<RequiredClaim>,
    /// Further requirements on the form of its tokens.
    pub form: TokenForm,
    /// The claims that verified tokens keep, see [`VerifiedClaims::claim`](super::VerifiedClaims::claim).
    pub kept_claims: Arc<[ClaimPath]>,
    /// The claims that policies make demands on, see [`VerifiedClaims::value`](super::VerifiedClaims::value).
    pub kept_values: Arc<[ClaimPath]>,
}

impl Default for IssuerProfile {
    /// The strictest profile. It has no name, and neither `iss` nor algorithms, so no token matches it.
    fn default() -> Self {
        Self {
            name: Arc::from(""),
            issuer: None,
            more_issuers: Vec::new(),
            issuer_patterns: Vec::new(),
            missing_iss: false,
            audiences: Vec::new(),
            algorithms: Vec::new(),
            leeway: Duration::ZERO,
            exact_exp: TokenType::ALL.to_vec(),
            token_type: TokenTypeRule::default(),
            type_of_keys: None,
            identifiers: IdentifierRules::default(),
            missing_exp: None,
            required_claims: Vec::new(),
            form: TokenForm::default(),
            kept_claims: Arc::default(),
            kept_values: Arc::default(),
        }
    }
}

impl IssuerProfile {
    /// Returns the values of `iss` that are not patterns.
    pub fn fixed_issuers(&self) -> impl Iterator<Item = &String> {
        self.issuer.iter().chain(&self.more_issuers)
    }

    /// Returns how long a token of this type is accepted after its `exp`.
    pub(super) fn grace_of(&self, token_type: TokenType) -> Duration {
        match self.exact_exp.contains(&token_type) {
            true => Duration::ZERO,
            false => self.leeway,
        }
    }
}

/// When a token without `exp` ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingExp {
    /// It does not end: see [`NO_EXP`](super::NO_EXP).
    Never,
    /// This long after `iat`, which is then required.
    AfterIssue(Duration),
}

/// The form of a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenForm {
    /// Any JWT.
    #[default]
    Jwt,
    /// A JWT access token as in RFC 9068: `typ` is `at+jwt`, and `iss`, `exp`, `aud`, `sub`, `client_id`,
    /// `iat` and `jti` are present.
    Rfc9068,
}

impl TokenForm {
    /// Returns whether a token may have this `typ`, in lower case and without `application/`.
    ///
    /// Tokens with another `typ`, such as `logout+jwt`, are signed with the same keys for another purpose
    /// (RFC 8725 §3.11). The values for refresh tokens are in no standard; a token that has one is not an
    /// access token.
    pub(super) fn accepts(self, typ: Option<&str>) -> bool {
        match (self, typ) {
            (_, Some("at+jwt")) => true,
            (Self::Jwt, None | Some("jwt" | "refresh+jwt" | "rt+jwt")) => true,
            // RFC 9068 §4: "MUST verify that the "typ" header value is "at+jwt"".
            _ => false,
        }
    }

    pub(super) const fn required_claims(self) -> &'static [&'static str] {
        match self {
            Self::Jwt => &[],
            // RFC 9068 §2.2.
            Self::Rfc9068 => &["aud", "sub", "client_id", "iat", "jti"],
        }
    }
}

/// An issuer with its current keys.
#[derive(Debug)]
pub struct Issuer {
    profile: IssuerProfile,
    keys: ArcSwap<KeySet>,
    demand: Option<KeyDemand>,
    /// Requests that a key file be read again.
    file_demand: Option<KeyDemand>,
    /// The metadata key under which the proxy puts the claims that it has verified.
    proxied: Option<String>,
    /// The keys that sign refresh tokens, if these have keys of their own.
    refresh: Option<Arc<Issuer>>,
}

impl Issuer {
    /// Makes an issuer with its initial keys.
    pub fn new(profile: IssuerProfile, keys: KeySet) -> Self {
        Self {
            profile,
            keys: ArcSwap::from_pointee(keys),
            demand: None,
            file_demand: None,
            proxied: None,
            refresh: None,
        }
    }

    /// Makes an issuer whose keys are fetched by the task that serves `demand`; it has none at first.
    pub fn fetched(profile: IssuerProfile, demand: KeyDemand) -> Self {
        Self {
            demand: Some(demand),
            ..Self::new(profile, KeySet::default())
        }
    }

    /// Makes an issuer whose tokens the proxy verifies. The proxy puts their claims in its metadata under
    /// this key.
    pub fn proxied(profile: IssuerProfile, key: String) -> Self {
        Self {
            proxied: Some(key),
            ..Self::new(profile, KeySet::default())
        }
    }

    /// Makes the issuer's refresh tokens verify with the keys of `refresh` only. `refresh` has the same
    /// profile; its keys sign no other tokens.
    #[must_use]
    pub fn with_refresh_keys(self, refresh: Arc<Self>) -> Self {
        Self {
            refresh: Some(refresh),
            ..self
        }
    }

    pub(super) fn refresh(&self) -> Option<&Arc<Self>> {
        self.refresh.as_ref()
    }

    pub(super) fn proxy_key(&self) -> Option<&str> {
        self.proxied.as_deref()
    }

    /// Attaches the demand of a watched key file. The file is read again when it changes, and at once when a
    /// read is requested through `demand`.
    pub fn watched(self, demand: KeyDemand) -> Self {
        Self {
            file_demand: Some(demand),
            ..self
        }
    }

    /// Returns the demand of the key file, if there is one. For callers that need the current content at
    /// once; checks do not use it.
    pub fn file_demand(&self) -> Option<&KeyDemand> {
        self.file_demand.as_ref()
    }

    /// Returns the demand for the issuer's keys, if the keys are fetched.
    pub fn demand(&self) -> Option<&KeyDemand> {
        self.demand.as_ref()
    }

    /// Returns what its tokens must contain.
    pub fn profile(&self) -> &IssuerProfile {
        &self.profile
    }

    /// Replaces the keys. Tokens that were verified with the former ones have to be verified again.
    pub fn replace_keys(&self, keys: KeySet) {
        self.keys.store(Arc::new(keys));
    }

    /// Returns the current number of keys.
    pub fn key_count(&self) -> usize {
        self.keys.load().len()
    }

    pub(super) fn keys(&self) -> arc_swap::Guard<Arc<KeySet>> {
        self.keys.load()
    }
}
