//! Every step of the verdict on a token, offline: no server is asked, neither ours nor the store.
//!
//! What is printed identifies the token (the keys under which it could be revoked), but no part of it that could be
//! used: not the signature, not the whole.

use std::fmt;
use std::sync::Arc;

use crate::authz::{Authorizer, AuthzRequest, DenyReason, Outcome, Policies, RequestHeaders, Step};
use crate::clock::{ManualClock, Timestamp};
use crate::jwt::{CachingVerifier, Verifier};
use crate::revocation::{CheckedTypes, ForeignKey, Lookups, RegistrationKey, TokenKeys};

/// What a verdict depends on beside the token.
#[derive(Debug)]
pub struct Terms<'c> {
    /// The policies.
    pub policies: Policies,
    /// The policy to judge under; `default` if there is no name.
    pub policy: Option<&'c str>,
    /// Which token types are looked up.
    pub types: CheckedTypes,
    /// The keys of applications that are looked up.
    pub lookups: &'c Lookups,
    /// Whether a token has to be registered.
    pub allow_list: bool,
}

/// What was found out about a token.
#[derive(Debug)]
pub struct Explanation {
    steps: Vec<(&'static str, &'static str, String)>,
    outcome: Outcome,
    /// Whether it has to stand on a list, which nobody was asked about.
    listed: bool,
}

impl Explanation {
    /// Explains the verdict on `token` at `now`.
    pub fn of(token: &str, verifier: Verifier, terms: Terms<'_>, now: Timestamp) -> Self {
        let (verified, passed) = verifier.explain(token, now);
        let mut steps: Vec<_> = passed
            .passed()
            .map(|(stage, what)| (stage.as_str(), "ok", what.to_owned()))
            .collect();
        let (mut unidentified, mut listed) = (false, false);
        match &verified {
            Err(error) => {
                let stage = passed.failed().map_or("", |s| s.as_str());
                steps.push((stage, "no", error.to_string()));
            }
            Ok(claims) => {
                let keys = TokenKeys::of(claims);
                let keys = terms.lookups.add_to(keys, claims, Some(token));
                for key in keys.keys() {
                    let what = format!("not asked; would be under {:?}", key.rendered());
                    steps.push(("revocation", "--", what));
                }
                let looked_up = terms.types.includes(claims.token_type());
                for key in keys.foreign() {
                    let would = match key.is_required() {
                        true => "not asked; has to be",
                        false => "not asked; would be",
                    };
                    listed |= looked_up && key.is_required();
                    steps.push(("lookup", "--", format!("{would} {}", place(key))));
                }
                if terms.allow_list && looked_up {
                    for key in keys.keys().iter().take(1) {
                        let key = RegistrationKey::of(key);
                        let what = format!("not asked; has to be under {:?}", key.rendered());
                        steps.push(("allow-list", "--", what));
                    }
                    listed = true;
                }
                if !keys.is_identified() {
                    let why = "lacks a claim of which a lookup makes its key, or has one that no key can be made of";
                    steps.push(("lookup", "no", why.to_owned()));
                    unidentified = looked_up;
                }
            }
        }
        // The verdict itself comes from where checks have theirs.
        let authorizer = Authorizer::new(
            terms.policies,
            CachingVerifier::new(Arc::new(verifier), 0, |claims, _| TokenKeys::of(claims)),
            None,
            Arc::new(ManualClock::at(now)),
        );
        let headers = Bearer(format!("Bearer {token}"));
        let request = AuthzRequest {
            policy: Some(terms.policy.unwrap_or(crate::authz::DEFAULT_POLICY)),
            method: "GET",
            host: "",
            path: "/",
            headers: &headers,
            proxy: None,
        };
        let outcome = match authorizer.decide(&request, now) {
            Step::Done(verdict) => verdict.outcome,
            Step::AwaitKeys { otherwise, .. } => otherwise.outcome,
            Step::AskStore { unless_revoked, .. } => unless_revoked.outcome,
        };
        let outcome = match outcome {
            Outcome::Allow(_) if unidentified => DenyReason::Unidentified.into(),
            outcome => outcome,
        };
        Self {
            steps,
            outcome,
            listed,
        }
    }

    /// Whether the token would be let through, unless it is revoked.
    pub fn allows(&self) -> bool {
        matches!(self.outcome, Outcome::Allow(_))
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (step, mark, what) in &self.steps {
            writeln!(f, "{step:<11}{mark:<4}{what}")?;
        }
        let unless = match (self.allows(), self.listed) {
            (true, false) => ", unless revoked",
            (true, true) => ", if it is on the allow-list and not revoked",
            (false, _) => "",
        };
        let (decision, reason) = (self.outcome.decision(), self.outcome.reason());
        write!(f, "{:<15}{decision}: {reason}{unless}", "verdict")
    }
}

/// Where an application's key would be. A name that is made of the token's text or signature is not shown.
fn place(key: &ForeignKey) -> String {
    let rule = key.rule();
    if rule.needs_signature() {
        return format!("under {:?}", rule.key.as_str());
    }
    let name = key.name().escape_ascii();
    match key.member() {
        [] => format!("under \"{name}\""),
        member => format!("\"{}\" under \"{name}\"", member.escape_ascii()),
    }
}

struct Bearer(String);

impl RequestHeaders for Bearer {
    fn visit<'h>(&'h self, name: &str, visit: &mut dyn FnMut(&'h [u8])) {
        if name == "authorization" {
            visit(self.0.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authz::{OnUnavailable, Policy, TokenDemand, TypeDemand};
    use crate::jwt::testing::{self, Signer};
    use crate::revocation::{KeyRule, Match, WithoutClaim};

    fn explain(token: &str, now: Timestamp, policy: &str) -> Explanation {
        let policies = ["default", "refresh"];
        let policies = policies.iter().enumerate().map(|(index, name)| Policy {
            name: (*name).to_owned(),
            index,
            token: TokenDemand::Required,
            on_unavailable: OnUnavailable::default(),
            token_type: [TypeDemand::Access, TypeDemand::Refresh][index],
        });
        let policies = Policies::new(policies.collect(), Vec::new()).unwrap();
        let terms = Terms {
            policies,
            policy: Some(policy),
            types: CheckedTypes {
                access: true,
                refresh: true,
            },
            lookups: &lookups(),
            allow_list: false,
        };
        Explanation::of(token, testing::verifier(), terms, now)
    }

    fn lookups() -> Lookups {
        let skipping = KeyRule {
            without_claim: WithoutClaim::Skip,
            ..KeyRule::named("session:{sid}", Match::Exists).unwrap()
        };
        let of = |key| KeyRule::named(key, Match::Exists).unwrap();
        Lookups::new(vec![of("bl:{jti}"), of("{token_sha256_hex}"), skipping])
    }

    #[test]
    fn the_keys_of_applications_are_shown_but_none_that_is_made_of_the_token_s_text() {
        let token = testing::token_of(Signer::of("EdDSA"), "EdDSA", "ed25519");
        let text = explain(&token, testing::now(), "default").to_string();
        let lookups: Vec<_> = text.lines().filter(|l| l.starts_with("lookup")).collect();
        let expected = [
            "lookup     --  not asked; would be under \"bl:t1\"",
            "lookup     --  not asked; would be under \"{token_sha256_hex}\"",
        ];
        assert_eq!(lookups, expected);
    }

    #[test]
    fn a_token_that_cannot_be_looked_up_is_said_to_be_refused() {
        let policy = Policy {
            name: "default".to_owned(),
            index: 0,
            token: TokenDemand::Required,
            on_unavailable: OnUnavailable::default(),
            token_type: TypeDemand::Access,
        };
        let policies = Policies::new(vec![policy], Vec::new()).unwrap();
        let lookups = Lookups::new(vec![KeyRule::named("{sid}", Match::Exists).unwrap()]);
        let types = CheckedTypes {
            access: true,
            refresh: false,
        };
        let terms = Terms {
            policies,
            policy: None,
            types,
            lookups: &lookups,
            allow_list: false,
        };
        let token = testing::token_of(Signer::of("EdDSA"), "EdDSA", "ed25519");
        let explanation = Explanation::of(&token, testing::verifier(), terms, testing::now());
        let text = explanation.to_string();
        assert!(text.ends_with("deny: unidentified"), "{text}");
        assert!(!explanation.allows());
    }

    #[test]
    fn a_good_token_passes_every_step_and_none_of_it_is_shown() {
        let token = testing::token_of(Signer::of("ES256"), "ES256", "p256");
        let explanation = explain(&token, testing::now(), "default");
        let text = explanation.to_string();
        let steps: Vec<_> = text
            .lines()
            .filter_map(|l| l.split_whitespace().next())
            .collect();
        let expected = [
            "form",
            "header",
            "issuer",
            "algorithm",
            "key",
            "signature",
            "claims",
        ];
        assert_eq!(steps[..7], expected, "{text}");
        assert!(text.contains("revoxy:jti:shop:t1"), "{text}");
        assert!(text.ends_with("allow: ok, unless revoked"), "{text}");
        for part in token.split('.') {
            assert!(!text.contains(&part[..10]), "{text}");
        }
    }

    #[test]
    fn the_step_that_fails_is_the_last_and_says_why() {
        let token = testing::token_of(Signer::of("ES256"), "ES256", "p256");
        let forged = testing::token_of(&Signer::p256(), "ES256", "p256");
        let late = testing::now().plus(std::time::Duration::from_secs(10_000));
        for (token, now, policy, expected) in [
            (
                "garbage",
                testing::now(),
                "default",
                "form       no  the token is malformed\nverdict        deny: malformed",
            ),
            (
                &*forged,
                testing::now(),
                "default",
                "signature  no  the signature is invalid\nverdict        deny: bad_signature",
            ),
            (
                &*token,
                late,
                "default",
                "claims     no  the token has expired\nverdict        deny: expired",
            ),
            (&*token, testing::now(), "refresh", "deny: wrong_token_type"),
            (&*token, testing::now(), "absent", "error: unknown_policy"),
        ] {
            let explanation = explain(token, now, policy);
            assert!(explanation.to_string().ends_with(expected), "{explanation}");
            assert!(!explanation.allows());
        }
    }
}
