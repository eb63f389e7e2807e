//! Lists where an issuer's configuration is less strict than it could be, to be shown to an operator.

use crate::jwt::{IssuerProfile, KeyFile, MissingExp};
use crate::keys::KeySource;

use super::issuers::IssuerConfig;

impl IssuerConfig {
    /// Returns what the issuer's tokens may do that is not permitted by default, each with its key; `None` if
    /// there is nothing.
    pub fn relaxations(&self) -> Option<String> {
        let mut relaxed = of_profile(&self.profile);
        relaxed.extend(self.short_secrets().map(str::to_owned));
        let name = &self.profile.name;
        (!relaxed.is_empty())
            .then(|| format!("the issuer {name} is relaxed: {}", relaxed.join("; ")))
    }

    /// Returns the warning that is logged at every start if secrets may be too short.
    pub fn warning(&self) -> Option<String> {
        let name = &self.profile.name;
        self.short_secrets().next().map(|_| {
            format!(
                "the issuer {name} has `allow_short_secret`: whoever has one of its tokens can try secrets at home until one \
                 fits, and sign tokens then (RFC 7518 §3.2); give it a secret as long as its hash"
            )
        })
    }

    fn short_secrets(&self) -> impl Iterator<Item = &'static str> {
        let may_be_short = |source: &KeySource| match source {
            KeySource::File(KeyFile::Secret(secret)) => secret.allow_short,
            _ => false,
        };
        let of = [
            ("keys.allow_short_secret", may_be_short(&self.keys)),
            (
                "refresh_keys.allow_short_secret",
                self.refresh_keys.as_ref().is_some_and(may_be_short),
            ),
        ];
        of.into_iter().filter(|(_, is)| *is).map(|(key, _)| key)
    }
}

fn of_profile(profile: &IssuerProfile) -> Vec<String> {
    let mut relaxed = Vec::new();
    let mut note = |is: bool, what: &str| {
        if is {
            relaxed.push(what.to_owned());
        }
    };
    note(profile.missing_iss, "allow_missing_iss");
    note(
        !profile.more_issuers.is_empty(),
        "issuer (several values, whose tokens are not told apart)",
    );
    note(
        !profile.issuer_patterns.is_empty(),
        "issuer_pattern (every value that fits, whose tokens are not told apart)",
    );
    note(profile.identifiers.numeric, "allow_numeric_ids");
    match profile.missing_exp {
        None => {}
        Some(MissingExp::Never) => note(true, "allow_missing_exp (such tokens never expire)"),
        Some(MissingExp::AfterIssue(_)) => {
            note(true, "allow_missing_exp (until max_lifetime is over)")
        }
    }
    relaxed
}
