//! Values of `iss` that differ from token to token: a pattern with placeholders of bounded length for the
//! parts that differ.

/// A pattern for `iss`: text with the placeholders `{uuid}`, `{digits}` and `{segment}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssPattern {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    /// 36 characters: hexadecimal digits in groups of 8, 4, 4, 4 and 12 (RFC 9562 §4).
    Uuid,
    /// Decimal digits.
    Digits,
    /// Letters, digits and `-._~` (RFC 3986 §2.3): a host, or one segment of a path. Contains no character
    /// that delimits a host or a segment.
    Segment,
}

/// The maximum length of a name, number or host.
const LONGEST: usize = 128;
const UUID: usize = 36;

impl IssPattern {
    /// Parses a pattern. The error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some((literal, behind)) = rest.split_once('{') {
            let (name, behind) = behind.split_once('}').ok_or("a `{` that is not closed")?;
            let part = match name {
                "uuid" => Part::Uuid,
                "digits" => Part::Digits,
                "segment" => Part::Segment,
                _ => {
                    return Err(format!(
                        "no placeholder `{{{name}}}`; there are {{uuid}}, {{digits}} and {{segment}}"
                    ));
                }
            };
            match literal {
                // The boundary between the two placeholders would be ambiguous.
                "" if !parts.is_empty() => {
                    return Err("two placeholders with nothing in between".to_owned());
                }
                "" => {}
                literal => parts.push(Part::Literal(literal.to_owned())),
            }
            parts.push(part);
            rest = behind;
        }
        if parts.is_empty() {
            return Err(
                "no placeholder, such as {uuid}: a fixed value belongs in `issuer`".to_owned(),
            );
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.to_owned()));
        }
        Ok(Self {
            text: text.to_owned(),
            parts,
        })
    }

    /// Returns the pattern as configured.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns whether `iss` matches the pattern.
    pub(super) fn matches(&self, iss: &str) -> bool {
        matches(&self.parts, iss)
    }
}

/// Tracks all possible matches at the same time, part by part: the running time is proportional to the number
/// of parts times the length of the text, whatever the text contains. `iss` is matched before the signature
/// is verified, so an attacker may have chosen it.
fn matches(parts: &[Part], text: &str) -> bool {
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    for part in parts {
        reached = part.ends(text, &reached);
    }
    reached[text.len()]
}

impl Part {
    /// Returns where this part may end in `text` if it begins at one of `starts`.
    fn ends(&self, text: &str, starts: &[bool]) -> Vec<bool> {
        match self {
            Self::Literal(literal) => {
                let matches = |at: usize| text.as_bytes()[at..].starts_with(literal.as_bytes());
                fixed(starts, literal.len(), matches)
            }
            Self::Uuid => {
                let matches = |at: usize| text.as_bytes().get(at..at + UUID).is_some_and(is_uuid);
                fixed(starts, UUID, matches)
            }
            Self::Digits => run(text, starts, |b| b.is_ascii_digit()),
            Self::Segment => run(text, starts, |b| {
                b.is_ascii_alphanumeric() || b"-._~".contains(&b)
            }),
        }
    }
}

/// Returns the ends of a part of fixed length.
fn fixed(starts: &[bool], length: usize, matches: impl Fn(usize) -> bool) -> Vec<bool> {
    let mut ends = vec![false; starts.len()];
    for (at, _) in starts.iter().enumerate().filter(|(_, start)| **start) {
        if matches(at) {
            ends[at + length] = true;
        }
    }
    ends
}

/// Returns the ends of 1 to [`LONGEST`] of the allowed characters.
fn run(text: &str, starts: &[bool], allowed: impl Fn(u8) -> bool) -> Vec<bool> {
    let mut ends = vec![false; starts.len()];
    // The last start after which every character is allowed. A run from an earlier start would only be
    // longer, and the length is limited.
    let mut start = None;
    for (at, byte) in text.bytes().enumerate() {
        if starts[at] {
            start = Some(at);
        }
        if !allowed(byte) {
            start = None;
        }
        ends[at + 1] = start.is_some_and(|start| at + 1 - start <= LONGEST);
    }
    ends
}

fn is_uuid(text: &[u8]) -> bool {
    let fits = |(at, byte): (usize, u8)| match at {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    text.iter().copied().enumerate().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placeholder_stands_for_its_own_kind_of_text_and_for_no_more() {
        const TENANT: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";
        let azure = "https://login.microsoftonline.com/{uuid}/v2.0";
        let laravel = "https://{segment}/api/{segment}";
        for (pattern, iss, expected) in [
            (
                azure,
                format!("https://login.microsoftonline.com/{TENANT}/v2.0"),
                true,
            ),
            (
                azure,
                format!("https://login.microsoftonline.com/{TENANT}/v1.0"),
                false,
            ),
            (
                azure,
                format!("https://login.microsoftonline.com/{TENANT}/v2.0/"),
                false,
            ),
            (
                azure,
                format!("https://login.microsoftonline.com/{TENANT}"),
                false,
            ),
            (
                azure,
                format!("https://login.microsoftonline.com/{}/v2.0", &TENANT[1..]),
                false,
            ),
            (
                azure,
                format!("https://login.microsoftonline.com/{TENANT}x/v2.0"),
                false,
            ),
            (
                azure,
                "https://login.microsoftonline.com//v2.0".to_owned(),
                false,
            ),
            (azure, format!("https://evil.example/{TENANT}/v2.0"), false),
            (
                azure,
                format!(
                    "https://login.microsoftonline.com/{}/v2.0",
                    TENANT.replace('-', "x")
                ),
                false,
            ),
            (
                azure,
                "https://login.microsoftonline.com/ü2f988bf-86f1-41af-91ab-2d7cd011db47/v2.0"
                    .to_owned(),
                false,
            ),
            (laravel, "https://shop.example/api/login".to_owned(), true),
            (laravel, "https://shop.example/api/refresh".to_owned(), true),
            (laravel, "https://shop.example/api/a/b".to_owned(), false),
            (laravel, "https://shop.example/api/".to_owned(), false),
            (
                laravel,
                "https://shop.example:8080/api/login".to_owned(),
                false,
            ),
            (
                laravel,
                "https://user@shop.example/api/login".to_owned(),
                false,
            ),
            (
                laravel,
                "https://shop.example/api/login?x=1".to_owned(),
                false,
            ),
            (
                laravel,
                "https://shop.example/api/%6cogin".to_owned(),
                false,
            ),
            (
                laravel,
                format!("https://shop.example/api/{}", "a".repeat(128)),
                true,
            ),
            (
                laravel,
                format!("https://shop.example/api/{}", "a".repeat(129)),
                false,
            ),
            ("user-{digits}", "user-42".to_owned(), true),
            ("user-{digits}", "user-".to_owned(), false),
            ("user-{digits}", "user-4x".to_owned(), false),
            ("{digits}", "42".to_owned(), true),
            ("{segment}-v1", "a-b-v1".to_owned(), true),
            ("{segment}-v1", "a-b-v2".to_owned(), false),
        ] {
            let pattern = IssPattern::parse(pattern).unwrap();
            assert_eq!(
                pattern.matches(&iss),
                expected,
                "{} {iss}",
                pattern.as_str()
            );
        }
    }

    #[test]
    fn a_text_that_can_be_divided_in_many_ways_is_matched_in_no_time() {
        let pattern = ["{segment}"; 12].join(".") + ".x";
        let pattern = IssPattern::parse(&pattern).unwrap();
        assert!(!pattern.matches(&"a.".repeat(8 << 10)));
        assert!(!pattern.matches(&".".repeat(600)));
        assert!(pattern.matches(&format!("{}.x", ["a.b"; 12].join("."))));
        assert!(pattern.matches(&format!("{}x", "a.".repeat(200))));
    }

    #[test]
    fn a_pattern_that_says_nothing_definite_is_refused() {
        for (pattern, why) in [
            ("https://a.example", "no placeholder, such as"),
            ("", "no placeholder, such as"),
            ("https://{tenant}/", "no placeholder `{tenant}`"),
            ("https://{*}", "no placeholder `{*}`"),
            ("https://{uuid", "not closed"),
            ("{uuid}{digits}", "nothing in between"),
        ] {
            let error = IssPattern::parse(pattern).unwrap_err();
            assert!(error.contains(why), "{pattern}: {error}");
        }
    }
}
