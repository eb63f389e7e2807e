//! Policies: what a route demands of a token, and which policy a request falls under.

use std::time::Duration;

use super::decision::{DenyReason, ErrorReason, Outcome};
use super::request::AuthzRequest;
use super::route::{self, Route};
use crate::jwt::TokenType;

/// The policy of a request that names none and matches no route.
pub const DEFAULT_POLICY: &str = "default";

/// What a route demands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Its name in the configuration.
    pub name: String,
    /// Its place among the policies, for metrics.
    pub index: usize,
    /// Whether a token must be there.
    pub token: TokenDemand,
    /// Of which type it must be.
    pub token_type: TypeDemand,
    /// What happens when nobody can tell whether the token is revoked.
    pub on_unavailable: OnUnavailable,
}

/// What happens when nobody can tell whether a token is revoked: the view is too old, and the store gives no answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnUnavailable {
    /// The request is refused, as an error of ours (503).
    #[default]
    Deny,
    /// The view is believed while it is no older than this; after that, as with `Deny`.
    ServeStale(Duration),
    /// The request passes, and is counted as `fail_open`.
    Allow,
    /// The proxy decides: the check fails as a gRPC call, and Envoy's `failure_mode_allow` applies.
    Delegate,
}

/// Whether a token must be there, from the strictest demand to none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenDemand {
    /// It must.
    #[default]
    Required,
    /// It need not, but if it is there it must be good.
    Optional,
    /// It is not looked at.
    None,
}

/// Of which type a token must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TypeDemand {
    /// An access token, or one that does not say.
    #[default]
    Access,
    /// A refresh token.
    Refresh,
    /// Any.
    Any,
}

impl TypeDemand {
    /// Whether a token of this type will do.
    pub fn accepts(self, token_type: TokenType) -> bool {
        match self {
            Self::Access => token_type == TokenType::Access,
            Self::Refresh => token_type == TokenType::Refresh,
            Self::Any => true,
        }
    }
}

/// All policies, and the routes that choose one where the proxy does not.
#[derive(Clone, Debug)]
pub struct Policies {
    policies: Vec<Policy>,
    routes: Vec<Route>,
    default: usize,
}

impl Policies {
    /// These policies and routes; `None` where there is no policy named `default` or a route names no policy.
    pub fn new(policies: Vec<Policy>, routes: Vec<Route>) -> Option<Self> {
        let default = policies.iter().position(|p| p.name == DEFAULT_POLICY)?;
        routes
            .iter()
            .all(|r| r.policy < policies.len())
            .then_some(Self {
                policies,
                routes,
                default,
            })
    }

    /// The policies' names, in the order of their indices.
    pub fn names(&self) -> Vec<String> {
        self.policies.iter().map(|p| p.name.clone()).collect()
    }

    /// The routes that a router which ignores case would find under a path for which we find a policy that demands less:
    /// the index of the route, and the name of that policy.
    pub fn evaded_by_case(&self) -> impl Iterator<Item = (usize, &str)> {
        self.routes.iter().enumerate().filter_map(|(index, route)| {
            let later = self.routes[index + 1..].iter();
            let next = later.filter(|r| r.overlaps_but_for_case(route));
            let found = next.map(|r| r.policy).next().unwrap_or(self.default);
            let demand = |policy: usize| self.policies[policy].token;
            let evaded = route.has_letters_in_path() && demand(found) > demand(route.policy);
            evaded.then(|| (index, self.policies[found].name.as_str()))
        })
    }

    /// The policy for a request: the one that the proxy names, else that of the first matching route, else `default`.
    pub(super) fn select(&self, request: &AuthzRequest<'_>) -> Result<&Policy, Outcome> {
        if let Some(name) = request.policy {
            // A policy that does not exist is a mistake of ours or of the proxy's configuration, and never an allow.
            let named = self.policies.iter().find(|p| p.name == name);
            return named.ok_or(ErrorReason::UnknownPolicy.into());
        }
        if self.routes.is_empty() {
            return Ok(&self.policies[self.default]);
        }
        let path = route::normal_path(request.path).ok_or(DenyReason::AmbiguousPath)?;
        // Methods are compared with case (RFC 9110 §9.1), and all known ones are in capitals. Some frameworks take `post`
        // for POST all the same, which HTTP/2 lets through.
        let by_method = self.routes.iter().any(|r| !r.methods.is_empty());
        if by_method && request.method.bytes().any(|b| b.is_ascii_lowercase()) {
            return Err(DenyReason::AmbiguousMethod.into());
        }
        let matching = self
            .routes
            .iter()
            .find(|r| r.matches(request.method, request.host, path));
        Ok(&self.policies[matching.map_or(self.default, |r| r.policy)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authz::route::PathMatch;

    fn policies(default: TokenDemand, routes: &[(&str, usize)]) -> Policies {
        let policy = |(index, (name, token)): (usize, (&str, TokenDemand))| Policy {
            name: name.to_owned(),
            index,
            token,
            token_type: TypeDemand::Access,
            on_unavailable: OnUnavailable::Deny,
        };
        let named = [
            (DEFAULT_POLICY, default),
            ("strict", TokenDemand::Required),
            ("public", TokenDemand::None),
        ];
        let route = |(prefix, policy): &(&str, usize)| Route {
            host: None,
            methods: Vec::new(),
            path: Some(PathMatch::Prefix((*prefix).to_owned())),
            policy: *policy,
        };
        let named = named.into_iter().enumerate().map(policy).collect();
        Policies::new(named, routes.iter().map(route).collect()).unwrap()
    }

    #[test]
    fn a_route_is_named_that_another_case_of_its_path_evades() {
        const STRICT: usize = 1;
        const PUBLIC: usize = 2;
        let evaded = |default, routes: &[(&str, usize)]| {
            let policies = policies(default, routes);
            let evaded: Vec<_> = policies
                .evaded_by_case()
                .map(|(index, laxer)| (index, laxer.to_owned()))
                .collect();
            evaded
        };
        let to = |index, laxer: &str| vec![(index, laxer.to_owned())];
        let (required, optional) = (TokenDemand::Required, TokenDemand::Optional);
        assert_eq!(evaded(optional, &[("/admin", STRICT)]), to(0, "default"));
        let then_public = [("/admin", STRICT), ("/", PUBLIC)];
        assert_eq!(evaded(required, &then_public), to(0, "public"));
        let elsewhere = [("/admin", STRICT), ("/health", PUBLIC)];
        assert_eq!(evaded(required, &elsewhere), []);
        assert_eq!(evaded(required, &[("/health", PUBLIC)]), []);
        assert_eq!(evaded(TokenDemand::None, &[("/42", STRICT)]), []);
    }
}
