//! A key that an application writes for itself, and that says something about a token.

use std::fmt;

use super::key;
use super::view::KeyHash;

/// What the kinds of [`KeyHash`] say beyond those of our own revocations (`key.rs`).
pub(super) const APPLICATION_DENIES: u8 = 9;
pub(super) const APPLICATION_ALLOWS: u8 = 10;

/// The key of an application, rendered for one token.
#[derive(Clone)]
pub struct ForeignKey {
    name: Vec<u8>,
    required: bool,
    hash: Option<KeyHash>,
}

impl fmt::Debug for ForeignKey {
    /// Without the name, which identifies a token or a person.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForeignKey")
            .field("required", &self.required)
            .field("in_view", &self.hash.is_some())
            .finish_non_exhaustive()
    }
}

impl ForeignKey {
    /// A key of this name. Where it is `required`, a token without it is revoked; `in_view` says whether a view can
    /// hold what stands under it.
    pub fn new(name: Vec<u8>, required: bool, in_view: bool) -> Self {
        let kind = if required {
            APPLICATION_ALLOWS
        } else {
            APPLICATION_DENIES
        };
        Self {
            hash: in_view.then(|| key::hash(&name, kind)),
            name,
            required,
        }
    }

    /// The name, as it stands in the store.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Whether a token without this key is revoked.
    pub fn is_required(&self) -> bool {
        self.required
    }

    /// The key as it stands in a view; `None` where no view can hold what it says.
    pub(super) fn hash(&self) -> Option<KeyHash> {
        self.hash
    }
}
