//! Keys, generated for each test, and tokens signed with them.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Map, Value, json};

use super::Scratch;

pub const ISSUER: &str = "https://auth.shop.example";
pub const AUDIENCE: &str = "shop";

/// A signing key, and its public half in the forms that Revoxy reads.
pub struct SigningKey {
    pub algorithm: Algorithm,
    encoding: EncodingKey,
    private_pem: String,
    public: Public,
}

enum Public {
    Pem(String),
    Secret(Vec<u8>),
}

impl SigningKey {
    pub fn es256() -> Self {
        Self::generate(Algorithm::ES256)
    }

    pub fn generate(algorithm: Algorithm) -> Self {
        revoxy::jwt::install_crypto().unwrap();
        if algorithm == Algorithm::HS256 {
            let mut secret = vec![0; 32];
            aws_lc_rs::rand::fill(&mut secret).unwrap();
            // A secret that ends in a line break cannot be distinguished from a file that does.
            secret[31] |= 0x80;
            return Self {
                algorithm,
                encoding: EncodingKey::from_secret(&secret),
                private_pem: String::new(),
                public: Public::Secret(secret),
            };
        }
        let (private, public) = match algorithm {
            Algorithm::RS256 => {
                let key = rsa::KeyPair::generate(KeySize::Rsa2048).unwrap();
                let private: Pkcs8V1Der<'_> = key.as_der().unwrap();
                let public: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
                (private.as_ref().to_vec(), public.as_ref().to_vec())
            }
            Algorithm::ES256 => {
                let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
                let private = key.to_pkcs8v1().unwrap();
                let public: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
                (private.as_ref().to_vec(), public.as_ref().to_vec())
            }
            Algorithm::EdDSA => {
                let key = Ed25519KeyPair::generate().unwrap();
                let private: Pkcs8V1Der<'_> = key.as_der().unwrap();
                let public: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
                (private.as_ref().to_vec(), public.as_ref().to_vec())
            }
            other => panic!("no test makes {other:?} keys"),
        };
        let private_pem = pem("PRIVATE KEY", &private);
        let bytes = private_pem.as_bytes();
        let encoding = match algorithm {
            Algorithm::RS256 => EncodingKey::from_rsa_pem(bytes),
            Algorithm::ES256 => EncodingKey::from_ec_pem(bytes),
            _ => EncodingKey::from_ed_pem(bytes),
        };
        Self {
            algorithm,
            encoding: encoding.unwrap(),
            private_pem,
            public: Public::Pem(pem("PUBLIC KEY", &public)),
        }
    }

    /// The name of the algorithm.
    pub fn name(&self) -> String {
        format!("{:?}", self.algorithm)
    }

    /// Writes the file for verification, and returns the `keys` of a configuration that names it.
    pub fn write(&self, scratch: &Scratch) -> String {
        let (option, content) = match &self.public {
            Public::Pem(pem) => ("pem_file", pem.as_bytes()),
            Public::Secret(secret) => ("secret_file", secret.as_slice()),
        };
        let path = scratch.unused(option);
        std::fs::write(&path, content).unwrap();
        format!("{{ {option}: {path:?} }}")
    }

    /// The private half, which no configuration should contain.
    pub fn private_pem(&self) -> &str {
        &self.private_pem
    }

    /// The public half as a JWK.
    pub fn jwk(&self, kid: &str) -> Value {
        let jwk = Jwk::from_encoding_key(&self.encoding, self.algorithm).unwrap();
        let mut jwk = serde_json::to_value(jwk).unwrap();
        jwk["kid"] = json!(kid);
        jwk["use"] = json!("sig");
        jwk
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).collect();
    let lines: Vec<_> = lines.iter().map(|l| str::from_utf8(l).unwrap()).collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}

/// A token to be signed: valid unless it is made invalid.
#[derive(Clone)]
pub struct Token {
    header: Map<String, Value>,
    claims: Map<String, Value>,
}

impl Token {
    pub fn access(jti: &str) -> Self {
        let mut token = Self {
            header: Map::new(),
            claims: Map::new(),
        };
        token.header.insert("typ".to_owned(), json!("JWT"));
        token
            .with("iss", ISSUER)
            .with("aud", AUDIENCE)
            .with("sub", "alice")
            .with("jti", jti)
            .with("type", "access")
            .with("iat", now())
            .with("exp", now() + 3600)
    }

    pub fn refresh(jti: &str) -> Self {
        Self::access(jti).with("type", "refresh")
    }

    pub fn with(mut self, claim: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(claim.to_owned(), value.into());
        self
    }

    pub fn without(mut self, claim: &str) -> Self {
        self.claims.remove(claim).unwrap();
        self
    }

    pub fn header(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.header.insert(member.to_owned(), value.into());
        self
    }

    /// Signs the token. The header names the key's algorithm unless it was set to another one.
    pub fn sign(mut self, key: &SigningKey) -> String {
        let algorithm = json!(key.name());
        self.header.entry("alg").or_insert(algorithm);
        let input = self.signing_input();
        let signature =
            jsonwebtoken::crypto::sign(input.as_bytes(), &key.encoding, key.algorithm).unwrap();
        format!("{input}.{signature}")
    }

    /// Header and payload, without signature.
    pub fn signing_input(&self) -> String {
        let part = |map: &Map<String, Value>| URL_SAFE_NO_PAD.encode(json!(map).to_string());
        format!("{}.{}", part(&self.header), part(&self.claims))
    }
}

/// Seconds since the epoch.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}
