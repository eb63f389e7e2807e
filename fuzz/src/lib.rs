//! What both fuzz targets need: an issuer with keys that are no secret, a clock that stands still, and a second
//! opinion on who signed a token, which shares no code with Revoxy's.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use revoxy::clock::Timestamp;
use revoxy::jwt::{Algorithm, Issuer, IssuerProfile, KeySet, Verifier, install_crypto, parse_set};
use serde_json::{Value, json};

/// The issuer whose tokens Revoxy verifies itself.
pub const ISS: &str = "https://auth.shop.example";
/// The issuer whose tokens Envoy has verified, and the key of its claims in the metadata.
pub const PROXIED_ISS: &str = "https://proxied.shop.example";
pub const PROXIED_KEY: &str = "payload";

const NOW: i64 = 1_800_000_000;
const LEEWAY: i64 = 30;
const SECRET: [u8; 64] = [0x5a; 64];

static ED25519_KEY: LazyLock<Ed25519KeyPair> =
    LazyLock::new(|| Ed25519KeyPair::from_seed_unchecked(&[0x5a; 32]).unwrap());

/// When everything takes place.
pub fn now() -> Timestamp {
    Timestamp::from_secs(NOW)
}

/// Base64url without padding.
pub fn b64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn algorithms() -> Vec<Algorithm> {
    let names = [
        "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256",
        "ES384", "EdDSA",
    ];
    let parse = |name: &str| serde_json::from_value(json!(name)).unwrap();
    names.into_iter().map(parse).collect()
}

fn profile(name: &str, iss: &str) -> IssuerProfile {
    IssuerProfile {
        name: Arc::from(name),
        issuer: Some(iss.to_owned()),
        audiences: vec!["shop".to_owned()],
        algorithms: algorithms(),
        leeway: Duration::from_secs(LEEWAY.unsigned_abs()),
        ..IssuerProfile::default()
    }
}

fn keys() -> KeySet {
    let jwks = json!({ "keys": [
        { "kty": "oct", "kid": "secret", "k": b64(&SECRET) },
        { "kty": "OKP", "crv": "Ed25519", "x": b64(ED25519_KEY.public_key().as_ref()) },
    ]});
    let (keys, warnings) = parse_set(jwks.to_string().as_bytes(), &algorithms()).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    keys
}

/// A verifier for both issuers. Every algorithm is allowed, so that confusing them is possible.
pub fn verifier() -> Verifier {
    install_crypto().unwrap();
    Verifier::new([
        Arc::new(Issuer::new(profile("shop", ISS), keys())),
        Arc::new(Issuer::proxied(
            profile("proxied", PROXIED_ISS),
            PROXIED_KEY.to_owned(),
        )),
    ])
}

fn hmac_algorithm(name: &str) -> Option<hmac::Algorithm> {
    Some(match name {
        "HS256" => hmac::HMAC_SHA256,
        "HS384" => hmac::HMAC_SHA384,
        "HS512" => hmac::HMAC_SHA512,
        _ => return None,
    })
}

/// A token with this header and payload, whatever they say, and the signature that this algorithm makes.
pub fn signed(algorithm: &str, header: &[u8], payload: &[u8]) -> String {
    let input = format!("{}.{}", b64(header), b64(payload));
    let signature = match hmac_algorithm(algorithm) {
        Some(algorithm) => {
            let key = hmac::Key::new(algorithm, &SECRET);
            b64(hmac::sign(&key, input.as_bytes()).as_ref())
        }
        None => b64(ED25519_KEY.sign(input.as_bytes()).as_ref()),
    };
    format!("{input}.{signature}")
}

/// The second opinion: whether this is a token of [`ISS`] with the signature of the algorithm that it names, alive and
/// for our audience. It may be laxer than Revoxy in the form, and never about who signed and until when.
pub fn is_genuine(token: &str) -> bool {
    genuine(token).is_some()
}

fn genuine(token: &str) -> Option<()> {
    let (input, signature) = token.rsplit_once('.')?;
    let (header, payload) = input.split_once('.')?;
    let json = |part: &str| -> Option<Value> {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
    };
    let (header, payload) = (json(header)?, json(payload)?);
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    let algorithm = header.get("alg")?.as_str()?;
    match hmac_algorithm(algorithm) {
        Some(algorithm) => {
            let key = hmac::Key::new(algorithm, &SECRET);
            hmac::verify(&key, input.as_bytes(), &signature).ok()?;
        }
        None if algorithm == "EdDSA" => {
            let key = UnparsedPublicKey::new(&ED25519, ED25519_KEY.public_key().as_ref());
            key.verify(input.as_bytes(), &signature).ok()?;
        }
        None => return None,
    }
    claims_are_in_order(&payload, ISS).then_some(())
}

/// Whether these claims are of this issuer, alive and for our audience.
pub fn claims_are_in_order(claims: &Value, iss: &str) -> bool {
    let date = |claim: &str| claims.get(claim).and_then(Value::as_f64);
    let (now, leeway) = (NOW as f64, LEEWAY as f64);
    let audience = match claims.get("aud") {
        Some(Value::Array(many)) => many.iter().any(|a| a == "shop"),
        one => one.is_some_and(|a| a == "shop"),
    };
    audience
        && claims.get("iss").is_some_and(|i| i == iss)
        && date("exp").is_some_and(|exp| now < exp)
        && date("nbf").is_none_or(|nbf| nbf < now + leeway + 1.0)
        && date("iat").is_none_or(|iat| iat < now + leeway + 1.0)
}
