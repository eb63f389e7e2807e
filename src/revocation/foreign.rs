//! A key that an application writes for itself, and that says something about a token.

use std::fmt;
use std::sync::Arc;

use super::key;
use super::lookups::KeyRule;
use super::view::KeyHash;

/// What the kinds of [`KeyHash`] say beyond those of our own revocations (`key.rs`).
const APPLICATION_DENIES: u8 = 9;
pub(super) const APPLICATION_ALLOWS: u8 = 10;

/// The key of an application, rendered for one token.
#[derive(Clone)]
pub struct ForeignKey {
    rule: Arc<KeyRule>,
    name: Vec<u8>,
    member: Vec<u8>,
    hash: Option<KeyHash>,
}

impl fmt::Debug for ForeignKey {
    /// Without the name, which identifies a token or a person.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForeignKey")
            .field("template", &self.rule.key.as_str())
            .field("in_view", &self.hash.is_some())
            .finish_non_exhaustive()
    }
}

/// The hash, in a view, of the key of this name with this meaning. Two applications may read one key differently.
pub(super) fn hash(name: &[u8], meaning: &str, required: bool) -> KeyHash {
    let kind = if required {
        APPLICATION_ALLOWS
    } else {
        APPLICATION_DENIES
    };
    // Meanings hold no NUL.
    key::hash(&[meaning.as_bytes(), b"\0", name].concat(), kind)
}

impl ForeignKey {
    pub(super) fn new(
        rule: Arc<KeyRule>,
        name: Vec<u8>,
        member: Vec<u8>,
        hash: Option<KeyHash>,
    ) -> Self {
        Self {
            rule,
            name,
            member,
            hash,
        }
    }

    /// The name, as it stands in the store.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Of which lookup it is.
    pub fn rule(&self) -> &KeyRule {
        &self.rule
    }

    /// What is looked for under the key, where the lookup says so.
    pub fn member(&self) -> &[u8] {
        &self.member
    }

    /// Whether a token without this key is revoked.
    pub fn is_required(&self) -> bool {
        self.rule.required
    }

    /// The key as it stands in a view; `None` where no view can hold what it says.
    pub(super) fn hash(&self) -> Option<KeyHash> {
        self.hash
    }
}
