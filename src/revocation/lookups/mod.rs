//! Keys that applications already write: how they are named, and what they say.
//!
//! A [`KeyRule`] makes the name of a key of what a verified token says, and tells what it means that something stands
//! there. Nothing here asks a store.

mod java;
mod matching;
mod preset;
mod template;
mod unreadable;
mod values;
mod wrapped;

use std::sync::Arc;

use serde::Deserialize;

use crate::clock::Timestamp;
use crate::jwt::{ClaimPath, VerifiedClaims};

use super::foreign::{self, ForeignKey};
use super::key::{PREFIX, RECORDS};
use super::token_keys::TokenKeys;
use super::view::KeyHash;

pub use matching::Match;
pub(super) use matching::{Content, Meaning, issued_among};
pub use preset::{Prefix, Preset};
use template::Rendering;
pub use template::Template;
pub(super) use unreadable::notice as notice_unreadable;
pub use values::TimeUnit;

/// Whether a key is our own.
fn is_ours(name: &[u8]) -> bool {
    name.starts_with(PREFIX.as_bytes()) || name.starts_with(RECORDS.as_bytes())
}

/// How an application writes a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyEncoding {
    /// As it stands.
    #[default]
    Plain,
    /// As the JDK serializes a text; values are understood in both forms.
    Java,
}

/// What becomes of a token that lacks a claim of which its key is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WithoutClaim {
    /// It is refused: it cannot be looked up.
    #[default]
    Deny,
    /// It is not looked up.
    Skip,
}

/// One lookup: a key for each token, and what it means.
#[derive(Clone, Debug)]
pub struct KeyRule {
    /// The name of the key.
    pub key: Template,
    /// How it is written.
    pub encoding: KeyEncoding,
    /// When what stands there revokes.
    pub matching: Match,
    /// Whether a token without a key is revoked.
    pub required: bool,
    /// What becomes of a token that lacks a claim.
    pub without_claim: WithoutClaim,
    /// The configured names of the issuers whose tokens are looked up; none means all.
    pub issuers: Vec<String>,
}

impl KeyRule {
    /// The lookup of keys of this name, with everything else as it is by default.
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

    /// Whether tokens of this issuer are looked up.
    pub fn applies_to(&self, issuer: &str) -> bool {
        self.issuers.is_empty() || self.issuers.iter().any(|name| name == issuer)
    }

    /// The claims that verified tokens have to keep.
    pub fn claims(&self) -> impl Iterator<Item = &ClaimPath> {
        let member = self.matching.member().into_iter();
        self.key.claims().chain(member.flat_map(Template::claims))
    }

    /// Whether it needs the token's signature, of which there can be two for one token.
    pub fn needs_signature(&self) -> bool {
        let member = self.matching.member();
        self.key.needs_signature() || member.is_some_and(Template::needs_signature)
    }

    /// Whether a view can hold what its keys say; otherwise the store is asked on every check.
    pub fn fits_in_view(&self) -> bool {
        self.matching.fits_in_view()
    }

    /// What the names of all its keys begin with.
    pub(super) fn prefix(&self) -> &[u8] {
        match self.encoding {
            KeyEncoding::Plain => self.key.prefix().as_bytes(),
            // The length comes before the text.
            KeyEncoding::Java => &java::HEAD,
        }
    }

    /// What it means that `content` stands under one of its keys.
    pub(super) fn meaning(&self, content: Content<'_>, now: Timestamp) -> Meaning {
        self.matching
            .meaning(content, self.required, self.encoding, now)
    }

    /// How the key of this name stands in a view; `None` where none can hold it.
    fn hash(&self, name: &[u8]) -> Option<KeyHash> {
        let meaning = self.matching.fingerprint();
        self.fits_in_view()
            .then(|| foreign::hash(name, &meaning, self.required))
    }

    /// Whether the key of this name may be one of its own.
    fn may_have_named(&self, name: &[u8]) -> bool {
        match self.encoding {
            KeyEncoding::Plain => {
                str::from_utf8(name).is_ok_and(|text| self.key.may_have_made(text))
            }
            KeyEncoding::Java => {
                java::deserialize(name).is_some_and(|text| self.key.may_have_made(&text))
            }
        }
    }

    /// The name of a key that a token could have, where that can be told without one.
    pub(super) fn sample(&self) -> Option<Vec<u8>> {
        let text = self.key.sample()?;
        match self.encoding {
            KeyEncoding::Plain => Some(text.into_bytes()),
            KeyEncoding::Java => java::serialize(&text),
        }
    }

    fn name(&self, claims: &VerifiedClaims, token: Option<&str>) -> Result<Vec<u8>, Rendering> {
        let text = match self.key.render(claims, token) {
            Rendering::Text(text) => text,
            other => return Err(other),
        };
        match self.encoding {
            // Of our own keys we know better what they mean.
            KeyEncoding::Plain if is_ours(text.as_bytes()) => Err(Rendering::Impossible),
            KeyEncoding::Plain => Ok(text.into_bytes()),
            KeyEncoding::Java => java::serialize(&text).ok_or(Rendering::Impossible),
        }
    }

    fn member(&self, claims: &VerifiedClaims, token: Option<&str>) -> Result<Vec<u8>, Rendering> {
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

/// Every configured lookup.
#[derive(Clone, Debug, Default)]
pub struct Lookups(Arc<[Arc<KeyRule>]>);

impl Lookups {
    /// These.
    pub fn new(rules: Vec<KeyRule>) -> Self {
        Self(rules.into_iter().map(Arc::new).collect())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    pub fn rules(&self) -> impl Iterator<Item = &KeyRule> {
        self.0.iter().map(|rule| &**rule)
    }

    /// Adds the keys of applications to those of ours. A token that has to be looked up and cannot be is marked.
    pub fn add_to(
        &self,
        keys: TokenKeys,
        claims: &VerifiedClaims,
        token: Option<&str>,
    ) -> TokenKeys {
        let mut found = Vec::new();
        for rule in self.0.iter().filter(|r| r.applies_to(claims.issuer())) {
            let name = rule.name(claims, token);
            match name.and_then(|name| Ok((name, rule.member(claims, token)?))) {
                Ok((name, member)) => {
                    let hash = rule.hash(&name);
                    found.push(ForeignKey::new(Arc::clone(rule), name, member, hash));
                }
                Err(Rendering::Lacking) if rule.without_claim == WithoutClaim::Skip => {}
                Err(_) => return keys.unidentified(),
            }
        }
        keys.with_foreign(found)
    }

    /// What a change of the key of this name may concern: as it stands in a view, and for which lookup.
    pub(super) fn named<'l>(&'l self, name: &'l [u8]) -> impl Iterator<Item = (KeyHash, usize)> {
        let rules = if is_ours(name) { &[][..] } else { &self.0[..] };
        let rules = rules.iter().enumerate();
        let named = rules.filter(|(_, rule)| rule.may_have_named(name));
        named.filter_map(|(at, rule)| Some((rule.hash(name)?, at)))
    }

    /// What it means for one of the lookups that `content` stands under a key of its own.
    pub(super) fn meaning(&self, at: usize, content: Content<'_>, now: Timestamp) -> Meaning {
        match self.0.get(at) {
            Some(rule) => rule.meaning(content, now),
            None => Meaning::NOTHING,
        }
    }

    /// One of them, by its place in the list.
    pub(super) fn rule(&self, at: usize) -> Option<&KeyRule> {
        self.0.get(at).map(|rule| &**rule)
    }

    /// Whether every key of the database may be one of this lookup's.
    pub(super) fn follows_everything(&self, at: usize) -> bool {
        self.0.get(at).is_some_and(|rule| rule.prefix().is_empty())
    }

    /// What the names of all keys that a view is made of begin with, ours among them: none of these with another. An
    /// empty one means every key.
    pub(super) fn prefixes(&self) -> Vec<Vec<u8>> {
        let rules = self.rules().filter(|rule| rule.fits_in_view());
        let mut all: Vec<Vec<u8>> = rules.map(|rule| rule.prefix().to_vec()).collect();
        all.push(PREFIX.as_bytes().to_vec());
        // A prefix sorts right before all that begins with it.
        all.sort();
        let mut least: Vec<Vec<u8>> = Vec::new();
        for prefix in all {
            if !least.last().is_some_and(|kept| prefix.starts_with(kept)) {
                least.push(prefix);
            }
        }
        least
    }
}

#[cfg(test)]
mod tests;
