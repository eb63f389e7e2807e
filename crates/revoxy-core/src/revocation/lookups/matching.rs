//! What the value of an application key means for a token.

use crate::clock::Timestamp;

use super::super::effect::Effect;
use super::super::statement::Cutoff;
use super::encoding::KeyEncoding;
use super::template::Template;
use super::values::{self, TimeUnit};
use super::{java, wrapped};

/// When an existing key revokes the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// Always, whatever the type of its value.
    Exists,
    /// Never: the key is an entry of an allow-list. The type of its value does not matter.
    Never,
    /// If the value is a string, and one of these.
    Equals(Vec<String>),
    /// If the value is an instant, and the token was issued then or before.
    IssuedBefore(TimeUnit),
    /// If the value is a set that contains this member.
    Member(Template),
    /// If the value is a hash of express-jwt-blacklist: its field `revoke` lists revoked tokens, each as this
    /// template renders it, and tokens issued up to its field `purge` are revoked, too.
    IssuedAmong(Template),
    /// If the value is one of Laravel's jwt-auth, and its `valid_until`, the end of a grace period, has
    /// passed.
    ValidUntil,
}

/// The value of an existing key.
#[derive(Clone, Copy, Debug)]
pub enum Content<'v> {
    /// A string.
    Text(&'v [u8]),
    /// A value of another type than string.
    OtherType,
}

/// The meaning of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meaning {
    /// The effect of the key; `None` if the value says nothing. [`Effect::Admits`] under a required key means
    /// that the key exists and is valid. Under any other key it means that no token is revoked yet, and that
    /// only the store can tell when one is.
    pub effect: Option<Effect>,
    /// The value is not one that should be there. A value that cannot be read revokes.
    pub unreadable: bool,
}

impl Meaning {
    const UNREADABLE: Self = Self {
        effect: Some(Effect::REVOKES_ALL),
        unreadable: true,
    };

    const fn of(effect: Effect) -> Self {
        Self {
            effect: Some(effect),
            unreadable: false,
        }
    }

    /// The value has no meaning.
    pub const NOTHING: Self = Self {
        effect: None,
        unreadable: false,
    };
}

impl Match {
    /// Returns whether a view can contain the values.
    pub fn fits_in_view(&self) -> bool {
        match self {
            Self::Exists
            | Self::Never
            | Self::Equals(_)
            | Self::IssuedBefore(_)
            | Self::ValidUntil => true,
            // A set is a single key for all tokens, and a hash of express-jwt-blacklist contains more than
            // one instant.
            Self::Member(_) | Self::IssuedAmong(_) => false,
        }
    }

    /// Returns the template of what to look for in the value.
    pub fn member(&self) -> Option<&Template> {
        match self {
            Self::Member(template) | Self::IssuedAmong(template) => Some(template),
            Self::Exists
            | Self::Never
            | Self::Equals(_)
            | Self::IssuedBefore(_)
            | Self::ValidUntil => None,
        }
    }

    /// Returns a text that is equal for equal meanings only: the hashes of a view's entries include it.
    pub fn fingerprint(&self) -> String {
        match self {
            Self::Exists => "exists".to_owned(),
            Self::Never => "never".to_owned(),
            Self::Equals(values) => format!("equals {values:?}"),
            Self::IssuedBefore(unit) => format!("issued_before {}", unit.as_str()),
            Self::Member(member) => format!("member {:?}", member.as_str()),
            Self::IssuedAmong(entry) => format!("issued_among {:?}", entry.as_str()),
            Self::ValidUntil => "valid_until".to_owned(),
        }
    }

    /// Returns the meaning of `content` at `now`.
    pub fn meaning(
        &self,
        content: Content<'_>,
        required: bool,
        encoding: KeyEncoding,
        now: Timestamp,
    ) -> Meaning {
        let text = match (self, content) {
            (Self::Exists, _) => return Meaning::of(Effect::REVOKES_ALL),
            (Self::Never, _) => return Meaning::of(Effect::Admits),
            // These values are not kept in a view, and are not read through this function.
            (Self::Member(_) | Self::IssuedAmong(_), _) | (_, Content::OtherType) => {
                return Meaning::UNREADABLE;
            }
            (_, Content::Text(text)) => text,
        };
        let decoded = match encoding {
            KeyEncoding::Java => java::deserialize(text),
            KeyEncoding::Plain => None,
        };
        let text = match &decoded {
            Some(decoded) => decoded,
            None => str::from_utf8(text).unwrap_or_default(),
        };
        match self {
            Self::Equals(values) if values.iter().any(|value| value == text) => {
                Meaning::of(Effect::REVOKES_ALL)
            }
            Self::Equals(_) if required => Meaning::of(Effect::Admits),
            Self::Equals(_) => Meaning::NOTHING,
            Self::IssuedBefore(unit) => values::instant(&wrapped::unwrapped(text), *unit)
                .map_or(Meaning::UNREADABLE, |at| {
                    Meaning::of(Cutoff::IssuedUpTo(at).into())
                }),
            _ => match values::valid_until(text) {
                Some(at) if at <= now => Meaning::of(Effect::REVOKES_ALL),
                Some(_) => Meaning::of(Effect::Admits),
                None => Meaning::UNREADABLE,
            },
        }
    }
}

/// Returns the meaning of a hash of express-jwt-blacklist for the token that was issued at `issued_at`, which
/// is spelled as in the token.
pub fn issued_among(revoke: Option<&[u8]>, purge: Option<&[u8]>, issued_at: &[u8]) -> Meaning {
    let mut listed = revoke
        .into_iter()
        .flat_map(|list| list.split(|b| *b == b','));
    if listed.any(|entry| entry.trim_ascii() == issued_at) {
        return Meaning::of(Effect::REVOKES_ALL);
    }
    let Some(purge) = purge else {
        return Meaning::NOTHING;
    };
    let purge = str::from_utf8(purge).unwrap_or_default();
    values::instant(purge, TimeUnit::Seconds).map_or(Meaning::UNREADABLE, |at| {
        Meaning::of(Cutoff::IssuedUpTo(at).into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    fn says(matching: &Match, text: &str, required: bool) -> Option<Effect> {
        let content = Content::Text(text.as_bytes());
        let meaning = matching.meaning(content, required, KeyEncoding::Plain, NOW);
        assert!(!meaning.unreadable, "{text}");
        meaning.effect
    }

    fn is_unreadable(matching: &Match, content: Content<'_>) -> bool {
        matching.meaning(content, false, KeyEncoding::Plain, NOW) == Meaning::UNREADABLE
    }

    #[test]
    fn a_value_is_compared_as_it_stands() {
        let equals = Match::Equals(vec!["true".to_owned(), "1".to_owned()]);
        for (text, cutoff) in [
            ("true", Some(Effect::REVOKES_ALL)),
            ("1", Some(Effect::REVOKES_ALL)),
            ("TRUE", None),
            ("true ", None),
            ("", None),
        ] {
            assert_eq!(says(&equals, text, false), cutoff, "{text}");
            let required = Some(cutoff.unwrap_or(Effect::Admits));
            assert_eq!(says(&equals, text, true), required, "{text}");
        }
        let content = Content::Text(b"\xff");
        let meaning = equals.meaning(content, false, KeyEncoding::Plain, NOW);
        assert_eq!(meaning, Meaning::NOTHING);
    }

    #[test]
    fn what_java_serialized_is_compared_as_what_it_was() {
        let equals = Match::Equals(vec!["logout".to_owned()]);
        for text in [&b"logout"[..], b"\xac\xed\x00\x05t\x00\x06logout"] {
            let meaning = equals.meaning(Content::Text(text), false, KeyEncoding::Java, NOW);
            assert_eq!(meaning.effect, Some(Effect::REVOKES_ALL));
        }
    }

    #[test]
    fn an_instant_means_the_tokens_issued_up_to_it() {
        let auto = Match::IssuedBefore(TimeUnit::Auto);
        let cutoff = Some(Cutoff::IssuedUpTo(NOW).into());
        assert_eq!(says(&auto, "1700000000", false), cutoff);
        assert_eq!(says(&auto, "1700000000000", false), cutoff);
        let keyv = r#"{"value":1700000000,"expires":1700086400000}"#;
        for wrapped in [
            keyv,
            r#""1700000000""#,
            r#"["java.lang.Long",1700000000000]"#,
        ] {
            assert_eq!(says(&auto, wrapped, false), cutoff, "{wrapped}");
        }
        let java = b"\xac\xed\x00\x05t\x00\x0c\"1700000000\"";
        let meaning = auto.meaning(Content::Text(java), false, KeyEncoding::Java, NOW);
        assert_eq!(meaning.effect, cutoff);
    }

    #[test]
    fn what_cannot_be_read_revokes_and_is_said_to_be_so() {
        let auto = Match::IssuedBefore(TimeUnit::Auto);
        for text in ["", "yesterday", r#"{"revokedAt":1}"#] {
            assert!(
                is_unreadable(&auto, Content::Text(text.as_bytes())),
                "{text}"
            );
            let laravel = Content::Text(text.as_bytes());
            assert!(is_unreadable(&Match::ValidUntil, laravel), "{text}");
        }
        for matching in [auto, Match::Equals(vec!["1".to_owned()]), Match::ValidUntil] {
            assert!(is_unreadable(&matching, Content::OtherType), "{matching:?}");
        }
        assert!(!is_unreadable(&Match::Exists, Content::OtherType));
        assert!(!is_unreadable(&Match::Never, Content::OtherType));
    }

    #[test]
    fn a_grace_period_is_left_to_the_store_until_it_ends() {
        let value = |at| format!(r#"a:1:{{s:11:"valid_until";i:{at};}}"#);
        let says = |at| says(&Match::ValidUntil, &value(at), false);
        assert_eq!(says(1_700_000_000), Some(Effect::REVOKES_ALL));
        assert_eq!(says(1_700_000_001), Some(Effect::Admits));
    }

    #[test]
    fn a_list_names_single_tokens_and_a_purge_those_before_it() {
        let says = |revoke: Option<&str>, purge: Option<&str>| {
            let (revoke, purge) = (revoke.map(str::as_bytes), purge.map(str::as_bytes));
            issued_among(revoke, purge, b"150").effect
        };
        let up_to = |secs| Some(Cutoff::IssuedUpTo(Timestamp::from_secs(secs)).into());
        assert_eq!(says(None, None), None);
        assert_eq!(says(Some("100,150,200"), None), Some(Effect::REVOKES_ALL));
        assert_eq!(says(Some("1500,15"), None), None);
        assert_eq!(says(Some("100"), Some("120")), up_to(120));
        assert_eq!(says(None, Some("?")), Some(Effect::REVOKES_ALL));
    }
}
