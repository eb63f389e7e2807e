//! What policies demand of the claims of a token.

use crate::authz::{ClaimDemand, Condition, Demands, TokenDemand};
use crate::jwt::ClaimPath;

use super::document::Document;
use super::problem::Problems;
use super::raw::RawPolicy;

/// Reads the demands of the policy with this name, and notes what is wrong with them.
pub(super) fn read(
    name: &str,
    raw: &RawPolicy,
    issuers: &[String],
    document: &Document,
    problems: &mut Problems,
) -> Demands {
    let mut problem = |key: &str, message: String| {
        problems.push(document.problem(&format!("policies.{name}.{key}"), message));
    };
    let claim = |(path, condition): (&String, &Condition)| ClaimDemand {
        claim: ClaimPath(path.clone()),
        condition: condition.clone(),
    };
    let demands = Demands {
        issuers: raw.issuers.clone(),
        audiences: raw.audiences.clone(),
        scopes: raw.scopes.clone(),
        any_scope: raw.any_scope.clone(),
        claims: raw.claims.iter().map(claim).collect(),
        fresh: raw.fresh,
        acr: raw.acr.clone(),
        max_age: raw.max_age.map(|span| span.0),
    };
    if raw.token == TokenDemand::None && demands != Demands::default() {
        let message = "demands something of tokens, which are not looked at with `token: none`";
        problem("token", message.to_owned());
    }
    if let Some(unknown) = raw.issuers.iter().find(|name| !issuers.contains(name)) {
        let configured = issuers.join(", ");
        let message = format!("there is no issuer `{unknown}`; configured: {configured}");
        problem("issuers", message);
    }
    for (key, scopes) in [("scopes", &raw.scopes), ("any_scope", &raw.any_scope)] {
        if let Some(wrong) = scopes.iter().find(|scope| !is_token(scope)) {
            problem(key, format!("`{wrong}` is no scope (RFC 6749 §3.3)"));
        }
    }
    if let Some(wrong) = raw.acr.iter().find(|acr| !is_token(acr)) {
        let message = format!("`{wrong}` has a space, a quote or a backslash, or is empty");
        problem("acr", message);
    }
    if demands
        .max_age
        .is_some_and(|age| age.as_secs() == 0 || age.subsec_nanos() > 0)
    {
        problem("max_age", "must be whole seconds, one at least".to_owned());
    }
    for (path, condition) in &raw.claims {
        let can_be_met = match condition {
            Condition::Exists => true,
            Condition::Equals(wanted) | Condition::Contains(wanted) => !wanted.is_null(),
            Condition::AnyOf(wanted) => wanted.iter().any(|wanted| !wanted.is_null()),
        };
        if !can_be_met {
            let message = "no value meets this condition: name one that is not null".to_owned();
            problem(&format!("claims.{path}"), message);
        }
    }
    demands
}

/// Returns whether a text can be one of several in a parameter of a challenge: printable ASCII without space, quote
/// and backslash (RFC 6749 §3.3).
fn is_token(text: &str) -> bool {
    let may_stand = |byte: u8| matches!(byte, b'!'..=b'~') && byte != b'"' && byte != b'\\';
    !text.is_empty() && text.bytes().all(may_stand)
}
