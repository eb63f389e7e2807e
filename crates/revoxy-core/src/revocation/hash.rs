//! The hash by which a view identifies a store key.

use crate::digest::sha256;

/// What an entry of a view is about. The number is part of the hash: at most 15, and never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EntryKind {
    /// One token, by its id (`jti`).
    TokenId = 1,
    /// One token without an id, by its digest.
    Digest = 2,
    /// A subject (`sub`).
    Subject = 3,
    /// A session (`sid`).
    Session = 4,
    /// A client.
    Client = 5,
    /// A signing key, by its `kid`.
    SigningKey = 6,
    /// An issuer.
    Issuer = 7,
    /// A registered token.
    Registration = 8,
    /// An application key that revokes.
    ApplicationDenies = 9,
    /// An application key without which a token is revoked.
    ApplicationAllows = 10,
    /// A signing key, by its thumbprint (RFC 7638).
    KeyThumbprint = 11,
}

/// A 128-bit hash of a store key: taken from its SHA-256, with four bits replaced by the kind of the key, so
/// that a check can skip kinds of which there are no entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyHash {
    /// The upper half, with the kind.
    pub(super) high: u64,
    /// The lower half.
    pub(super) low: u64,
}

impl KeyHash {
    /// Makes a hash from a cryptographic digest; `kind` is 1 to 15.
    pub fn new(digest: u128, kind: u8) -> Self {
        let [low, high] = halves(digest);
        Self {
            high: (high & !15) | u64::from(kind & 15),
            low,
        }
    }

    /// Makes the hash of the key with this SHA-256.
    pub fn of_digest(digest: &[u8; 32], kind: EntryKind) -> Self {
        let mut head = [0; 16];
        head.copy_from_slice(&digest[..16]);
        Self::new(u128::from_le_bytes(head), kind as u8)
    }

    /// Makes the hash of the key with this name.
    pub fn of_name(name: &[u8], kind: EntryKind) -> Self {
        Self::of_digest(&sha256(name), kind)
    }

    /// The leading bytes of the digest, without those that the kind has overwritten.
    pub fn head(self) -> [u8; 8] {
        self.low.to_le_bytes()
    }

    /// Reads what [`KeyHash::to_u128`] returned; `None` if the bits are the hash of no key.
    pub fn from_u128(bits: u128) -> Option<Self> {
        let [low, high] = halves(bits);
        let hash = Self { high, low };
        (hash.kind() != 0).then_some(hash)
    }

    /// Returns all 128 bits.
    pub fn to_u128(self) -> u128 {
        (u128::from(self.high) << 64) | u128::from(self.low)
    }

    /// Returns the number of the [`EntryKind`].
    pub fn kind(self) -> usize {
        usize::from(self.high.to_le_bytes()[0] & 15)
    }

    /// Returns whether the key is of this kind.
    pub fn is(self, kind: EntryKind) -> bool {
        self.kind() == usize::from(kind as u8)
    }
}

fn halves(bits: u128) -> [u64; 2] {
    let bytes = bits.to_le_bytes();
    let half = |at: usize| {
        let mut half = [0; 8];
        half.copy_from_slice(&bytes[at..at + 8]);
        u64::from_le_bytes(half)
    };
    [half(0), half(8)]
}
