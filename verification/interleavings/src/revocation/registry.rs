//! Takes the place of the key of a registered token.

use super::hash::KeyHash;

/// A key that is nothing but its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationKey(pub(super) KeyHash);

impl RegistrationKey {
    pub(super) fn hash(&self) -> KeyHash {
        self.0
    }
}
