//! An application key: a key that an application writes for its own use, and that determines whether a token
//! is revoked.

use std::fmt;
use std::sync::Arc;

use super::super::hash::KeyHash;
use super::rule::KeyRule;

/// An application key, rendered for one token.
#[derive(Clone)]
pub struct ForeignKey {
    rule: Arc<KeyRule>,
    name: Vec<u8>,
    member: Vec<u8>,
    hash: Option<KeyHash>,
}

impl fmt::Debug for ForeignKey {
    /// Omits the name, which identifies a token or a person.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForeignKey")
            .field("template", &self.rule.key.as_str())
            .field("in_view", &self.hash.is_some())
            .finish_non_exhaustive()
    }
}

impl ForeignKey {
    /// Makes the key that `rule` renders for a token: its `name`, the `member` of its value that is read
    /// (empty: the whole value), and its hash in a view, if a view can contain it.
    pub(crate) fn new(
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

    /// Returns the name of the key in the store.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Returns the lookup that the key belongs to.
    pub fn rule(&self) -> &KeyRule {
        &self.rule
    }

    /// Returns the member to look for in the value; empty if the whole value is read.
    pub fn member(&self) -> &[u8] {
        &self.member
    }

    /// Returns whether a token without this key is revoked.
    pub fn is_required(&self) -> bool {
        self.rule.required
    }

    /// Returns the hash of the key in a view; `None` if no view can contain its value.
    pub fn hash(&self) -> Option<KeyHash> {
        self.hash
    }
}
