//! The list `revocation.lookups`.

use crate::jwt::Algorithm;
use crate::keys::KeySource;
use crate::revocation::{
    KeyEncoding, KeyRule, Lookups, Match, OWN_PREFIX, Prefix, Preset, Template,
};

use super::document::Document;
use super::issuers::IssuerConfig;
use super::problem::Problems;
use super::raw::{RawLookup, RawMatch, RawMissing};
use super::revocation::StoreConfig;

/// Reads the lookups, and makes the issuers' profiles keep the claims that the lookups need.
pub(super) fn read(
    raw: Vec<Option<RawLookup>>,
    store: &StoreConfig,
    issuers: &mut [IssuerConfig],
    document: &Document,
    problems: &mut Problems,
) -> Lookups {
    if !raw.is_empty() && !matches!(store, StoreConfig::Redis(_)) {
        let message =
            "only Redis holds keys of applications: configure `store.redis`, or leave this out";
        problems.push(document.problem("revocation.lookups", message));
    }
    let mut rules = Vec::new();
    for (index, raw) in raw.into_iter().enumerate() {
        let mut reader = Reader {
            path: format!("revocation.lookups.{index}"),
            issuers,
            document,
            problems,
        };
        rules.extend(reader.read(raw.unwrap_or_default()));
    }
    for issuer in issuers {
        let profile = &mut issuer.profile;
        let mut kept = Vec::new();
        let applying = rules.iter().filter(|rule| rule.applies_to(&profile.name));
        for claim in applying.flat_map(KeyRule::claims) {
            if !kept.contains(claim) {
                kept.push(claim.clone());
            }
        }
        profile.kept_claims = kept.into();
    }
    Lookups::new(rules)
}

struct Reader<'r> {
    path: String,
    issuers: &'r [IssuerConfig],
    document: &'r Document,
    problems: &'r mut Problems,
}

impl Reader<'_> {
    fn problem(&mut self, key: &str, message: impl Into<String>) {
        let path = format!("{}.{key}", self.path);
        self.problems.push(self.document.problem(&path, message));
    }

    fn read(&mut self, raw: RawLookup) -> Option<KeyRule> {
        let issuers = raw.issuers.clone();
        let without_claim = raw.without_claim;
        let (rule, key) = match (&raw.preset, &raw.key) {
            (Some(_), None) => (self.preset(&raw), "preset"),
            (None, Some(_)) => (self.written_out(raw), "key"),
            _ => {
                let message =
                    "needs either `preset` or `key`, for example `key: \"blacklist:{jti}\"`";
                self.problems
                    .push(self.document.problem(&self.path, message));
                (None, "key")
            }
        };
        let named = self.issuers(issuers);
        let rule = KeyRule {
            issuers: named?,
            without_claim,
            ..rule?
        };
        self.check_signatures(&rule, key);
        Some(rule)
    }

    fn preset(&mut self, raw: &RawLookup) -> Option<KeyRule> {
        for (key, given) in [
            ("match", raw.matching.is_some()),
            ("missing", raw.missing.is_some()),
            ("key_encoding", raw.key_encoding.is_some()),
        ] {
            if given {
                let message =
                    "is a part of the preset: write the lookup out with `key` to change it";
                self.problem(key, message);
            }
        }
        let name = raw.preset.as_deref().unwrap_or_default();
        let Some(preset) = Preset::named(name) else {
            let known = Preset::ALL.map(Preset::as_str).join(", ");
            self.problem("preset", format!("no preset {name:?}; there are {known}"));
            return None;
        };
        let prefix = match (preset.prefix(), &raw.prefix) {
            (Prefix::Fixed, Some(_)) => {
                let message = "this preset has none: write the lookup out with `key`";
                self.problem("prefix", message);
                return None;
            }
            (Prefix::Needed, None) => {
                let message = "missing: what Laravel puts before its keys, REDIS_PREFIX and CACHE_PREFIX \
                               one after the other, for example \"laravel_database_laravel_cache_:\"";
                self.problem("prefix", message);
                return None;
            }
            (Prefix::Fixed, None) => "",
            (Prefix::Default(default), None) => default,
            (Prefix::Default(_) | Prefix::Needed, Some(prefix)) => prefix,
        };
        let literal = prefix.replace('{', "{{").replace('}', "}}");
        let key = self.template(
            if raw.prefix.is_some() {
                "prefix"
            } else {
                "preset"
            },
            &format!("{literal}{}", preset.key()),
        )?;
        Some(KeyRule {
            key,
            encoding: KeyEncoding::Plain,
            matching: preset.matching(),
            required: preset.requires_key(),
            without_claim: raw.without_claim,
            issuers: Vec::new(),
        })
    }

    fn written_out(&mut self, raw: RawLookup) -> Option<KeyRule> {
        if raw.prefix.is_some() {
            self.problem("prefix", "goes with `preset`: write it into `key`");
        }
        let required = raw.missing == Some(RawMissing::Revoked);
        let key = self.template("key", raw.key.as_deref().unwrap_or_default());
        let matching = self.matching(raw.matching.unwrap_or(RawMatch::Exists), required);
        let (key, matching) = (key?, matching?);
        let of_a_set = matches!(matching, Match::Member(_));
        if key.is_constant() && !of_a_set {
            let message =
                "names the same key for every token: put a variable into it, such as `{jti}`";
            self.problem("key", message);
        }
        Some(KeyRule {
            key,
            encoding: raw.key_encoding.unwrap_or_default(),
            matching,
            required,
            without_claim: raw.without_claim,
            issuers: Vec::new(),
        })
    }

    fn template(&mut self, key: &str, text: &str) -> Option<Template> {
        if text.is_empty() {
            self.problem(key, "empty");
            return None;
        }
        match Template::parse(text) {
            Ok(template) if template.prefix().starts_with(OWN_PREFIX) => {
                let message = format!(
                    "keys of ours begin with `{OWN_PREFIX}` and are always looked up: leave it out"
                );
                self.problem(key, message);
                None
            }
            Ok(template) => Some(template),
            Err(why) => {
                self.problem(key, why);
                None
            }
        }
    }

    fn matching(&mut self, raw: RawMatch, required: bool) -> Option<Match> {
        let contradiction = match (&raw, required) {
            (RawMatch::Exists, true) => {
                "`exists` with `missing: revoked` revokes every token: for an allow-list say `match: never`"
            }
            (RawMatch::Never, false) => {
                "`never` without `missing: revoked` revokes no token: it is for allow-lists"
            }
            (RawMatch::Member(_), true) => {
                "a set cannot be an allow-list here: `missing: revoked` does not go with `member`"
            }
            (RawMatch::Equals(values), _) if values.is_empty() => {
                "no value: name those that revoke; for an allow-list say `match: never`"
            }
            _ => "",
        };
        if !contradiction.is_empty() {
            self.problem("match", contradiction);
            return None;
        }
        if let RawMatch::Equals(values) = &raw
            && let Some(value) = values.iter().find(|value| names_a_variable(value))
        {
            let message = format!(
                "`{value}` is compared as it stands, nothing is put in for it: a value that differs from token to token \
                 cannot be compared; put the variable into `key`, or use `member`"
            );
            self.problem("match.equals", message);
            return None;
        }
        Some(match raw {
            RawMatch::Exists => Match::Exists,
            RawMatch::Never => Match::Never,
            RawMatch::Equals(values) => Match::Equals(values),
            RawMatch::IssuedBefore(unit) => Match::IssuedBefore(unit),
            RawMatch::Member(member) => {
                let member = self.template("match.member", &member)?;
                if member.is_constant() {
                    let message =
                        "the same member for every token: put a variable into it, such as `{jti}`";
                    self.problem("match.member", message);
                    return None;
                }
                Match::Member(member)
            }
        })
    }

    fn issuers(&mut self, named: Option<Vec<String>>) -> Option<Vec<String>> {
        let named = match named {
            None => return Some(Vec::new()),
            Some(named) => named,
        };
        if named.is_empty() {
            let message = "empty: name issuers, or leave the key out for all of them";
            self.problem("issuers", message);
            return None;
        }
        for (at, name) in named.iter().enumerate() {
            if !self.issuers.iter().any(|i| *i.profile.name == **name) {
                let message = format!("no issuer has the name {name:?}");
                self.problem(&format!("issuers.{at}"), message);
            }
        }
        Some(named)
    }

    /// If the signature of a token can be rewritten, the token has two encodings, and a key made from one
    /// encoding does not cover the other.
    fn check_signatures(&mut self, rule: &KeyRule, key: &str) {
        if !rule.needs_signature() {
            return;
        }
        let applying = |i: &&IssuerConfig| rule.applies_to(&i.profile.name);
        for issuer in self.issuers.iter().filter(applying) {
            let name = &issuer.profile.name;
            let malleable = |a: &&Algorithm| a.is_malleable();
            let why = if matches!(issuer.keys, KeySource::Proxy(_)) {
                format!(
                    "the issuer {name} has its tokens verified by Envoy, so their signatures are not seen"
                )
            } else if let Some(algorithm) = issuer.profile.algorithms.iter().find(malleable) {
                format!(
                    "the issuer {name} signs with {}, and whoever has such a token can write its signature in another \
                     way, so that it is not found",
                    algorithm.as_str()
                )
            } else {
                continue;
            };
            let message = format!(
                "a key made of the token's text or signature does not revoke it: {why}; use `{{jti}}`, or name other \
                 issuers in `issuers`"
            );
            self.problem(key, message);
        }
    }
}

/// Returns whether a value looks like a template with a variable.
fn names_a_variable(value: &str) -> bool {
    Template::parse(value).is_ok_and(|template| !template.is_constant())
}
