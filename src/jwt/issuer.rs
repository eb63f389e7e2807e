//! One configured token issuer: what its tokens must say, and the keys that they are verified with.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::algorithm::Algorithm;
use super::demand::KeyDemand;
use super::key::KeySet;

/// What the tokens of an issuer must say.
#[derive(Clone, Debug)]
pub struct IssuerProfile {
    /// Our alias for the issuer: metric label and part of store keys.
    pub name: Arc<str>,
    /// The value of `iss`, compared as it stands (RFC 7519 §4.1.1).
    pub issuer: String,
    /// One of these must be in `aud`; where there are none, `aud` is not looked at.
    pub audiences: Vec<String>,
    /// The algorithms that the issuer signs with.
    pub algorithms: Vec<Algorithm>,
    /// How far the clocks of issuer and verifier may be apart.
    pub leeway: Duration,
    /// Where a token says of which type it is.
    pub token_type: TokenTypeNames,
}

/// How an issuer names token types.
#[derive(Clone, Debug)]
pub struct TokenTypeNames {
    /// The claim, `type` with flask-jwt-extended, `typ` with Keycloak. A token without it is an access token.
    pub claim: String,
    /// Values that mean an access token.
    pub access: Vec<String>,
    /// Values that mean a refresh token.
    pub refresh: Vec<String>,
}

impl Default for TokenTypeNames {
    fn default() -> Self {
        Self {
            claim: "type".to_owned(),
            access: vec!["access".to_owned()],
            refresh: vec!["refresh".to_owned()],
        }
    }
}

/// An issuer and its present keys.
#[derive(Debug)]
pub struct Issuer {
    profile: IssuerProfile,
    keys: ArcSwap<KeySet>,
    demand: Option<KeyDemand>,
}

impl Issuer {
    /// An issuer with the keys that it starts with.
    pub fn new(profile: IssuerProfile, keys: KeySet) -> Self {
        Self {
            profile,
            keys: ArcSwap::from_pointee(keys),
            demand: None,
        }
    }

    /// An issuer whose keys are fetched by somebody who answers the `demand`; at first it has none.
    pub fn fetched(profile: IssuerProfile, demand: KeyDemand) -> Self {
        Self {
            profile,
            keys: ArcSwap::default(),
            demand: Some(demand),
        }
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
