//! Keys from files: a JWK set, a PEM public key or an HMAC secret.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use jsonwebtoken::DecodingKey;

use crate::digest::sha256;

use super::algorithm::{Algorithm, KeyType};
use super::jwk;
use super::key::{KeySet, VerificationKey};
use super::key_error::KeyError;

/// The maximum size of a key file; a path to something else (a log, a device) is refused, rather than read to
/// its end.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// A file that contains an issuer's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyFile {
    /// A JWK set (RFC 7517 §5).
    Jwks(PathBuf),
    /// One public key in PEM: `PUBLIC KEY` (RFC 5280) or `RSA PUBLIC KEY` (RFC 8017).
    Pem(PathBuf),
    /// An HMAC secret.
    Secret(SecretFile),
}

/// A file with an HMAC secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFile {
    /// The file. One line break at its end is not part of the secret.
    pub path: PathBuf,
    /// How the secret is encoded.
    pub encoding: SecretEncoding,
    /// Whether the secret may be shorter than the hash (RFC 7518 §3.2).
    pub allow_short: bool,
}

impl From<PathBuf> for SecretFile {
    /// An unencoded secret of sufficient length.
    fn from(path: PathBuf) -> Self {
        Self {
            path,
            encoding: SecretEncoding::default(),
            allow_short: false,
        }
    }
}

/// How a secret is encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretEncoding {
    /// Not encoded.
    #[default]
    Raw,
    /// base64 (RFC 4648 §4), with or without padding.
    Base64,
    /// base64url (RFC 4648 §5), with or without padding.
    Base64url,
    /// Hexadecimal digits.
    Hex,
}

impl SecretEncoding {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Base64 => "base64",
            Self::Base64url => "base64url",
            Self::Hex => "hex",
        }
    }

    fn decode(self, text: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Raw => Some(text.to_vec()),
            Self::Base64 => GeneralPurpose::new(&STANDARD, LENIENT).decode(text).ok(),
            Self::Base64url => GeneralPurpose::new(&URL_SAFE, LENIENT).decode(text).ok(),
            Self::Hex => hex::decode(text).ok(),
        }
    }
}

/// Libraries accept secrets with or without padding, and ignore trailing bits.
const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);

/// Keys, and notes on the keys that were left out.
pub type LoadedKeys = (KeySet, Vec<String>);

impl KeyFile {
    /// Reads the file. Returns the keys that can serve the `allowed` algorithms, and notes on the keys that
    /// were left out.
    pub fn load(&self, allowed: &[Algorithm]) -> Result<LoadedKeys, KeyError> {
        self.parse(&read(self.path())?, allowed)
    }

    /// Reads the file, and parses its keys unless the digest of its content is `known`. Returns the new
    /// digest first.
    pub fn load_if_changed(
        &self,
        allowed: &[Algorithm],
        known: Option<[u8; 32]>,
    ) -> Result<Option<([u8; 32], LoadedKeys)>, KeyError> {
        let content = read(self.path())?;
        let digest = sha256(&content);
        if known == Some(digest) {
            return Ok(None);
        }
        Ok(Some((digest, self.parse(&content, allowed)?)))
    }

    fn parse(&self, content: &[u8], allowed: &[Algorithm]) -> Result<LoadedKeys, KeyError> {
        let loaded = match self {
            Self::Jwks(_) => jwk::parse_set(content, allowed),
            Self::Pem(_) => pem(content, allowed).map(single),
            Self::Secret(file) => file.parse(content, allowed).map(single),
        };
        loaded.map_err(|problem| KeyError::Unusable {
            path: self.path().to_owned(),
            problem,
        })
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        match self {
            Self::Jwks(path) | Self::Pem(path) => path,
            Self::Secret(file) => &file.path,
        }
    }
}

fn single(key: VerificationKey) -> LoadedKeys {
    (KeySet::new(vec![key]), Vec::new())
}

fn read(path: &Path) -> Result<Vec<u8>, KeyError> {
    let unreadable = |source| KeyError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let mut content = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut content))
        .map_err(unreadable)?;
    if content.len() as u64 > MAX_FILE_BYTES {
        return Err(KeyError::TooLarge {
            path: path.to_owned(),
            limit: MAX_FILE_BYTES,
        });
    }
    Ok(content)
}

fn pem(content: &[u8], allowed: &[Algorithm]) -> Result<VerificationKey, String> {
    let text = str::from_utf8(content).map_err(|_| "not PEM: not text")?;
    let labels: Vec<_> = text
        .lines()
        .filter_map(|l| {
            l.strip_prefix("-----BEGIN ")?
                .trim_end()
                .strip_suffix("-----")
        })
        .collect();
    match labels.as_slice() {
        [] => return Err("not PEM: no `-----BEGIN PUBLIC KEY-----`".to_owned()),
        ["PUBLIC KEY" | "RSA PUBLIC KEY"] => {}
        [label] if label.contains("PRIVATE") => {
            return Err("a private key; a verifier needs only the public one: \
                        `openssl pkey -in key.pem -pubout`"
                .to_owned());
        }
        [label] => return Err(format!("PEM of type `{label}`, a `PUBLIC KEY` is needed")),
        _ => return Err("more than one PEM block; several keys belong in a JWK set".to_owned()),
    }
    if let Ok(key) = DecodingKey::from_rsa_pem(content) {
        return VerificationKey::new(None, KeyType::Rsa, key, allowed);
    }
    if let Ok(key) = DecodingKey::from_ec_pem(content) {
        // An uncompressed point is 1 + 2 × 32 bytes on P-256, 1 + 2 × 48 on P-384 and 1 + 2 × 66 on P-521.
        let key_type = match key.try_get_as_bytes().map(<[u8]>::len) {
            Ok(65) => KeyType::P256,
            Ok(97) => KeyType::P384,
            Ok(133) => KeyType::P521,
            _ => return Err("an EC key on another curve than P-256, P-384 or P-521".to_owned()),
        };
        return VerificationKey::new(None, key_type, key, allowed);
    }
    if let Ok(key) = DecodingKey::from_ed_pem(content) {
        return VerificationKey::new(None, KeyType::Ed25519, key, allowed);
    }
    Err("not an RSA, P-256, P-384, P-521 or Ed25519 public key".to_owned())
}

impl SecretFile {
    fn parse(&self, content: &[u8], allowed: &[Algorithm]) -> Result<VerificationKey, String> {
        let content = content.strip_suffix(b"\n").unwrap_or(content);
        let content = content.strip_suffix(b"\r").unwrap_or(content);
        let secret = self
            .encoding
            .decode(content)
            .ok_or_else(|| format!("not {}", self.encoding.as_str()))?;
        if self.allow_short {
            return VerificationKey::of_any_secret(&secret, allowed);
        }
        let key = DecodingKey::from_secret(&secret);
        VerificationKey::new(None, KeyType::Secret, key, allowed)
    }
}
