//! The section `issuers.*.keys`.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use url::{Host, Url};

use crate::jwt::{KeyFile, SecretFile};
use crate::keys::{Fetcher, KeySource, Location, RemoteKeys, Timing};

use super::raw::{RawKeys, Span};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Acceptable for an identity provider, and short enough that an unannounced rotation soon takes effect.
const COOLDOWN: Duration = Duration::from_secs(10);
/// Together with a lookup in the store afterwards, this fits within one try of Envoy: see `limits.rs`.
const WAIT: Duration = Duration::from_millis(30);
const TIMEOUT: Duration = Duration::from_secs(5);

/// Mistakes, each with its key, relative to the issuer.
pub(super) type Mistakes = Vec<(String, String)>;

/// Reads the section. `issuer` is the value of `iss`, if it is known.
pub(super) fn read(raw: RawKeys, issuer: Option<&str>) -> Result<KeySource, Mistakes> {
    let of_keys = |message: &str| vec![("keys".to_owned(), message.to_owned())];
    let files: Vec<KeyFile> = [
        raw.jwks_file.clone().map(KeyFile::Jwks),
        raw.pem_file.clone().map(KeyFile::Pem),
        raw.secret_file
            .clone()
            .map(|path| KeyFile::Secret(secret(path, &raw))),
    ]
    .into_iter()
    .flatten()
    .collect();
    let of_secret = raw.secret_encoding.is_some() || raw.allow_short_secret;
    if of_secret && raw.secret_file.is_none() {
        return Err(of_keys(
            "secret_encoding and allow_short_secret go with secret_file",
        ));
    }
    match (files.as_slice(), &raw.jwks_url, raw.discovery) {
        ([file], None, false) if has_fetch_options(&raw) => {
            let of_file = format!("{}: a file is not fetched", file.path().display());
            let message = "refresh, cooldown, wait, max_age, timeout, allow_http, ca_file and redirect_hosts go \
                           with jwks_url and discovery";
            Err(of_keys(&format!("{of_file}; {message}")))
        }
        ([file], None, false) => Ok(KeySource::File(file.clone())),
        ([], Some(_), false) | ([], None, true) => remote(&raw, issuer).map(KeySource::Remote),
        _ => Err(of_keys(
            "needs exactly one of jwks_url, discovery, jwks_file, pem_file, secret_file",
        )),
    }
}

fn secret(path: PathBuf, raw: &RawKeys) -> SecretFile {
    SecretFile {
        path,
        encoding: raw.secret_encoding.unwrap_or_default(),
        allow_short: raw.allow_short_secret,
    }
}

/// Reads the section `refresh_keys`, which names a file.
pub(super) fn read_refresh(raw: RawKeys) -> Result<KeySource, Mistakes> {
    let fetched = raw.jwks_url.is_some() || raw.discovery;
    let read = match fetched {
        true => Err(vec![(
            "keys".to_owned(),
            "needs a file: jwks_file, pem_file or secret_file".to_owned(),
        )]),
        false => read(raw, None),
    };
    let in_section = |(key, message): (String, String)| {
        let key = key.replacen("keys", "refresh_keys", 1);
        (key, message)
    };
    read.map_err(|mistakes| mistakes.into_iter().map(in_section).collect())
}

/// Returns whether the section configures anything.
pub(super) fn is_given(raw: &RawKeys) -> bool {
    let files = [&raw.jwks_file, &raw.pem_file, &raw.secret_file];
    let named = raw.jwks_url.is_some() || files.iter().any(|f| f.is_some());
    named || raw.discovery || has_fetch_options(raw)
}

fn has_fetch_options(raw: &RawKeys) -> bool {
    let spans = [
        raw.refresh,
        raw.cooldown,
        raw.wait,
        raw.max_age,
        raw.timeout,
    ];
    let others = raw.allow_http || raw.ca_file.is_some() || !raw.redirect_hosts.is_empty();
    spans.iter().any(Option::is_some) || others
}

fn remote(raw: &RawKeys, issuer: Option<&str>) -> Result<RemoteKeys, Mistakes> {
    let mut mistakes = Mistakes::new();
    let mut span = |key: &str, given: Option<Span>, default, range: RangeInclusive<Duration>| {
        let span = given.map_or(default, |s| s.0);
        if !range.contains(&span) {
            let (least, most) = (range.start(), range.end());
            mistakes.push((
                format!("keys.{key}"),
                format!("must be from {least:?} to {most:?}"),
            ));
        }
        span
    };
    let refresh = span("refresh", raw.refresh, MINUTE, SECOND..=DAY);
    let timing = Timing {
        refresh: raw.refresh.map(|_| refresh),
        cooldown: span("cooldown", raw.cooldown, COOLDOWN, SECOND..=10 * MINUTE),
        patience: span("wait", raw.wait, WAIT, Duration::ZERO..=10 * SECOND),
        max_age: span("max_age", raw.max_age, DAY, MINUTE..=30 * DAY),
    };
    let timeout = span("timeout", raw.timeout, TIMEOUT, SECOND / 10..=MINUTE);
    let mut redirect_hosts = Vec::new();
    for name in &raw.redirect_hosts {
        match Host::parse(name) {
            Ok(host) => redirect_hosts.push(host),
            Err(_) => mistakes.push((
                "keys.redirect_hosts".to_owned(),
                format!("{name:?} is not the name of a host, such as keys.example: no scheme, port or path"),
            )),
        }
    }
    let (key, location) = match &raw.jwks_url {
        Some(url) => ("keys.jwks_url", Url::parse(url).ok().map(Location::Jwks)),
        // That `issuer` is missing has already been reported.
        None => match issuer {
            Some(issuer) => ("keys.discovery", Location::discovery(issuer)),
            None => return Err(mistakes),
        },
    };
    let wrong = match &location {
        None => Some("not a URL: discovery needs an `issuer` that is one, jwks_url must be one"),
        Some(l) if !l.url().username().is_empty() || l.url().password().is_some() => {
            Some("a URL with credentials: they would be sent to whoever answers")
        }
        Some(l) if !Fetcher::accepts(l.url(), raw.allow_http) => Some(
            "must be https: whoever can answer in the server's place can sign tokens \
             (`allow_http: true` permits http)",
        ),
        Some(_) => None,
    };
    if let Some(wrong) = wrong {
        mistakes.push((key.to_owned(), wrong.to_owned()));
    }
    match (location, mistakes.is_empty()) {
        (Some(location), true) => Ok(RemoteKeys {
            location,
            timing,
            timeout,
            allow_http: raw.allow_http,
            ca_file: raw.ca_file.clone(),
            redirect_hosts,
        }),
        _ => Err(mistakes),
    }
}
