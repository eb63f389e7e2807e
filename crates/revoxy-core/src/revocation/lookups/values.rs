//! Parses values of application keys that cannot be compared as plain text.

use serde::Deserialize;

use crate::clock::Timestamp;

/// The unit of a number that counts the time since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeUnit {
    /// Seconds or milliseconds, depending on the size of the number; or RFC 3339.
    #[default]
    Auto,
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
}

impl TimeUnit {
    /// Returns the name in a configuration.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Seconds => "seconds",
            Self::Milliseconds => "milliseconds",
        }
    }
}

/// As seconds this would be the year 5138, as milliseconds it is 1973: the times of tokens are clearly on one
/// side or the other.
const FIRST_MILLISECONDS: f64 = 1e11;
/// The year 10000, in milliseconds.
const END_OF_TIME: f64 = 253_402_300_800_000.0;

/// Parses an instant; `None` if the text is not one.
pub(super) fn instant(text: &str, unit: TimeUnit) -> Option<Timestamp> {
    let Ok(number) = text.trim().parse::<f64>() else {
        return match unit {
            TimeUnit::Auto => rfc3339(text.trim()),
            TimeUnit::Seconds | TimeUnit::Milliseconds => None,
        };
    };
    let millis = match unit {
        TimeUnit::Milliseconds => number,
        TimeUnit::Auto if number >= FIRST_MILLISECONDS => number,
        TimeUnit::Auto | TimeUnit::Seconds => number * 1000.0,
    };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the range has been checked"
    )]
    // Rounded up: rounding down by a fraction of a millisecond could exempt a token.
    (0.0..END_OF_TIME)
        .contains(&millis)
        .then(|| Timestamp::from_millis(millis.ceil() as i64))
}

/// Parses an instant with its offset from UTC, which RFC 3339 §5.6 demands: a local time without an offset
/// could be hours later than it looks.
fn rfc3339(text: &str) -> Option<Timestamp> {
    let text = text.to_ascii_uppercase();
    let (local, ahead) = match text.strip_suffix('Z') {
        Some(local) => (local, 0),
        None => {
            let (local, offset) = text.split_at_checked(text.len().checked_sub(6)?)?;
            (local, minutes(offset)?)
        }
    };
    // The crate would ignore whatever follows a `Z`.
    if local.contains('Z') {
        return None;
    }
    let time = humantime::parse_rfc3339(&format!("{local}Z")).ok()?;
    let since = time.duration_since(std::time::UNIX_EPOCH).ok()?;
    let local = Timestamp::from_secs(0).plus(since);
    Some(Timestamp::from_millis(local.millis() - ahead * 60_000))
}

/// Parses an offset such as `+02:00` into minutes.
fn minutes(offset: &str) -> Option<i64> {
    let (sign, offset) = offset.split_at_checked(1)?;
    let (hours, minutes) = offset.split_once(':')?;
    let two = |digits: &str, least_above: i64| {
        let number = digits
            .bytes()
            .all(|b| b.is_ascii_digit())
            .then_some(digits)?;
        number.parse::<i64>().ok().filter(|n| *n < least_above)
    };
    let ahead = two(hours, 24)? * 60 + two(minutes, 60)?;
    match sign {
        "+" => Some(ahead),
        "-" => Some(-ahead),
        _ => None,
    }
}

/// Parses the time from which a token is refused, as Laravel's cache serializes the value of jwt-auth: an
/// array with `valid_until`, or the word `forever`. `None` if the value has neither form.
pub(super) fn valid_until(value: &str) -> Option<Timestamp> {
    if value == r#"s:7:"forever";"# {
        return Some(Timestamp::from_secs(0));
    }
    let number = value
        .strip_prefix(r#"a:1:{s:11:"valid_until";"#)?
        .strip_suffix(";}")?;
    let digits = match number.strip_prefix("i:") {
        Some(digits) => digits,
        // The first versions of jwt-auth wrote a string.
        None => {
            let (length, text) = number.strip_prefix("s:")?.split_once(':')?;
            let digits = text.strip_prefix('"')?.strip_suffix('"')?;
            (length.parse() == Ok(digits.len())).then_some(digits)?
        }
    };
    instant(digits, TimeUnit::Seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_read_in_every_unit() {
        let auto = |text| instant(text, TimeUnit::Auto);
        let expected = Some(Timestamp::from_secs(1_700_000_000));
        for text in [
            "1700000000",
            " 1700000000\n",
            "1700000000000",
            "1700000000.0",
            "2023-11-14T22:13:20Z",
            "2023-11-14t22:13:20z",
            "2023-11-14T22:13:20+00:00",
            "2023-11-15T00:13:20+02:00",
            "2023-11-14T16:43:20.000-05:30",
        ] {
            assert_eq!(auto(text), expected, "{text}");
        }
        let seconds = instant("1700000000", TimeUnit::Seconds);
        assert_eq!(seconds, expected);
        let millis = instant("1700000000", TimeUnit::Milliseconds);
        assert_eq!(millis, Some(Timestamp::from_millis(1_700_000_000)));
        let fraction = Some(Timestamp::from_millis(1_700_000_000_001));
        assert_eq!(auto("1700000000000.5"), fraction);
    }

    #[test]
    fn what_is_no_instant_is_not_read() {
        for text in ["", "x", "NaN", "inf", "-1", "1e30", "true", "{}"] {
            for unit in [TimeUnit::Auto, TimeUnit::Seconds, TimeUnit::Milliseconds] {
                assert_eq!(instant(text, unit), None, "{text}");
            }
        }
        assert_eq!(instant("2023-11-14T22:13:20Z", TimeUnit::Seconds), None);
        for text in [
            "2023-11-14T22:13:20",
            "2023-11-14 22:13:20",
            "2023-11-14T22:13:20.123",
            "2023-11-14T22:13:20+0200",
            "2023-11-14T22:13:20+24:00",
            "2023-11-14T22:13:20+02:60",
            "2023-11-14T22:13:20*02:00",
            "2023-11-14T22:13:20++2:00",
            "2023-11-14T22:13:20Z+02:00",
            "+02:00",
            "é02:00",
            "é2:00",
            "Z",
        ] {
            assert_eq!(instant(text, TimeUnit::Auto), None, "{text}");
        }
    }

    #[test]
    fn what_laravel_serializes_is_read() {
        let at = Some(Timestamp::from_secs(1_700_000_000));
        assert_eq!(valid_until(r#"a:1:{s:11:"valid_until";i:1700000000;}"#), at);
        let text = r#"a:1:{s:11:"valid_until";s:10:"1700000000";}"#;
        assert_eq!(valid_until(text), at);
        let forever = Some(Timestamp::from_secs(0));
        assert_eq!(valid_until(r#"s:7:"forever";"#), forever);
        for other in [
            "",
            "forever",
            "1700000000",
            "a:0:{}",
            r#"a:1:{s:11:"valid_until";s:9:"1700000000";}"#,
            r#"a:1:{s:11:"valid_until";i:1700000000;}x"#,
        ] {
            assert_eq!(valid_until(other), None, "{other}");
        }
    }
}
