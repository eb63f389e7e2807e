//! Tests of which signatures are malleable: application keys may only be made from signatures that are not.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use serde_json::json;

use super::{ALGORITHMS, Algorithm, Signer, b64, claims_but, now, token, verifier};

/// The orders of the groups (FIPS 186-5, SP 800-186 §3.2.1; RFC 8032 §5.1), the last one with its lowest byte
/// first.
const P256: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
const P384: &str = "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973";
const P521: &str = "01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409";
const ED25519: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.map(byte).collect()
}

/// The sum of two numbers of equal length, lowest byte last; `None` if it overflows.
fn sum(a: &[u8], b: &[u8]) -> Option<Vec<u8>> {
    let mut carry = 0;
    let mut digits: Vec<u8> = Vec::new();
    for (a, b) in a.iter().zip(b).rev() {
        let [high, low] = (u16::from(*a) + u16::from(*b) + carry).to_be_bytes();
        carry = u16::from(high);
        digits.insert(0, low);
    }
    (carry == 0).then_some(digits)
}

/// `a` minus `b`, of equal length.
fn difference(a: &[u8], b: &[u8]) -> Vec<u8> {
    // a + (2^k - 1 - b) + 1, without the final carry.
    let mut carry = 1;
    let mut digits: Vec<u8> = Vec::new();
    for (a, b) in a.iter().zip(b).rev() {
        let [high, low] = (u16::from(*a) + u16::from(!*b) + carry).to_be_bytes();
        carry = u16::from(high);
        digits.insert(0, low);
    }
    digits
}

fn reversed(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().rev().copied().collect()
}

/// Returns mathematically equivalent signatures; `None` if there is no equivalent of the same length.
fn others(algorithm: &str, signature: &[u8]) -> Option<Vec<Vec<u8>>> {
    let half = signature.len() / 2;
    let (first, second) = signature.split_at(half);
    let longer = [&[0][..], signature].concat();
    Some(match algorithm {
        "ES256" | "ES384" | "ES512" => {
            let order = bytes(match algorithm {
                "ES256" => P256,
                "ES384" => P384,
                _ => P521,
            });
            vec![[first, &difference(&order, second)].concat()]
        }
        "EdDSA" => {
            let order = reversed(&bytes(ED25519));
            let higher = sum(&reversed(second), &order)?;
            vec![[first, &reversed(&higher)].concat()]
        }
        hmac if hmac.starts_with("HS") => {
            let shorter = signature[..signature.len() - 1].to_vec();
            vec![shorter, [signature, &[0]].concat()]
        }
        _ => {
            let jwk = Signer::of(algorithm).jwk(None);
            let modulus = URL_SAFE_NO_PAD.decode(jwk["n"].as_str().unwrap()).unwrap();
            vec![sum(signature, &modulus)?, longer]
        }
    })
}

#[test]
fn the_signatures_that_can_be_written_in_another_way_are_known() {
    for name in ALGORITHMS {
        let forms = |n: u32| {
            let token = token(name, &claims_but("jti", json!(n.to_string())));
            let (input, signature) = token.rsplit_once('.').unwrap();
            let others = others(name, &URL_SAFE_NO_PAD.decode(signature).unwrap())?;
            Some((input.to_owned(), others))
        };
        let (input, others) = (0..200).find_map(forms).unwrap();
        let accepted = |other: &Vec<u8>| {
            let token = format!("{input}.{}", b64(other));
            verifier().verify(&token, now()).is_ok()
        };
        let malleable = Algorithm::from_name(name).unwrap().is_malleable();
        assert_eq!(others.iter().any(accepted), malleable, "{name}");
    }
}
