//! Claims for the application: the headers that they are forwarded in.
//!
//! Only Revoxy may set these headers, so whatever a client sends in their place is overwritten or removed: on every
//! kind of route, and also under names that a framework reads as theirs. CGI, WSGI, Rack and PHP turn `-` into `_`, so
//! an application may take `x_user` for `x-user`.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::Value;

use crate::clock::OncePerMinute;
use crate::jwt::{ClaimPath, VerifiedClaims};

/// The longest value of a header, in bytes. Applications limit all headers together to 8 KiB or more.
pub const MAX_HEADER_VALUE: usize = 4096;
/// The largest number of `-` and `_` in a name. All spellings are removed from every request.
pub const MAX_SEPARATORS: usize = 5;

/// What a header cannot carry, and the escape character itself.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');
/// At the ends of a value, spaces are lost (RFC 9110 §5.5).
const ESCAPED_WITH_SPACE: &AsciiSet = &ESCAPED.add(b' ');
/// In a list, a comma separates.
const ESCAPED_IN_LIST: &AsciiSet = &ESCAPED_WITH_SPACE.add(b',');

/// A header in which a claim is forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimHeader {
    name: String,
    /// Other spellings of the name.
    twins: Vec<String>,
    claim: ClaimPath,
    format: HeaderFormat,
}

/// How the value of a claim is written in a header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeaderFormat {
    /// A text, number or boolean as it stands, a list of such with commas in between. What a header cannot carry, `%`,
    /// and a comma in a list are percent-encoded (RFC 3986 §2.1). Anything else is not forwarded.
    #[default]
    Text,
    /// JSON (RFC 8259) in ASCII.
    Json,
    /// JSON in base64url without padding (RFC 4648 §5).
    Base64Json,
}

/// The headers to set, and to remove, in a request that may pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forwarded {
    /// Names and values of headers to set. Each replaces all headers of this name.
    pub set: Vec<(String, String)>,
    /// The names of headers to remove.
    pub remove: Vec<String>,
}

/// All headers in which claims are forwarded.
#[derive(Debug, Default)]
pub struct ClaimHeaders {
    headers: Vec<ClaimHeader>,
    too_long: OncePerMinute,
}

impl ClaimHeader {
    /// Forwards a claim in the header with this name, in lower case. Returns `None` if the name has more than
    /// [`MAX_SEPARATORS`].
    pub fn new(name: String, claim: ClaimPath, format: HeaderFormat) -> Option<Self> {
        let separators = name.bytes().filter(|b| is_separator(*b)).count();
        (separators <= MAX_SEPARATORS).then(|| Self {
            twins: spellings(&name).filter(|twin| *twin != name).collect(),
            name,
            claim,
            format,
        })
    }

    /// Returns the claim.
    pub fn claim(&self) -> &ClaimPath {
        &self.claim
    }

    /// Returns whether some framework takes the names of both for the same.
    pub fn is_twin_of(&self, other: &Self) -> bool {
        self.name == other.name || self.twins.contains(&other.name)
    }

    fn value(&self, claims: &VerifiedClaims) -> Option<String> {
        let value = claims.value(&self.claim.0)?;
        match self.format {
            HeaderFormat::Text => text(value).filter(|text| !text.is_empty()),
            HeaderFormat::Json => Some(ascii(&value.to_string())),
            HeaderFormat::Base64Json => Some(BASE64_URL_SAFE_NO_PAD.encode(value.to_string())),
        }
    }
}

impl ClaimHeaders {
    /// Forwards claims in these headers.
    pub fn new(headers: Vec<ClaimHeader>) -> Self {
        Self {
            headers,
            too_long: OncePerMinute::new(),
        }
    }

    /// Returns whether no claim is forwarded.
    pub fn is_empty(&self) -> bool {
        self.headers.is_empty()
    }

    /// Returns what to change in a request, given the claims of its token, if it has one.
    pub fn changes(&self, claims: Option<&VerifiedClaims>) -> Forwarded {
        let mut forwarded = Forwarded::default();
        for header in &self.headers {
            forwarded.remove.extend(header.twins.iter().cloned());
            match claims.and_then(|claims| header.value(claims)) {
                Some(value) if value.len() <= MAX_HEADER_VALUE => {
                    forwarded.set.push((header.name.clone(), value));
                }
                Some(_) => {
                    self.warn(header);
                    forwarded.remove.push(header.name.clone());
                }
                None => forwarded.remove.push(header.name.clone()),
            }
        }
        forwarded
    }

    fn warn(&self, header: &ClaimHeader) {
        if self.too_long.is_due() {
            tracing::warn!(
                header = header.name,
                max_bytes = MAX_HEADER_VALUE,
                "a claim is too long for its header, which is removed instead"
            );
        }
    }
}

const fn is_separator(byte: u8) -> bool {
    matches!(byte, b'-' | b'_')
}

/// Returns the name with each `-` and `_` written in both ways.
fn spellings(name: &str) -> impl Iterator<Item = String> {
    let places = name.bytes().filter(|b| is_separator(*b)).count();
    (0..1_u32 << places).map(move |choice| {
        let mut place = 0;
        let spelled = name.chars().map(|c| match c {
            '-' | '_' => {
                let underscore = choice >> place & 1 == 1;
                place += 1;
                if underscore { '_' } else { '-' }
            }
            other => other,
        });
        spelled.collect()
    })
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Array(list) => {
            let all: Option<Vec<_>> = list
                .iter()
                .map(|v| plain(v, Some(ESCAPED_IN_LIST)))
                .collect();
            Some(all?.join(","))
        }
        other => plain(other, None),
    }
}

/// Returns a text, number or boolean, with these characters escaped.
fn plain(value: &Value, escaped: Option<&'static AsciiSet>) -> Option<String> {
    match value {
        Value::String(text) => {
            let ends_in_space = text.starts_with(' ') || text.ends_with(' ');
            let by_itself = if ends_in_space {
                ESCAPED_WITH_SPACE
            } else {
                ESCAPED
            };
            Some(utf8_percent_encode(text, escaped.unwrap_or(by_itself)).to_string())
        }
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Escapes what is not printable ASCII as JSON does in texts: outside of texts, JSON has nothing else.
fn ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            ' '..='~' => out.push(c),
            other => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_text_is_written_so_that_it_can_be_read_back() {
        for (value, expected) in [
            (json!("alice"), Some("alice")),
            (json!("Alice Smith, Jr."), Some("Alice Smith, Jr.")),
            (json!(" alice"), Some("%20alice")),
            (json!("Zoë 100%"), Some("Zo%C3%AB 100%25")),
            (json!("a\r\nx-admin: 1"), Some("a%0D%0Ax-admin: 1")),
            (json!("\u{7f}\0"), Some("%7F%00")),
            (json!(7), Some("7")),
            (json!(true), Some("true")),
            (json!(["a", "b c", "d,e", 7]), Some("a,b%20c,d%2Ce,7")),
            (json!([]), Some("")),
            (json!([["a"]]), None),
            (json!({ "a": 1 }), None),
        ] {
            assert_eq!(text(&value).as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn json_is_ascii_and_means_the_same() {
        let value = json!({ "näme": ["a\n", "\u{1f600}", "\u{7f}"] });
        let written = ascii(&value.to_string());
        assert!(
            written.bytes().all(|b| matches!(b, b' '..=b'~')),
            "{written}"
        );
        assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), value);
    }

    #[test]
    fn every_spelling_of_a_name_that_a_framework_may_read_is_a_twin() {
        let header = |name: &str| {
            let claim = ClaimPath("sub".to_owned());
            ClaimHeader::new(name.to_owned(), claim, HeaderFormat::Text)
        };
        let user = header("x-user-id").unwrap();
        let mut twins = user.twins.clone();
        twins.sort();
        assert_eq!(twins, ["x-user_id", "x_user-id", "x_user_id"]);
        assert!(user.is_twin_of(&header("x_user-id").unwrap()));
        assert!(!user.is_twin_of(&header("x-user").unwrap()));
        assert!(header("a-b-c-d-e-f").is_some());
        assert!(header("a-b-c-d-e-f-g").is_none());
    }
}
