//! Every step of the verdict on a token, offline: no server is asked, neither ours nor the store.
//!
//! What is printed identifies the token (the keys under which it could be revoked), but no part of it that could be
//! used: not the signature, not the whole.

use std::fmt;
use std::sync::Arc;

use crate::authz::{Authorizer, AuthzRequest, Outcome, Policies, RequestHeaders, Step};
use crate::clock::{ManualClock, Timestamp};
use crate::jwt::{CachingVerifier, Verifier};
use crate::revocation::TokenKeys;

/// What was found out about a token.
#[derive(Debug)]
pub struct Explanation {
    steps: Vec<(&'static str, &'static str, String)>,
    outcome: Outcome,
}

impl Explanation {
    /// Explains the verdict on `token` at `now` under the policy of this name (`default` if none is given).
    pub fn of(
        token: &str,
        verifier: Verifier,
        policies: Policies,
        policy: Option<&str>,
        now: Timestamp,
    ) -> Self {
        let (verified, passed) = verifier.explain(token, now);
        let mut steps: Vec<_> = passed
            .passed()
            .map(|(stage, what)| (stage.as_str(), "ok", what.to_owned()))
            .collect();
        match &verified {
            Err(error) => {
                let stage = passed.failed().map_or("", |s| s.as_str());
                steps.push((stage, "no", error.to_string()));
            }
            Ok(claims) => {
                let keys = TokenKeys::of(claims);
                for key in keys.keys() {
                    let what = format!("not asked; would be under {:?}", key.rendered());
                    steps.push(("revocation", "--", what));
                }
            }
        }
        // The verdict itself comes from where checks have theirs.
        let authorizer = Authorizer::new(
            policies,
            CachingVerifier::new(Arc::new(verifier), 0, |claims, _| TokenKeys::of(claims)),
            None,
            Arc::new(ManualClock::at(now)),
        );
        let headers = Bearer(format!("Bearer {token}"));
        let request = AuthzRequest {
            policy: Some(policy.unwrap_or(crate::authz::DEFAULT_POLICY)),
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
        Self { steps, outcome }
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
        let unless = if self.allows() {
            ", unless revoked"
        } else {
            ""
        };
        let (decision, reason) = (self.outcome.decision(), self.outcome.reason());
        write!(f, "{:<15}{decision}: {reason}{unless}", "verdict")
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
        Explanation::of(token, testing::verifier(), policies, Some(policy), now)
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
