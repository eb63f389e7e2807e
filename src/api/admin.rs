//! The administrator's key, which everything under `/v1` requires.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::Api;
use super::answer::error;

/// The minimum length of the key; a shorter one can be guessed.
const SHORTEST: usize = 16;
/// The maximum length of the key; anything longer is not a key, but a wrong file.
const LONGEST: usize = 4096;

/// The hash of the key. The key itself is not kept, and the duration of a comparison reveals nothing about
/// it, not even its length.
#[derive(Clone, Copy)]
pub struct AdminKey([u8; 32]);

impl fmt::Debug for AdminKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminKey(…)")
    }
}

impl AdminKey {
    /// Reads the key from the content of its file. Line breaks at the end of the file are ignored.
    pub fn from_file(content: &[u8]) -> Result<Self, &'static str> {
        let mut key = content;
        while let Some(rest) = key.strip_suffix(b"\n").or(key.strip_suffix(b"\r")) {
            key = rest;
        }
        if key.len() < SHORTEST {
            return Err("a key of less than 16 bytes: `openssl rand -hex 32` makes one");
        }
        if key.len() > LONGEST {
            return Err("more than 4096 bytes: not a key");
        }
        if !key.iter().all(u8::is_ascii_graphic) {
            return Err(
                "must be one line of printable ASCII without spaces: it is sent in a header",
            );
        }
        Ok(Self::hash(key))
    }

    fn hash(key: &[u8]) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, key).as_ref());
        Self(hash)
    }

    fn is(self, offered: &[u8]) -> bool {
        verify_slices_are_equal(&self.0, &Self::hash(offered).0).is_ok()
    }
}

/// Admits only the administrator.
pub(super) async fn demand(State(api): State<Api>, request: Request, next: Next) -> Response {
    let Some(key) = api.admin else {
        let why = "this part of the API is switched off: name a file with a key of your choice in `api.admin_key_file` \
                   of the configuration, and send the key as `Authorization: Bearer`";
        return error(StatusCode::FORBIDDEN, "not_configured", why);
    };
    match offered(request.headers()) {
        Some(offered) if key.is(offered) => next.run(request).await,
        other => {
            api.metrics.unauthorized();
            refused(other.is_some())
        }
    }
}

/// Returns the key in the `Authorization` header, if there is exactly one such header.
fn offered(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let (scheme, key) = value.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(key)
}

/// RFC 6750 §3: the error code is only returned if there was a key.
fn refused(offered: bool) -> Response {
    let challenge = match offered {
        true => HeaderValue::from_static(r#"Bearer realm="revoxy", error="invalid_token""#),
        false => HeaderValue::from_static(r#"Bearer realm="revoxy""#),
    };
    let why = "the content of `api.admin_key_file` has to be sent as `Authorization: Bearer`";
    let answer = error(StatusCode::UNAUTHORIZED, "invalid_token", why);
    ([(header::WWW_AUTHENTICATE, challenge)], answer).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_taken_without_its_line_end_and_compared_whole() {
        let key = AdminKey::from_file(b"0123456789abcdef\r\n").unwrap();
        assert!(key.is(b"0123456789abcdef"));
        for other in [
            "",
            "0123456789abcde",
            "0123456789abcdef ",
            "0123456789abcdeg",
        ] {
            assert!(!key.is(other.as_bytes()), "{other}");
        }
        assert!(!format!("{key:?}").contains("0123"));
    }

    #[test]
    fn what_is_no_good_as_a_key_is_refused() {
        for content in [
            "",
            "\n",
            "0123456789abcde\n",
            "two words and more",
            "ümlauts-are-not-it",
        ] {
            assert!(
                AdminKey::from_file(content.as_bytes()).is_err(),
                "{content}"
            );
        }
        assert!(AdminKey::from_file(&[b'a'; 4097]).is_err());
    }
}
