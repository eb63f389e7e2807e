//! Values of `iss` that differ from token to token: a pattern, in which places of bounded length stand for what differs.

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
    /// Letters, digits and `-._~` (RFC 3986 §2.3): a host, or one segment of a path. Nothing that ends either.
    Segment,
}

/// No name, number or host is longer.
const LONGEST: usize = 128;

impl IssPattern {
    /// Reads a pattern; the error says what is wrong with it.
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
                // What stands for the first and what for the second could not be told.
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

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether this is such a value.
    pub(super) fn matches(&self, iss: &str) -> bool {
        matches(&self.parts, iss)
    }
}

fn matches(parts: &[Part], text: &str) -> bool {
    let Some((part, rest)) = parts.split_first() else {
        return text.is_empty();
    };
    let longest = text.len().min(LONGEST);
    let up_to = |allowed: fn(u8) -> bool| {
        let bytes = text.as_bytes()[..longest].iter();
        bytes.take_while(|b| allowed(**b)).count()
    };
    let most = match part {
        Part::Literal(literal) => {
            let behind = text.strip_prefix(literal.as_str());
            return behind.is_some_and(|behind| matches(rest, behind));
        }
        Part::Uuid => {
            let uuid = text.split_at_checked(36);
            return uuid.is_some_and(|(uuid, behind)| is_uuid(uuid) && matches(rest, behind));
        }
        Part::Digits => up_to(|b| b.is_ascii_digit()),
        Part::Segment => up_to(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b)),
    };
    // A literal that follows may begin with what may stand in here.
    (1..=most).rev().any(|end| matches(rest, &text[end..]))
}

fn is_uuid(text: &str) -> bool {
    let fits = |(at, byte): (usize, u8)| match at {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    text.bytes().enumerate().all(fits)
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
