//! One lookup: how its keys are named, and what their values mean.

use serde::Deserialize;

use crate::clock::Timestamp;
use crate::jwt::{ClaimPath, VerifiedClaims};

use super::super::hash::{EntryKind, KeyHash};
use super::super::key::{PREFIX, RECORDS};
use super::encoding::KeyEncoding;
use super::java;
use super::matching::{Content, Match, Meaning};
use super::template::{Rendering, Template};

/// Returns whether a key is one of Revoxy's own.
pub fn is_ours(name: &[u8]) -> bool {
    name.starts_with(PREFIX.as_bytes()) || name.starts_with(RECORDS.as_bytes())
}

/// What happens to a token that lacks a claim its key needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WithoutClaim {
    /// The token is refused, because it cannot be looked up.
    #[default]
    Deny,
    /// The token is not looked up.
    Skip,
}

/// One lookup: the key of each token, and what its value means.
#[derive(Clone, Debug)]
pub struct KeyRule {
    /// The template of the key's name.
    pub key: Template,
    /// How the name is encoded.
    pub encoding: KeyEncoding,
    /// When an existing key revokes.
    pub matching: Match,
    /// Whether a token without a key is revoked.
    pub required: bool,
    /// What happens to a token that lacks a claim its key needs.
    pub without_claim: WithoutClaim,
    /// The configured names of the issuers whose tokens are looked up; empty means all issuers.
    pub issuers: Vec<String>,
}

impl KeyRule {
    /// Makes a lookup of keys with this name; everything else has its default.
    pub fn named(key: &str, matching: Match) -> Result<Self, String> {
        Ok(Self {
            key: Template::parse(key)?,
            encoding: KeyEncoding::default(),
            matching,
            required: false,
            without_claim: WithoutClaim::default(),
            issuers: Vec::new(),
        })
    }

    /// Returns whether tokens of this issuer are looked up.
    pub fn applies_to(&self, issuer: &str) -> bool {
        self.issuers.is_empty() || self.issuers.iter().any(|name| name == issuer)
    }

    /// Returns the claims that verified tokens have to keep.
    pub fn claims(&self) -> impl Iterator<Item = &ClaimPath> {
        let member = self.matching.member().into_iter();
        self.key.claims().chain(member.flat_map(Template::claims))
    }

    /// Returns whether the lookup needs the token's signature, which may be spelled in two ways for the same
    /// token.
    pub fn needs_signature(&self) -> bool {
        let member = self.matching.member();
        self.key.needs_signature() || member.is_some_and(Template::needs_signature)
    }

    /// Returns whether a view can contain the values. If not, every check queries the store.
    pub fn fits_in_view(&self) -> bool {
        self.matching.fits_in_view()
    }

    /// Returns the prefix of all its keys.
    pub fn prefix(&self) -> &[u8] {
        match self.encoding {
            KeyEncoding::Plain => self.key.prefix().as_bytes(),
            // The length comes before the text, so the prefix ends here.
            KeyEncoding::Java => &java::HEAD,
        }
    }

    /// Returns the meaning of `content` under one of its keys.
    pub fn meaning(&self, content: Content<'_>, now: Timestamp) -> Meaning {
        self.matching
            .meaning(content, self.required, self.encoding, now)
    }

    /// Returns the hash, in a view, of the key with this name; `None` if no view can contain its value.
    pub fn hash(&self, name: &[u8]) -> Option<KeyHash> {
        let meaning = self.matching.fingerprint();
        self.fits_in_view()
            .then(|| hash_of(name, &meaning, self.required))
    }

    /// Returns whether the key with this name may belong to this lookup.
    pub(super) fn may_have_named(&self, name: &[u8]) -> bool {
        match self.encoding {
            KeyEncoding::Plain => {
                str::from_utf8(name).is_ok_and(|text| self.key.may_have_made(text))
            }
            KeyEncoding::Java => {
                java::deserialize(name).is_some_and(|text| self.key.may_have_made(&text))
            }
        }
    }

    /// Returns an example of a key name; `None` if none can be made without a token.
    pub fn sample(&self) -> Option<Vec<u8>> {
        let text = self.key.sample()?;
        match self.encoding {
            KeyEncoding::Plain => Some(text.into_bytes()),
            KeyEncoding::Java => java::serialize(&text),
        }
    }

    /// Renders the name of the key of a token.
    pub(super) fn name(
        &self,
        claims: &VerifiedClaims,
        token: Option<&str>,
    ) -> Result<Vec<u8>, Rendering> {
        let text = match self.key.render(claims, token) {
            Rendering::Text(text) => text,
            other => return Err(other),
        };
        match self.encoding {
            // The meaning of Revoxy's own keys is fixed; no lookup may reinterpret them.
            KeyEncoding::Plain if is_ours(text.as_bytes()) => Err(Rendering::Impossible),
            KeyEncoding::Plain => Ok(text.into_bytes()),
            KeyEncoding::Java => java::serialize(&text).ok_or(Rendering::Impossible),
        }
    }

    /// Renders the member of a set or hash that is read for a token; empty if the whole value is read.
    pub(super) fn member(
        &self,
        claims: &VerifiedClaims,
        token: Option<&str>,
    ) -> Result<Vec<u8>, Rendering> {
        let Some(member) = self.matching.member() else {
            return Ok(Vec::new());
        };
        match (member.render(claims, token), self.encoding) {
            (Rendering::Text(text), KeyEncoding::Plain) => Ok(text.into_bytes()),
            (Rendering::Text(text), KeyEncoding::Java) => {
                java::serialize(&text).ok_or(Rendering::Impossible)
            }
            (other, _) => Err(other),
        }
    }
}

/// Returns the hash, in a view, of the key with this name and meaning. Two applications may give the same key
/// different meanings.
pub fn hash_of(name: &[u8], meaning: &str, required: bool) -> KeyHash {
    let kind = if required {
        EntryKind::ApplicationAllows
    } else {
        EntryKind::ApplicationDenies
    };
    // Meanings contain no NUL.
    KeyHash::of_name(&[meaning.as_bytes(), b"\0", name].concat(), kind)
}
