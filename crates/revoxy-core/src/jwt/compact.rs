//! The compact serialization of a JWS (RFC 7515 §7.1), split and decoded, but not yet trusted.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::rejection::Rejection;
use super::strict_json;

/// The maximum size of a token. Envoy's own limit on all headers together is 60 KiB.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// A token, split into three parts and decoded.
pub(super) struct CompactToken<'t> {
    /// `base64url(header) || '.' || base64url(payload)`: the text that is signed.
    pub signing_input: &'t str,
    /// The signature as spelled in the token, which is canonical base64url.
    pub signature: &'t str,
    pub header: Map<String, Value>,
    pub payload: Map<String, Value>,
}

impl<'t> CompactToken<'t> {
    pub fn parse(token: &'t str) -> Result<Self, Rejection> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Rejection::TooLarge);
        }
        let (signing_input, signature) = token.rsplit_once('.').ok_or(Rejection::Malformed)?;
        let (header, payload) = signing_input.split_once('.').ok_or(Rejection::Malformed)?;
        let header = object(header)?;
        if payload.contains('.') {
            // Five parts are a JWE (RFC 7516 §7.1); any other number is not a token.
            return Err(match payload.matches('.').count() {
                2 => Rejection::Unsupported,
                _ => Rejection::Malformed,
            });
        }
        if signature.is_empty() {
            // An unsecured JWS (RFC 7515, appendix A.5).
            return Err(Rejection::Unsupported);
        }
        let payload = object(payload)?;
        // A canonical signature has a single spelling: two spellings would be two tokens to a cache or a log.
        decode(signature)?;
        Ok(Self {
            signing_input,
            signature,
            header,
            payload,
        })
    }
}

fn object(part: &str) -> Result<Map<String, Value>, Rejection> {
    strict_json::parse_object(&decode(part)?).ok_or(Rejection::Malformed)
}

/// Decodes canonical base64url: no padding, no other alphabet, no white space, no stray trailing bits.
fn decode(part: &str) -> Result<Vec<u8>, Rejection> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| Rejection::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn b64(text: &str) -> String {
        URL_SAFE_NO_PAD.encode(text)
    }

    #[test]
    fn three_canonical_parts_are_taken_apart() {
        let token = format!("{}.{}.c2ln", b64(r#"{"alg":"HS256"}"#), b64(r#"{"a":1}"#));
        let parsed = CompactToken::parse(&token).ok().unwrap();
        assert_eq!(parsed.header["alg"], "HS256");
        assert_eq!(parsed.payload["a"], 1);
        assert_eq!(format!("{}.c2ln", parsed.signing_input), token);
    }

    #[test]
    fn other_shapes_are_refused_for_their_own_reason() {
        let h = b64(r#"{"alg":"HS256"}"#);
        let p = b64("{}");
        let cases = [
            (String::new(), Rejection::Malformed),
            ("garbage".to_owned(), Rejection::Malformed),
            ("..".to_owned(), Rejection::Malformed),
            (format!("{h}.{p}"), Rejection::Malformed),
            (format!("{h}.{p}."), Rejection::Unsupported),
            (format!("{h}.{p}.c2ln.c2ln"), Rejection::Malformed),
            (format!("{h}.{p}.c2ln.c2ln.c2ln"), Rejection::Unsupported),
            (format!("{h}=.{p}.c2ln"), Rejection::Malformed),
            (format!("{h}.{p}.c2l+"), Rejection::Malformed),
            (format!("{h}.{p}.c2ln\n"), Rejection::Malformed),
            // The same bytes as `c2g`, but with meaningless trailing bits.
            (format!("{h}.{p}.c2h"), Rejection::Malformed),
            (format!("{h}.{}.c2ln", b64("[]")), Rejection::Malformed),
            (
                format!("{h}.{p}.{}", "A".repeat(17_000)),
                Rejection::TooLarge,
            ),
        ];
        for (token, expected) in cases {
            assert_eq!(CompactToken::parse(&token).err(), Some(expected), "{token}");
        }
    }
}
