//! Selects the policy that applies to a request.

use crate::jwt::ClaimPath;

use super::decision::{DenyReason, ErrorReason, Outcome};
use super::policy::Policy;
use super::request::AuthzRequest;
use super::route::{self, Route};

/// The policy for requests that name none and match no route.
pub const DEFAULT_POLICY: &str = "default";

/// All policies, and the routes that select one if the proxy does not.
#[derive(Clone, Debug)]
pub struct Policies {
    policies: Vec<Policy>,
    routes: Vec<Route>,
    default: usize,
}

impl Policies {
    /// Combines policies and routes. Returns `None` if there is no policy named `default`, or if a route
    /// refers to a policy that does not exist.
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

    /// Returns the policies' names, in the order of their indices.
    pub fn names(&self) -> Vec<String> {
        self.policies.iter().map(|p| p.name.clone()).collect()
    }

    /// Returns the policy with this name.
    pub fn named(&self, name: &str) -> Option<&Policy> {
        self.policies.iter().find(|p| p.name == name)
    }

    /// Returns the routes that can be evaded by changing the case of a path: a router that ignores case
    /// matches the route, whereas Revoxy selects a policy with weaker requirements. Each item is the index of
    /// the route and the name of the weaker policy.
    pub fn evaded_by_case(&self) -> impl Iterator<Item = (usize, &str)> {
        self.routes.iter().enumerate().filter_map(|(index, route)| {
            let mut later = self.routes[index + 1..].iter();
            let next = later.find(|r| r.overlaps_but_for_case(route));
            let found = next.map_or(self.default, |r| r.policy);
            let is_as_strict = self.policies[found].is_as_strict_as(&self.policies[route.policy]);
            let evaded = route.has_letters_in_path() && !is_as_strict;
            evaded.then(|| (index, self.policies[found].name.as_str()))
        })
    }

    /// Returns the routes that can never match, because an earlier route matches all that they match: the index of each,
    /// and that of the earlier route.
    pub fn unreachable_routes(&self) -> impl Iterator<Item = (usize, usize)> {
        let covering = |index: usize| {
            let earlier = &self.routes[..index];
            earlier.iter().position(|r| r.covers(&self.routes[index]))
        };
        (0..self.routes.len()).filter_map(move |index| Some((index, covering(index)?)))
    }

    /// Returns the names of the policies that do not look up revocations.
    pub fn without_revocation(&self) -> impl Iterator<Item = &str> {
        let unchecked = self.policies.iter().filter(|p| !p.check_revocation);
        unchecked.map(|policy| policy.name.as_str())
    }

    /// Returns the claims that have to be kept of verified tokens, so that the policies can be judged.
    pub fn claims(&self) -> Vec<ClaimPath> {
        let mut claims: Vec<ClaimPath> = Vec::new();
        for claim in self
            .policies
            .iter()
            .flat_map(|policy| policy.demands.claims())
        {
            if !claims.contains(&claim) {
                claims.push(claim);
            }
        }
        claims
    }

    /// Selects the policy of a request: the one that the proxy names, else that of the first matching route,
    /// else `default`.
    pub(super) fn select(&self, request: &AuthzRequest<'_>) -> Result<&Policy, Outcome> {
        if let Some(name) = request.policy {
            // A policy that does not exist is a mistake in the configuration of Revoxy or of the proxy, and
            // must never allow a request.
            return self.named(name).ok_or(ErrorReason::UnknownPolicy.into());
        }
        if self.routes.is_empty() {
            return Ok(&self.policies[self.default]);
        }
        let path = route::normal_path(request.path).ok_or(DenyReason::AmbiguousPath)?;
        // Methods are case-sensitive (RFC 9110 §9.1), and all registered ones are in upper case. Still, some
        // frameworks take `post` for POST, and HTTP/2 permits it.
        let mut routes = self.routes.iter();
        let is_odd = request.method.bytes().any(|b| b.is_ascii_lowercase());
        if is_odd && routes.clone().any(|r| !r.methods.is_empty()) {
            return Err(DenyReason::AmbiguousMethod.into());
        }
        let host = route::name_of(request.host);
        let matching = routes.find(|r| r.matches(request.method, host, &path));
        Ok(&self.policies[matching.map_or(self.default, |r| r.policy)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authz::policy::TokenDemand;
    use crate::authz::route::PathMatch;

    fn policies(default: TokenDemand, routes: &[(&str, usize)]) -> Policies {
        let policy = |(index, (name, token)): (usize, (&str, TokenDemand))| Policy {
            name: name.to_owned(),
            index,
            token,
            ..Policy::default()
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

    #[test]
    fn policies_are_found_by_name() {
        let policies = policies(TokenDemand::Required, &[]);
        assert_eq!(policies.names(), ["default", "strict", "public"]);
        assert_eq!(policies.named("public").map(|p| p.index), Some(2));
        assert!(policies.named("Public").is_none());
    }

    #[test]
    fn a_method_in_lower_case_is_ambiguous_only_where_routes_ask_for_methods() {
        struct NoHeaders;
        impl crate::authz::RequestHeaders for NoHeaders {
            fn visit<'h>(&'h self, _: &str, _: &mut dyn FnMut(&'h [u8])) {}
        }
        let by_path = policies(TokenDemand::Required, &[("/orders", 1)]);
        let mut by_method = by_path.clone();
        by_method.routes[0].methods = vec!["POST".to_owned()];
        let select = |policies: &Policies, method: &str| {
            let request = AuthzRequest {
                policy: None,
                method,
                host: "shop.example",
                path: "/orders",
                headers: &NoHeaders,
                proxy: None,
            };
            let selected = policies.select(&request);
            selected.map(|policy| policy.name.clone())
        };
        assert_eq!(select(&by_path, "post"), Ok("strict".to_owned()));
        assert_eq!(select(&by_method, "POST"), Ok("strict".to_owned()));
        assert_eq!(select(&by_method, "GET"), Ok("default".to_owned()));
        let ambiguous = Err(DenyReason::AmbiguousMethod.into());
        assert_eq!(select(&by_method, "post"), ambiguous);
        assert_eq!(
            select(&policies(TokenDemand::Required, &[]), "post"),
            Ok("default".to_owned())
        );
    }
}
