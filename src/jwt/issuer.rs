//! One configured token issuer: what its tokens must say, and the keys that they are verified with.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::{Map, Value};

use super::algorithm::Algorithm;
use super::demand::KeyDemand;
use super::identifiers::IdentifierRules;
use super::iss::IssPattern;
use super::key::KeySet;
use super::required::RequiredClaim;
use super::token_type::{TokenType, TokenTypeRule};

/// What the tokens of an issuer must say.
#[derive(Clone, Debug)]
pub struct IssuerProfile {
    /// Our alias for the issuer: metric label and part of store keys.
    pub name: Arc<str>,
    /// The value of `iss`, compared as it stands (RFC 7519 §4.1.1); `None` where none of its tokens has one.
    pub issuer: Option<String>,
    /// More values of `iss`, for the same keys.
    pub more_issuers: Vec<String>,
    /// Patterns of values of `iss`. A value that patterns of two issuers match is nobody's.
    pub issuer_patterns: Vec<IssPattern>,
    /// Whether a token without `iss` is one of its own. Such a token names nobody whose keys to try, so of all issuers
    /// of a verifier one at most may say so.
    pub missing_iss: bool,
    /// One of these must be in `aud`; where there are none, `aud` is not looked at.
    pub audiences: Vec<String>,
    /// The algorithms that the issuer signs with.
    pub algorithms: Vec<Algorithm>,
    /// How far the clocks of issuer and verifier may be apart.
    pub leeway: Duration,
    /// The types whose `exp` is judged without the leeway. Those whose revocation is looked up belong here: whoever
    /// revokes a token may have the revocation end with `exp`, and what comes after would be accepted again.
    pub exact_exp: Vec<TokenType>,
    /// Where a token says of which type it is.
    pub token_type: TokenTypeRule,
    /// The type of the tokens that the keys sign, where other types have keys of their own. A token that says that it is of
    /// another type is of none.
    pub type_of_keys: Option<TokenType>,
    /// By which claims a token, its user, session and client are known.
    pub identifiers: IdentifierRules,
    /// Whether a token may do without `exp`, and when it ends then.
    pub missing_exp: Option<MissingExp>,
    /// Which claims must be there beside `exp`, and what they must say.
    pub required_claims: Vec<RequiredClaim>,
    /// What else the form of its tokens follows.
    pub form: TokenForm,
    /// Which claims verified tokens keep, see [`VerifiedClaims::claim`](super::VerifiedClaims::claim).
    pub kept_claims: Arc<[ClaimPath]>,
}

impl Default for IssuerProfile {
    /// The strictest profile. It has no name, and neither `iss` nor algorithms: no token is its own.
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
        }
    }
}

impl IssuerProfile {
    /// The values of `iss` that are no patterns.
    pub fn fixed_issuers(&self) -> impl Iterator<Item = &String> {
        self.issuer.iter().chain(&self.more_issuers)
    }

    /// By how much a token of this type may outlive its `exp`.
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
    /// Never: see [`NO_EXP`](super::NO_EXP).
    Never,
    /// So long after `iat`, which it must have.
    AfterIssue(Duration),
}

/// What a token looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenForm {
    /// Any JWT.
    #[default]
    Jwt,
    /// A JWT access token of RFC 9068: `typ` says so, and `iss`, `exp`, `aud`, `sub`, `client_id`, `iat` and `jti` are
    /// there.
    Rfc9068,
}

impl TokenForm {
    /// Whether a token may have this `typ`, in lower case and without `application/`.
    ///
    /// Others than these, such as `logout+jwt`, are made by the same keys for another purpose (RFC 8725 §3.11). Those of
    /// refresh tokens are in no standard; where they stand, the token is no access token.
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

/// A claim by its name, or one further down by a JSON pointer (RFC 6901): `email`, `/realm_access/roles`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(transparent)]
pub struct ClaimPath(pub String);

impl ClaimPath {
    /// The value there, unless it is null.
    pub(super) fn find<'c>(&self, claims: &'c Map<String, Value>) -> Option<&'c Value> {
        self.value(claims).filter(|value| !value.is_null())
    }

    /// The value there, whatever it is.
    pub(super) fn value<'c>(&self, claims: &'c Map<String, Value>) -> Option<&'c Value> {
        Some(match self.0.strip_prefix('/') {
            None => claims.get(&self.0)?,
            Some(path) => {
                let (first, rest) = path.split_once('/').unwrap_or((path, ""));
                let top = claims.get(&first.replace("~1", "/").replace("~0", "~"))?;
                if rest.is_empty() && !path.ends_with('/') {
                    top
                } else {
                    top.pointer(&format!("/{rest}"))?
                }
            }
        })
    }
}

/// An issuer and its present keys.
#[derive(Debug)]
pub struct Issuer {
    profile: IssuerProfile,
    keys: ArcSwap<KeySet>,
    demand: Option<KeyDemand>,
    /// Where it is asked to read a key file again.
    file_demand: Option<KeyDemand>,
    /// Under which key the proxy puts the claims that it has verified.
    proxied: Option<String>,
    /// The keys that refresh tokens are signed with, where they have their own.
    refresh: Option<Arc<Issuer>>,
}

impl Issuer {
    /// An issuer with the keys that it starts with.
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

    /// An issuer whose keys are fetched by somebody who answers the `demand`; at first it has none.
    pub fn fetched(profile: IssuerProfile, demand: KeyDemand) -> Self {
        Self {
            demand: Some(demand),
            ..Self::new(profile, KeySet::default())
        }
    }

    /// An issuer whose tokens the proxy has verified; their claims stand in its metadata under this key.
    pub fn proxied(profile: IssuerProfile, key: String) -> Self {
        Self {
            proxied: Some(key),
            ..Self::new(profile, KeySet::default())
        }
    }

    /// The same issuer, whose refresh tokens are signed with the keys of `refresh` alone. `refresh` has the same profile; its keys sign
    /// no other tokens.
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

    /// The same, with keys from a file that somebody reads again when it changes, and at once when the `demand` is made.
    pub fn watched(self, demand: KeyDemand) -> Self {
        Self {
            file_demand: Some(demand),
            ..self
        }
    }

    /// Where it is asked to read the key file again, if there is one. For whoever has to know at once; checks do without.
    pub fn file_demand(&self) -> Option<&KeyDemand> {
        self.file_demand.as_ref()
    }

    /// Where its keys are asked for, if they are fetched.
    pub fn demand(&self) -> Option<&KeyDemand> {
        self.demand.as_ref()
    }

    /// What its tokens must say.
    pub fn profile(&self) -> &IssuerProfile {
        &self.profile
    }

    /// Takes these keys from now on. What was verified with the former ones does not count any more.
    pub fn replace_keys(&self, keys: KeySet) {
        self.keys.store(Arc::new(keys));
    }

    /// How many keys it has at present.
    pub fn key_count(&self) -> usize {
        self.keys.load().len()
    }

    pub(super) fn keys(&self) -> arc_swap::Guard<Arc<KeySet>> {
        self.keys.load()
    }
}
