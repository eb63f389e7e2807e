//! Lookalikes: names that a framework may take for the name of a token source.
//!
//! Frameworks disagree about the name of a parameter or cookie. PHP reads `access.token` as `access_token`,
//! ASP.NET ignores case, and so on. If Revoxy checked the token in `access_token` while the application read
//! the one in `access.token`, the check would be about the wrong token. So such a name makes the request
//! ambiguous.
//!
//! The rules were compared with PHP 8.2.36 (`$_GET`, `$_COOKIE`) and `http.cookies` of Python 3.11: in 11,293
//! requests with random names, Revoxy passed no request from which one of these two read a different token.
//! The other rules come from the sources of Rack (`normalize_params`), qs for Node.js (`parseKeys`), ASP.NET
//! Core (`QueryCollection`) and nginx (`$arg_`, `$cookie_`).

use std::borrow::Cow;

/// The name of a token source, to be compared with the names in requests.
pub(super) struct SourceName<'n>(&'n str);

impl<'n> SourceName<'n> {
    /// Wraps the name as configured.
    pub fn new(exact: &'n str) -> Self {
        Self(exact)
    }

    /// Returns whether every reader takes `found`, as spelled in the request, for this name.
    pub fn is(&self, found: &[u8]) -> bool {
        self.0.as_bytes() == found
    }

    /// Returns whether `found` is another name that some framework reads as this one.
    pub fn resembles(&self, found: &[u8]) -> bool {
        // No reader turns a name into a longer name.
        found.len() >= self.0.len() && !self.is(found) && self.may_be_read_from(found)
    }

    fn may_be_read_from(&self, found: &[u8]) -> bool {
        let found = letters(&unescaped(found));
        let before_nul = found.split('\0').next().unwrap_or_default();
        [found.as_str(), before_nul]
            .into_iter()
            // PHP ignores white space before a name and keeps it after the name; most others trim both or
            // neither.
            .flat_map(|n| [n.trim_start_matches(blank), n.trim_matches(blank)])
            .flat_map(|n| [n, outside_brackets(n)])
            .any(|n| plain(n).eq(plain(self.0).map(|b| b.to_ascii_lowercase())))
    }
}

/// Returns the names inside a cookie, other than its own, that a reader may take for names of other cookies.
/// Python's `http.cookies` ends a value at a space, readers of RFC 2965 and nginx at a comma, and readers
/// differ in how they treat quotes.
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

/// Returns the name in lower case, without characters that are not ASCII, unless they are case variants of
/// ASCII letters: some readers trim such characters (U+00A0), others drop them if they are not valid UTF-8.
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

/// Replaces the characters that PHP turns into `_`, because its variable names cannot contain them.
fn plain(name: &str) -> impl Iterator<Item = u8> {
    name.bytes().map(|b| match b {
        b' ' | b'.' | b'[' => b'_',
        other => other,
    })
}

fn blank(c: char) -> bool {
    c.is_ascii_whitespace() || c.is_ascii_control()
}

/// Returns `a` for `a[]` and `a[b]`, which are lists and objects to PHP, Rack and qs, and for `[a]`.
fn outside_brackets(name: &str) -> &str {
    let name = name.trim_start_matches(['[', ']']);
    name.split(['[', ']']).next().unwrap_or_default()
}

/// Replaces `%xx`, `%uxxxx` (ASP.NET) and `+`. Anything that is not an escape sequence is kept.
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

/// Decodes the escape sequence after a `%`. Returns the bytes that it stands for, and its length.
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
