//! The sections `policies` and `routes`.

use std::collections::BTreeMap;

use crate::authz::{
    DEFAULT_POLICY, OnAllow, OnUnavailable, PathMatch, Policies, Policy, Route, TokenDemand,
    normal_path,
};
use crate::jwt::TokenType;
use crate::revocation::CheckedTypes;

use super::demands;
use super::document::Document;
use super::issuers::IssuerConfig;
use super::problem::Problems;
use super::raw::{RawOnUnavailable, RawPolicy, RawRoute};

/// The label that metrics use for a policy that does not exist.
const UNKNOWN: &str = "unknown";

pub(super) fn read(
    raw: BTreeMap<String, Option<RawPolicy>>,
    routes: Vec<Option<RawRoute>>,
    on_unavailable: RawOnUnavailable,
    issuers: &[IssuerConfig],
    types: CheckedTypes,
    document: &Document,
    problems: &mut Problems,
) -> Option<Policies> {
    let mut raw = raw;
    // If the configuration has no policy with this name, it requires an access token.
    raw.entry(DEFAULT_POLICY.to_owned()).or_default();
    if raw.contains_key(UNKNOWN) {
        let message = "this name stands for policies that do not exist; choose another";
        problems.push(document.problem("policies.unknown", message));
    }
    let names = issuers.iter().map(|issuer| issuer.profile.name.to_string());
    let names: Vec<_> = names.collect();
    let policy = |(index, (name, raw)): (usize, (String, Option<RawPolicy>))| {
        let raw = raw.unwrap_or_default();
        let unavailable: OnUnavailable = raw.on_unavailable.unwrap_or(on_unavailable).into();
        let delegates = unavailable == OnUnavailable::Delegate;
        Policy {
            demands: demands::read(&name, &raw, &names, document, problems),
            check_revocation: raw.check_revocation.unwrap_or(true),
            on_allow: on_allow(&name, &raw, types, delegates, document, problems),
            name,
            index,
            token: raw.token,
            token_type: raw.token_type,
            on_unavailable: unavailable,
        }
    };
    let policies: Vec<Policy> = raw.into_iter().enumerate().map(policy).collect();
    let mut read_routes = Vec::new();
    for (index, raw) in routes.into_iter().enumerate() {
        let path = format!("routes.{index}");
        match route(raw.unwrap_or_default(), &policies) {
            Ok(route) => read_routes.push(route),
            Err(message) => problems.push(document.problem(&path, message)),
        }
    }
    Policies::new(policies, read_routes)
}

/// Reads what happens to a token that passes. To revoke a token that no check looks up would log nobody out.
fn on_allow(
    name: &str,
    raw: &RawPolicy,
    types: CheckedTypes,
    delegates: bool,
    document: &Document,
    problems: &mut Problems,
) -> OnAllow {
    let accepted = TokenType::ALL
        .into_iter()
        .filter(|t| raw.token_type.accepts(*t));
    let unchecked = accepted.into_iter().find(|t| !types.includes(*t));
    let message = match (raw.on_allow, raw.token, unchecked) {
        (OnAllow::None, _, _) => return OnAllow::None,
        (OnAllow::Revoke, TokenDemand::None, _) => {
            "tokens are not looked at with `token: none`".to_owned()
        }
        (OnAllow::Revoke, _, Some(unchecked)) => format!(
            "no check looks up tokens of type {}: add the type to `revocation.token_types`, or let `token_type` name another",
            unchecked.as_str()
        ),
        (OnAllow::Revoke, _, None) if delegates => {
            "with `on_unavailable: delegate`, the proxy would let a logout pass that is recorded nowhere: let this policy say \
             `deny`"
                .to_owned()
        }
        (OnAllow::Revoke, _, None) => return OnAllow::Revoke,
    };
    problems.push(document.problem(&format!("policies.{name}.on_allow"), message));
    OnAllow::None
}

fn route(raw: RawRoute, policies: &[Policy]) -> Result<Route, String> {
    let name = raw.policy.ok_or("needs a `policy`")?;
    let policy = policies
        .iter()
        .position(|p| p.name == name)
        .ok_or_else(|| format!("there is no policy `{name}`"))?;
    let path = match (raw.path, raw.path_prefix, raw.path_template) {
        (Some(path), None, None) => Some(PathMatch::Exact(rooted(path)?)),
        (None, Some(prefix), None) => Some(PathMatch::Prefix(rooted(prefix)?)),
        (None, None, Some(template)) => Some(PathMatch::Template(template_of(template)?)),
        (None, None, None) => None,
        _ => {
            return Err(
                "has more than one of `path`, `path_prefix` and `path_template`".to_owned(),
            );
        }
    };
    if let Some(host) = &raw.host
        && (host.contains(':') || host.contains('*'))
    {
        return Err("`host` is a name without port and without `*`".to_owned());
    }
    if let Some(method) = raw
        .methods
        .iter()
        .find(|m| m.bytes().any(|b| b.is_ascii_lowercase()))
    {
        return Err(format!(
            "method `{method}`: methods are written in capitals (RFC 9110 §9.1)"
        ));
    }
    Ok(Route {
        host: raw
            .host
            .map(|h| h.strip_suffix('.').unwrap_or(&h).to_ascii_lowercase()),
        methods: raw.methods,
        path,
        policy,
    })
}

/// Returns the template if each of its segments is either literal or a variable as a whole.
fn template_of(path: String) -> Result<String, String> {
    let path = normal(&path)?;
    let wrong = path.split('/').find(|segment| {
        let inner = segment.strip_prefix('{').and_then(|s| s.strip_suffix('}'));
        inner.unwrap_or(segment).contains(['{', '}']) || *segment == "{}"
    });
    match wrong {
        None => Ok(path),
        Some(segment) => Err(format!(
            "`{segment}`: a variable is a whole segment with a name, as in `/orders/{{id}}`"
        )),
    }
}

/// Returns the path in the spelling that paths of requests are compared in.
fn normal(path: &str) -> Result<String, String> {
    if !path.starts_with('/') {
        return Err(format!("`{path}` does not start with `/`"));
    }
    match normal_path(path) {
        Some(normal) if !path.contains('?') => Ok(normal.into_owned()),
        _ => Err(format!(
            "`{path}` has a query, or is not in normal form: no request with such a path comes as far as the routes"
        )),
    }
}

/// Returns a path without variables.
fn rooted(path: String) -> Result<String, String> {
    match path.contains(['{', '}']) {
        true => Err(format!(
            "`{path}` has braces, which stand for themselves here: a variable goes with `path_template`"
        )),
        false => normal(&path),
    }
}
