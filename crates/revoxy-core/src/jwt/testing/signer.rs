//! Makes keys, and tokens of any form signed with them. Keys are generated when the tests run: no private key
//! is committed.

use std::sync::LazyLock;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// All supported algorithms.
pub const ALGORITHMS: [&str; 13] = [
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256",
    "ES384", "ES512", "EdDSA",
];

/// A key pair or a secret.
pub enum Signer {
    Secret(Vec<u8>),
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    P521(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

static RSA: LazyLock<Signer> =
    LazyLock::new(|| Signer::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()));
static SECRET: LazyLock<Signer> = LazyLock::new(|| Signer::Secret(vec![0x5a; 64]));
static P256: LazyLock<Signer> = LazyLock::new(Signer::p256);
static P384: LazyLock<Signer> = LazyLock::new(|| {
    Signer::P384(EcdsaKeyPair::generate(&signature::ECDSA_P384_SHA384_FIXED_SIGNING).unwrap())
});
static P521: LazyLock<Signer> = LazyLock::new(|| {
    Signer::P521(EcdsaKeyPair::generate(&signature::ECDSA_P521_SHA512_FIXED_SIGNING).unwrap())
});
static ED25519: LazyLock<Signer> = LazyLock::new(Signer::ed25519);

impl Signer {
    /// The key of this process for an algorithm.
    pub fn of(algorithm: &str) -> &'static Self {
        match algorithm {
            "ES256" => &P256,
            "ES384" => &P384,
            "ES512" => &P521,
            "EdDSA" => &ED25519,
            hmac if hmac.starts_with("HS") => &SECRET,
            _ => &RSA,
        }
    }

    /// A new P-256 key.
    pub fn p256() -> Self {
        Self::P256(EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    /// A new Ed25519 key.
    pub fn ed25519() -> Self {
        Self::Ed25519(Ed25519KeyPair::generate().unwrap())
    }

    /// The public key (or the secret) as a JWK.
    pub fn jwk(&self, kid: Option<&str>) -> Value {
        let point = |point: &[u8]| {
            let (x, y) = point[1..].split_at(point.len() / 2);
            (b64(x), b64(y))
        };
        let mut jwk = match self {
            Self::Secret(secret) => json!({ "kty": "oct", "k": b64(secret) }),
            Self::Rsa(key) => json!({ "kty": "RSA", "n": b64(&modulus(key)), "e": "AQAB" }),
            Self::P256(key) => {
                let (x, y) = point(key.public_key().as_ref());
                json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y })
            }
            Self::P384(key) => {
                let (x, y) = point(key.public_key().as_ref());
                json!({ "kty": "EC", "crv": "P-384", "x": x, "y": y })
            }
            Self::P521(key) => {
                let (x, y) = point(key.public_key().as_ref());
                json!({ "kty": "EC", "crv": "P-521", "x": x, "y": y })
            }
            Self::Ed25519(key) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": b64(key.public_key().as_ref()) })
            }
        };
        if let Some(kid) = kid {
            jwk["kid"] = kid.into();
        }
        jwk
    }

    /// The public key in the form that the library verifies with; empty for a secret.
    #[allow(dead_code, reason = "for the benchmark only")]
    pub fn public_key(&self) -> Vec<u8> {
        match self {
            Self::Secret(_) => Vec::new(),
            Self::Rsa(key) => key.public_key().as_ref().to_vec(),
            Self::P256(key) | Self::P384(key) | Self::P521(key) => {
                key.public_key().as_ref().to_vec()
            }
            Self::Ed25519(key) => key.public_key().as_ref().to_vec(),
        }
    }

    /// The signature of `message` with `algorithm`.
    pub fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Secret(secret) => {
                let hash = match algorithm {
                    "HS384" => hmac::HMAC_SHA384,
                    "HS512" => hmac::HMAC_SHA512,
                    _ => hmac::HMAC_SHA256,
                };
                hmac::sign(&hmac::Key::new(hash, secret), message)
                    .as_ref()
                    .to_vec()
            }
            Self::Rsa(key) => {
                let encoding: &dyn signature::RsaEncoding = match algorithm {
                    "RS384" => &signature::RSA_PKCS1_SHA384,
                    "RS512" => &signature::RSA_PKCS1_SHA512,
                    "PS256" => &signature::RSA_PSS_SHA256,
                    "PS384" => &signature::RSA_PSS_SHA384,
                    "PS512" => &signature::RSA_PSS_SHA512,
                    _ => &signature::RSA_PKCS1_SHA256,
                };
                let mut out = vec![0; key.public_modulus_len()];
                key.sign(encoding, &random, message, &mut out).unwrap();
                out
            }
            Self::P256(key) | Self::P384(key) | Self::P521(key) => {
                key.sign(&random, message).unwrap().as_ref().to_vec()
            }
            Self::Ed25519(key) => key.sign(message).as_ref().to_vec(),
        }
    }

    /// A compact token made from these texts, whatever they contain.
    pub fn token(&self, algorithm: &str, header: &str, payload: &str) -> String {
        let input = format!("{}.{}", b64(header.as_bytes()), b64(payload.as_bytes()));
        let signature = b64(&self.sign(algorithm, input.as_bytes()));
        format!("{input}.{signature}")
    }
}

/// The modulus of a 2048-bit key in PKCS#1 form (RFC 8017 §A.1.1).
fn modulus(key: &RsaKeyPair) -> Vec<u8> {
    let der = key.public_key().as_ref();
    let start = der.len() - 5 - key.public_modulus_len();
    der[start..start + key.public_modulus_len()].to_vec()
}

/// base64url without padding.
pub fn b64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
