//! Takes the place of the digest, by which no test of the view makes its keys.

/// No digest.
pub(crate) fn sha256(_: &[u8]) -> [u8; 32] {
    [0; 32]
}
