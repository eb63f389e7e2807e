//! Lookups of keys that applications already write: how the keys are named, and what their values mean.
//!
//! A [`KeyRule`] renders the name of a key from the claims of a verified token, and interprets the key's
//! value. Nothing in this module queries a store.

mod encoding;
mod foreign;
mod java;
mod matching;
mod preset;
mod rule;
mod template;
mod unreadable;
mod values;
mod wrapped;

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::jwt::VerifiedClaims;

use super::hash::KeyHash;
use super::key::PREFIX;
use super::token_keys::TokenKeys;

pub use encoding::KeyEncoding;
pub use foreign::ForeignKey;
pub use matching::Match;
pub use matching::{Content, Meaning, issued_among};
pub use preset::{Prefix, Preset};
#[cfg(test)]
pub use rule::hash_of;
use rule::is_ours;
pub use rule::{KeyRule, WithoutClaim};
use template::Rendering;
pub use template::Template;
pub use unreadable::notice as notice_unreadable;
pub use values::TimeUnit;

/// All configured lookups.
#[derive(Clone, Debug, Default)]
pub struct Lookups(Arc<[Arc<KeyRule>]>);

impl Lookups {
    /// Makes a list of these lookups.
    pub fn new(rules: Vec<KeyRule>) -> Self {
        Self(rules.into_iter().map(Arc::new).collect())
    }

    /// Returns whether there are no lookups.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns all lookups.
    pub fn rules(&self) -> impl Iterator<Item = &KeyRule> {
        self.0.iter().map(|rule| &**rule)
    }

    /// Adds the application keys to a token's native keys. If a key cannot be rendered, the token is marked
    /// as unidentified, unless the token lacks a claim and the lookup skips such tokens.
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

    /// Returns which entries of a view a change of this key may affect: the hash of each entry, and the index
    /// of its lookup.
    pub fn named<'l>(&'l self, name: &'l [u8]) -> impl Iterator<Item = (KeyHash, usize)> {
        let rules = if is_ours(name) { &[][..] } else { &self.0[..] };
        let rules = rules.iter().enumerate();
        let named = rules.filter(|(_, rule)| rule.may_have_named(name));
        named.filter_map(|(at, rule)| Some((rule.hash(name)?, at)))
    }

    /// Returns what `content` means under a key of the lookup with this index.
    pub fn meaning(&self, at: usize, content: Content<'_>, now: Timestamp) -> Meaning {
        match self.0.get(at) {
            Some(rule) => rule.meaning(content, now),
            None => Meaning::NOTHING,
        }
    }

    /// Returns the lookup with this index.
    pub fn rule(&self, at: usize) -> Option<&KeyRule> {
        self.0.get(at).map(|rule| &**rule)
    }

    /// Returns whether every key of the database may belong to this lookup.
    pub fn follows_everything(&self, at: usize) -> bool {
        self.0.get(at).is_some_and(|rule| rule.prefix().is_empty())
    }

    /// Returns the prefixes of all keys that a view follows, including the prefix of native keys. None of
    /// them is a prefix of another. An empty prefix matches every key.
    pub fn prefixes(&self) -> Vec<Vec<u8>> {
        let rules = self.rules().filter(|rule| rule.fits_in_view());
        let mut all: Vec<Vec<u8>> = rules.map(|rule| rule.prefix().to_vec()).collect();
        all.push(PREFIX.as_bytes().to_vec());
        // A prefix sorts immediately before everything that begins with it.
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
