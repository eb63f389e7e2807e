//! Takes the place of the key of a revocation, whose hash here is what a test has chosen.

use super::hash::KeyHash;

/// A key that is nothing but its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationKey(pub(super) KeyHash);

impl RevocationKey {
    pub(super) fn hash(&self) -> KeyHash {
        self.0
    }
}
